"""Rules of a Rucio server: copies of data at a storage element, made by the lake itself.

Rucio has one rule for each account, identifier and expression of storage elements, so the same call twice is one rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from uws_service.data.answers import CatalogueFault, answer_of, read_body, read_lines
from uws_service.data.catalogue import Brought
from uws_service.data.identifiers import Did
from uws_service.data.rucio_login import RucioLogin

STREAM = "application/x-json-stream"
COMMENT = "data of jobs of uws-service"
PROBLEM_MAX = 200


class RucioRules:
    """Makes rules, and looks how far they are.

    Parameters
    ----------
    url
        The server's base URL.
    account
        The service's own; None: the account of each caller's token.
    lifetime
        Seconds after which Rucio may remove what it has copied.
    """

    def __init__(
        self, http: httpx2.AsyncClient, login: RucioLogin, url: str, account: str | None, lifetime: int
    ) -> None:
        self.http = http
        self.login = login
        self.url = url
        self.account = account
        self.lifetime = lifetime

    async def bring(self, area: str, did: Did, token: str | None) -> Brought:
        """Return how far the copies at a storage element are; the rule is made if there is none."""
        account = self.account or await self._whoami(token)
        rule = await self._find(area, did, account, token)
        if rule is None:
            await self._make(area, did, account, token)
            rule = await self._find(area, did, account, token)
        if rule is None:
            raise CatalogueFault(f"there is no rule for {did.scope}:{did.name} at {area} although it was made")
        state = state_of(rule)
        if state.complete:  # so that a copy which was made for an earlier job stays for this one
            await self._prolong(str(rule.get("id")), token)
        return state

    async def _make(self, area: str, did: Did, account: str, token: str | None) -> None:
        body = {
            "dids": [{"scope": did.scope, "name": did.name}],
            "account": account,
            "copies": 1,
            "rse_expression": area,
            "grouping": "ALL",
            "lifetime": self.lifetime,
            "comment": COMMENT,
        }
        try:
            await self._call(token, "POST", f"{self.url}/rules/", body)
        except CatalogueFault as error:
            # Also of an account without the right amount of room there, which is found out by looking for the rule.
            if error.status == 409 and await self._find(area, did, account, token) is not None:
                return
            raise

    async def _find(self, area: str, did: Did, account: str, token: str | None) -> Mapping[str, Any] | None:
        place = f"{self.url}/dids/{quote(did.scope, safe='')}/{quote(did.name, safe='')}/rules"
        lines = await self.login.call(
            token, lambda headers: read_lines(self.http, "GET", place, headers={**headers, "accept": STREAM})
        )
        return next(
            (line for line in lines if line.get("account") == account and line.get("rse_expression") == area), None
        )

    async def _prolong(self, rule_id: str, token: str | None) -> None:
        """Let a rule live its whole time from now on."""
        body = {"options": {"lifetime": self.lifetime}}
        await self._call(token, "PUT", f"{self.url}/rules/{quote(rule_id, safe='')}", body)

    async def _call(self, token: str | None, method: str, url: str, body: Mapping[str, Any]) -> None:
        await self.login.call(token, lambda headers: read_body(self.http, method, url, headers=headers, json=body))

    async def _whoami(self, token: str | None) -> str:
        """Return the account of a token."""

        async def ask(headers: dict[str, str]) -> str:
            try:
                async with answer_of(self.http, "GET", f"{self.url}/accounts/whoami", headers=headers):
                    return ""
            except CatalogueFault as error:
                if error.location:
                    return error.location.rstrip("/").rpartition("/")[2]
                raise

        account = await self.login.call(token, ask)
        if not account:
            raise CatalogueFault("Rucio does not say which account the token has", transient=False)
        return account


def state_of(rule: Mapping[str, Any]) -> Brought:
    """Return how far a rule is, by its own counts."""
    counts = [rule.get(f"locks_{name}_cnt") for name in ("ok", "replicating", "stuck")]
    here, replicating, stuck = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
    problem = str(rule.get("error") or "") if stuck or rule.get("state") in ("STUCK", "SUSPENDED") else ""
    if rule.get("state") == "WAITING_APPROVAL":
        problem = "the rule waits for its approval"
    words = "".join(character for character in " ".join(problem.split()) if character.isprintable())[:PROBLEM_MAX]
    return Brought(here, here + replicating + stuck, rule.get("state") == "OK", words)
