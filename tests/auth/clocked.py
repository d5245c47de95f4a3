"""The service with a clock that a test advances.

The file that CLOCK names says how many seconds the clock is ahead.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import uvicorn

from uws_service.runtime import create_app
from uws_service.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    ahead = Path(os.environ["CLOCK"])
    app = create_app(Settings.load(), clock=lambda: time.time() + float(ahead.read_text()))
    uvicorn.run(app, host=arguments.host, port=arguments.port, lifespan="on", log_config=None, access_log=False)


if __name__ == "__main__":
    main()
