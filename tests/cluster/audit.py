"""Counts what the API server did, from its own audit log: the truth about creations and deletions, whoever asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any


def events(log: Path) -> Iterator[dict[str, Any]]:
    """Yield every event in order.

    A last line that the API server could not finish when it was killed is left out.
    """
    older = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
    for path in [*older, log]:
        if path.exists():
            with path.open(errors="replace") as lines:
                for line in lines:
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError:
                        continue


def count(log: Path, verb: str, resource: str, namespace: str | None, codes: Collection[int]) -> Counter[str]:
    """Return how often requests of that kind were answered with one of these codes, by the object's name."""
    counted: Counter[str] = Counter()
    for event in events(log):
        target = event.get("objectRef", {})
        if (
            event["verb"] == verb
            and target.get("resource") == resource
            and namespace in (None, target.get("namespace"))
            and not target.get("subresource")
            and event.get("responseStatus", {}).get("code") in codes
        ):
            counted[target.get("name", "")] += 1
    return counted
