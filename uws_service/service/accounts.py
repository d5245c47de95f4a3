"""The accounts as callers may see them: their own, those of groups that they manage, administrators all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uws_service.accounting.identities import Pseudonyms
from uws_service.accounting.lines import lines_of, stored_value
from uws_service.accounting.settings import Accounting
from uws_service.auth.policy import Rules
from uws_service.domain.accounting import Line
from uws_service.domain.errors import Forbidden
from uws_service.service.caller import Caller
from uws_service.store import Store


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked of the accounts.

    The period is [since, until) in milliseconds.
    """

    by: tuple[str, ...]
    since: int
    until: int
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """Lines, and whether there are more."""

    lines: Sequence[Line]
    overflow: bool
    currency: str
    methods: Mapping[str, Any]
    """How energy was estimated, by id."""


class Accounts:
    """Reads the accounts for callers.

    Parameters
    ----------
    pseudonyms
        By which owners find their own old records, which lost their names.
    """

    def __init__(self, store: Store, rules: Rules, settings: Accounting, pseudonyms: Pseudonyms) -> None:
        self.store = store
        self.rules = rules
        self.currency = settings.currency
        self.pseudonyms = pseudonyms
        self._managers: dict[str, frozenset[str]] = {}
        for name, managers in settings.managers.items():
            who = {
                group
                for manager in managers
                for group in (rules.groups.resolve(manager) if manager.startswith("/") else (manager,))
            }
            for group in rules.groups.resolve(name):
                self._managers[group] = frozenset(who)

    def manages(self, caller: Caller, group: str) -> bool:
        """Return whether a caller may see what all members of a group used."""
        identity = caller.identity
        managers = self._managers.get(group, frozenset())
        return identity.admin or (identity.owner is not None and bool(managers & {identity.owner, *identity.groups}))

    def _allowed(self, caller: Caller, filters: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Any, ...]]:
        """Return filters that let nothing through but what the caller may see.

        Raises
        ------
        Forbidden
            An owner or a group is named whose accounts are not the caller's to see.
        """
        values: dict[str, tuple[Any, ...]] = {
            name: tuple(stored_value(name, text) for text in texts) for name, texts in filters.items()
        }
        groups = values.get("group", ())
        if "group" in values:
            groups = tuple(self._group(caller, group) for group in groups)
            values["group"] = groups
        if caller.identity.admin or (groups and all(self.manages(caller, group) for group in groups)):
            return values
        own = caller.owner or ""
        if any(owner != own for owner in values.get("owner", ())):
            raise Forbidden(
                "These are accounts of others. You see your own, and those of groups that you manage, if you name "
                "the group."
            )
        values["owner"] = (own, self.pseudonyms.of(own)) if own else ("",)
        return values

    def _group(self, caller: Caller, name: str) -> str:
        """Return the group that a caller means, with its issuer."""
        return self.rules.groups.of_caller(name, caller.identity) if name.startswith("/") else name

    async def lines(self, caller: Caller, query: UsageQuery) -> Account:
        """Return the lines that a caller asks for.

        Raises
        ------
        Forbidden
            They are not the caller's to see.
        """
        filters = self._allowed(caller, query.filters)
        period = query.since, query.until
        lines = await lines_of(self.store.usage, query.by, period, filters, query.limit + 1)
        methods = {name: json.loads(text) for name, text in sorted((await self.store.usage.methods()).items())}
        return Account(lines[: query.limit], len(lines) > query.limit, self.currency, methods)
