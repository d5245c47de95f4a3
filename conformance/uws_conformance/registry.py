"""The registry of checks.

Each function under ``checks/`` names its rule, level, section, requirement and remedy.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uws_conformance.outcomes import Level
from uws_conformance.remedies import REMEDIES

if TYPE_CHECKING:
    from uws_conformance.bench import Bench

Function = Callable[["Bench"], str | None]


@dataclass(frozen=True)
class Check:
    """The check of a rule.

    ``run`` returns what was seen or raises an exception of ``outcomes``.
    """

    id: str
    rule: str
    level: Level
    standard: str
    section: str
    requires: str
    hint: str
    run: Function


CHECKS: dict[str, Check] = {}


def check(
    rule: str, level: str, section: str, requires: str, hint: str = "", name: str = ""
) -> Callable[[Function], Function]:
    """Register a function as a check.

    ``section`` reads "UWS 1.1 §2.2.1"; ``name`` tells the members of a family apart.
    """
    standard, _, number = section.partition(" §")

    def register(function: Function) -> Function:
        title = (name or function.__name__).replace("_", "-")
        key = f"{rule}.{title}"
        if key in CHECKS:
            raise ValueError(f"two checks are called {key}")
        CHECKS[key] = Check(
            key, rule, Level(level), standard, number, requires, hint or REMEDIES.get(rule, ""), function
        )
        return function

    return register


def all_checks() -> list[Check]:
    """Return every check in order of the source."""
    package = importlib.import_module("uws_conformance.checks")
    for module in sorted(entry.name for entry in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"uws_conformance.checks.{module}")
    return list(CHECKS.values())
