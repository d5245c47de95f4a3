"""Build the environment of Rucio: ``python -m tests.rucio``."""

from __future__ import annotations

from tests.rucio.environment import RUCIO

if __name__ == "__main__":
    print(RUCIO.build())
