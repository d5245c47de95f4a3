"""What a new set of descriptors changes in a running service. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from uws_service.applications.model import Application
from uws_service.applications.standard import PLAIN


@dataclass(frozen=True, slots=True)
class Changes:
    """What can be taken over at once, and what needs a new start.

    ``current`` are the applications from now on; the others are names.
    """

    current: Mapping[str, Application]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    postponed: tuple[str, ...] = ()


def changes_of(old: Mapping[str, Application], new: Mapping[str, Application]) -> Changes:
    """Return what becomes of the applications.

    Those of a standard of their own, and the first use of data sets or data tokens, need parts that are made at start:
    they stay as they are until then.
    """
    brings_data = any(_takes_data(application) for application in old.values())
    has_tokens = any(application.data_token is not None for application in old.values())
    current: dict[str, Application] = {}
    changed: list[str] = []
    postponed: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if before is not None and before == after:
            current[name] = before
            continue
        standards = {application.standard.name for application in (before, after) if application is not None}
        needs_parts = after is not None and (
            (_takes_data(after) and not brings_data) or (after.data_token is not None and not has_tokens)
        )
        if standards != {PLAIN.name} or needs_parts:
            postponed.append(name)
            after = before
        elif before is not None and after is not None:
            changed.append(name)
        if after is not None:
            current[name] = after
    return Changes(
        current,
        tuple(name for name in current if name not in old),
        tuple(changed),
        tuple(name for name in old if name not in current),
        tuple(postponed),
    )


def _takes_data(application: Application) -> bool:
    return any(parameter.dataset for parameter in application.parameters)
