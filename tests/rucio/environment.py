"""The virtual environment of Rucio."""

from __future__ import annotations

from tests.environments import of_tests

RUCIO = of_tests("rucio", "Rucio is")
