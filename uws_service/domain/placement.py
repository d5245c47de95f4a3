"""Why a job is at its site: what spoke for each site, and what against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """What one rank counts for a site, in seconds."""

    rank: str
    seconds: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A site that was considered.

    Its objections, or its costs.
    """

    site: str
    objections: tuple[str, ...] = ()
    costs: tuple[Cost, ...] = ()

    @property
    def seconds(self) -> float:
        """Return the sum of the costs."""
        return sum(cost.seconds for cost in self.costs)


def encode_candidates(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return what is stored of candidates."""
    return [
        {
            "site": candidate.site,
            "objections": list(candidate.objections),
            "costs": [{"rank": cost.rank, "seconds": cost.seconds, "words": cost.words} for cost in candidate.costs],
        }
        for candidate in candidates
    ]


def decode_candidates(stored: Sequence[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    """Return candidates from what was stored."""
    return tuple(
        Candidate(
            item["site"],
            tuple(item.get("objections", ())),
            tuple(Cost(cost["rank"], cost["seconds"], cost.get("words", "")) for cost in item.get("costs", ())),
        )
        for item in stored
    )
