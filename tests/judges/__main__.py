"""Build the environment of the judges.

``python -m tests.judges``.
"""

from __future__ import annotations

from tests.judges.environment import JUDGES

if __name__ == "__main__":
    print(JUDGES.build())
