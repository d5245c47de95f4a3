"""All mutants, in the order of the modules named here."""

from __future__ import annotations

import mutants_documents  # noqa: F401

import mutants_behaviour  # noqa: F401  # isort: skip
import mutants_faces  # noqa: F401  # isort: skip
import mutants_features  # noqa: F401  # isort: skip
from mutation import MUTANTS, Mutant, build

__all__ = ["MUTANTS", "Mutant", "build"]
