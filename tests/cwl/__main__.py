"""Build the environment of ``cwltool``: ``python -m tests.cwl``."""

from __future__ import annotations

from tests.cwl import CWL

if __name__ == "__main__":
    print(CWL.build())
