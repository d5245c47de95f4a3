"""Serve Rucio's REST interface on the loopback address; runs in Rucio's own environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rucio.db.sqla.util import build_database, create_base_vo, create_root_account
from rucio.web.rest.flaskapi.v1.main import application
from werkzeug.serving import run_simple

if __name__ == "__main__":
    built = Path(os.environ["RUCIO_CONFIG"]).with_name("built")
    if not built.exists():  # else it is started once more
        build_database()
        create_base_vo()
        create_root_account()
        built.touch()
    # One request at a time: SQLite refuses one of two transactions that have read and then write.
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=False)
