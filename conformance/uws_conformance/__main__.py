"""Entry point of ``python -m uws_conformance``."""

import sys

from uws_conformance.cli import main

sys.exit(main())
