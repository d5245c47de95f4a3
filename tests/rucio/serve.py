"""Serve Rucio's REST interface on the loopback address; runs in Rucio's own environment."""

from __future__ import annotations

import sys

from rucio.db.sqla.util import build_database, create_base_vo, create_root_account
from rucio.web.rest.flaskapi.v1.main import application
from werkzeug.serving import run_simple

if __name__ == "__main__":
    build_database()
    create_base_vo()
    create_root_account()
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
