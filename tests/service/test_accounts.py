"""Who sees which accounts, and in which forms."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from io import BytesIO

import pytest
from astropy.io.votable import parse_single_table

from tests.accounting.histories import METER, SEPTEMBER
from tests.accounting.test_formats import attempt
from tests.service.client import Uws
from uws_service.accounting.identities import Pseudonyms
from uws_service.accounting.settings import Accounting
from uws_service.auth import Identity
from uws_service.auth.policy import Rules
from uws_service.auth.settings import Auth
from uws_service.domain.accounting import FIGURES
from uws_service.domain.errors import AuthenticationRequired, Forbidden
from uws_service.service.accounts import Accounts, UsageQuery
from uws_service.service.caller import Caller
from uws_service.store import Store

ISSUER = "iam.example.org"
AUTH = Auth.model_validate({"issuers": [{"url": f"https://{ISSUER}", "audience": "uws"}], "administrators": ["root"]})
SETTINGS = Accounting(managers={"/ska": ("grace", "/ska/managers")})
NAMES = Pseudonyms(b"k" * 32)
SKA, OTHER = f"/ska@{ISSUER}", f"/other@{ISSUER}"
EVERYTHING = UsageQuery(("owner", "group"), 0, 2**50)


def caller(owner: str | None, *groups: str, admin: bool = False) -> Caller:
    identity = Identity(owner=owner, groups=frozenset(groups), issuer=f"https://{ISSUER}", admin=admin)
    return Caller(identity)


@pytest.fixture
async def accounts(store: Store) -> Accounts:
    """Fill a store: ada and grace in two groups, somebody anonymous, and ada's record of long ago without her name."""
    store.attempts.meter = METER
    owners = [("ada", SKA), ("ada", OTHER), ("grace", SKA), ("", ""), (NAMES.of("ada"), SKA), ("bob", OTHER)]
    for index, (owner, group) in enumerate(owners):
        ended = replace(attempt(owner=owner, group=group), job_id=f"job{index}", number=1)
        await store.attempts.save(ended)
    return Accounts(store, Rules(AUTH), SETTINGS, NAMES)


async def seen(accounts: Accounts, who: Caller, **filters: tuple[str, ...]) -> set[tuple[str, ...]]:
    account = await accounts.lines(who, replace(EVERYTHING, filters=filters))
    return {line.key for line in account.lines}


@pytest.mark.anyio
async def test_own_accounts(accounts: Accounts) -> None:
    """Each caller sees their own, those that lost their names too."""
    own = {("ada", SKA), ("ada", OTHER), (NAMES.of("ada"), SKA)}
    assert await seen(accounts, caller("ada", SKA)) == own
    assert await seen(accounts, caller("ada", SKA), group=("/other",)) == {("ada", OTHER)}
    assert await seen(accounts, caller("stranger")) == set()
    for owner in ("grace", "anonymous", ""):
        with pytest.raises(Forbidden, match="accounts of others"):
            await seen(accounts, caller("ada", SKA), owner=(owner,))
    with pytest.raises(Forbidden):
        await seen(accounts, caller("ada", SKA), owner=("ada", "grace"))


@pytest.mark.anyio
@pytest.mark.parametrize("manager", [caller("grace"), caller("zoe", f"/ska/managers@{ISSUER}")])
async def test_managers(accounts: Accounts, manager: Caller) -> None:
    """Managers see all of their group if they name it, and nothing of others."""
    members = {("ada", SKA), ("grace", SKA), (NAMES.of("ada"), SKA)}
    assert await seen(accounts, manager, group=("/ska",)) == members
    assert await seen(accounts, manager, group=("/ska",), owner=("ada",)) == {("ada", SKA)}
    own = {key for key in members if key[0] == manager.owner}
    assert await seen(accounts, manager) == own
    assert await seen(accounts, manager, group=("/ska", "/other")) == own
    assert await seen(accounts, manager, group=("/other",)) == set()


@pytest.mark.anyio
async def test_groups_of_other_issuers_manage_nothing(accounts: Accounts) -> None:
    """A group of the same name from elsewhere is another group."""
    assert await seen(accounts, caller("eve", "/ska/managers@evil.example.org"), group=("/ska",)) == set()


@pytest.mark.anyio
async def test_administrators(accounts: Accounts) -> None:
    assert len(await seen(accounts, caller("root", admin=True))) == 6
    assert await seen(accounts, caller("root", admin=True), owner=("anonymous",)) == {("anonymous", "none")}


@pytest.mark.anyio
async def test_limit(accounts: Accounts) -> None:
    """D-023: no more lines than asked for, and a word that there are more."""
    account = await accounts.lines(caller("root", admin=True), replace(EVERYTHING, limit=2))
    assert (len(account.lines), account.overflow) == (2, True)
    account = await accounts.lines(caller("root", admin=True), replace(EVERYTHING, limit=6))
    assert (len(account.lines), account.overflow) == (6, False)


def test_unknown_callers_have_no_accounts() -> None:
    with pytest.raises(AuthenticationRequired):
        Rules(AUTH).require_account(Identity())
    Rules(Auth()).require_account(Identity())


def test_period() -> None:
    """What ended in [since, until) counts; see `tests/accounting/test_sums.py` for the sums."""
    assert SEPTEMBER % 86_400_000 == 0


def test_forms(uws: Uws) -> None:
    """D-022, D-045: VOTable by default, CSV, JSON, a page; all of them say the same."""
    job = uws.create({"SECONDS": "0", "PHASE": "RUN"})
    assert uws.wait(job) == "COMPLETED"
    url = f"{uws.root}/usage"
    document = uws.http.get(url, params={"BY": "application,outcome", "RESPONSEFORMAT": "json"}).json()
    lines = {(line["application"], line["outcome"]): line for line in document["lines"]}
    assert lines["probe", "Completed"]["attempts"] >= 1
    assert lines["probe", "Completed"]["price"] is None and document["overflow"] is False
    text = uws.http.get(url, params={"BY": "application,outcome", "RESPONSEFORMAT": "csv"})
    assert text.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert list(rows[0]) == ["application", "outcome", *FIGURES]
    assert {(row["application"], row["outcome"]) for row in rows} == lines.keys()
    assert rows[0]["energy_kwh"] == ""
    table = parse_single_table(BytesIO(uws.http.get(url, params={"by": "application,outcome"}).content))
    assert [field.name for field in table.fields] == ["application", "outcome", *FIGURES]
    assert table.get_field_by_id_or_name("reserved_cpu_hours").unit == "h"
    assert len(table.array) == len(rows)
    page = uws.http.get(url, headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 200 and "<h1>Usage</h1>" in page.text and "<script>" not in page.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("BY=colour", "BY: 'colour'"),
        ("BY=month,month", "something twice"),
        ("SINCE=yesterday", "SINCE: 'yesterday'"),
        ("SINCE=2026-02-01&UNTIL=2026-01-01", "UNTIL must be later"),
        ("RESPONSEFORMAT=pdf", "RESPONSEFORMAT: 'pdf'"),
        ("MAXREC=-1", "MAXREC"),
        ("SINCE=9999-12-31T23:59:59-23:00&UNTIL=9999-12-31", "UNTIL must be later|SINCE"),
        ("&".join("OWNER=x" for _ in range(101)), "OWNER has more than 100"),
    ],
)
def test_wrong_queries(uws: Uws, query: str, words: str) -> None:
    """Bad input gets a clear error."""
    answer = uws.http.get(f"{uws.root}/usage?{query}")
    assert answer.status_code == 400 and any(word in answer.text for word in words.split("|")), answer.text


def test_texts_that_no_database_takes(uws: Uws) -> None:
    """Control characters match nothing."""
    answer = uws.http.get(f"{uws.root}/usage?APPLICATION=%00&SITE=%27%20OR%201=1&RESPONSEFORMAT=json")
    assert answer.status_code == 200 and json.loads(answer.text)["lines"] == []
