"""Mutants of the TAP service that announce what they have not; importing this module adds them to ``MUTANTS``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from faces import Refused, Tap, single_value
from mutation import MUTANTS, on, override, with_substitution
from reference_documents import Pairs

FIRST = len(MUTANTS)


def without(word: str) -> Any:
    """Refuse queries with the word."""

    def rows(self: Tap, form: Pairs, files: dict[str, bytes]) -> tuple[list[str], list[list[str]]]:
        if word in single_value(form, "QUERY").upper():
            raise Refused(f"there is no {word}")
        return Tap.rows(self, form, files)

    return rows


for _word in ("REGION", "ILIKE", "INTERSECT ", "WITH", "CAST", "COALESCE", "OFFSET", "IVO_HEALPIX_INDEX"):
    override(f"tap-has-no-{_word.lower().strip().replace('_', '-')}", rows=without(_word))
on(
    "tap-announces-fits",
    "GET",
    "/capabilities",
    with_substitution("<outputFormat>", "<outputFormat><mime>application/fits</mime></outputFormat><outputFormat>"),
)
MUTANTS[FIRST:] = [replace(mutant, face="tap") for mutant in MUTANTS[FIRST:]]
