"""The relay for agents that run the command."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runner.programs import PATIENCE_SECONDS
from tests.runner.test_relay import SITE, Setting, at_site, named
from uws_service.domain.attempt import AttemptState
from uws_service.domain.ids import now_ms
from uws_service.runner.spool import Spool
from uws_service.sites.attempt_tokens import AttemptTokens
from uws_service.sites.executor import live_key

pytestmark = pytest.mark.anyio
START = {"uid": "0123456789abcdef", "heartbeat": 5}
LOG = b"said\n"


@pytest.fixture
def tokens() -> AttemptTokens:
    return AttemptTokens(secrets.token_bytes(32), now_ms)


async def begin(site: Setting) -> dict[str, Any]:
    """Claim with the ticket, and go on with the token that is given for it."""
    answer = await site.post("claim", START)
    assert answer.status_code == 200, answer.text
    instructions: dict[str, Any] = answer.json()
    site.token = instructions["token"]
    return instructions


async def put_log(site: Setting, name: str = "stdout") -> int:
    headers = site.headers(**{"x-content-sha256": hashlib.sha256(LOG).hexdigest()})
    return (await site.http.put(f"/agent/v1/logs/{name}", content=LOG, headers=headers)).status_code


def report(**changes: Any) -> dict[str, Any]:
    now = now_ms()
    log = {"id": "stdout", "media_type": "text/plain", "size": len(LOG), "sha256": hashlib.sha256(LOG).hexdigest()}
    end = {"exit_code": 0, "started": now - 1000, "ended": now, "logs": [log], "tail": "said"}
    return named(**{**end, **changes})


async def test_all_of_it_passes(tmp_path: Path, tokens: AttemptTokens) -> None:
    """What is to be run comes with the claim; signs of life, logs and the end reach the service."""
    async with at_site(tmp_path, tokens=tokens) as site:
        instructions = await begin(site)
        assert instructions["run"]["job_id"] == site.job_id and instructions["renew_after"] == START["heartbeat"]
        first = (await site.attempt()).alive_until
        await asyncio.sleep(0.01)
        renewed = await site.post("token", {})
        assert renewed.status_code == 200
        site.token = renewed.json()["token"]
        assert (await site.attempt()).alive_until > first
        assert await put_log(site) == 204 and (await site.put()).status_code == 204
        assert (await site.post("report", report())).status_code == 204
        attempt = await site.attempt()
        assert attempt.claimed == START["uid"] and attempt.report is not None and attempt.report.end is not None
        assert [entry.id for entry in attempt.report.end.logs] == ["stdout"]
        assert not site.spool.has((site.job_id, 1)) and site.spool.used() == 0


async def test_tokens_of_the_service_stay_there(tmp_path: Path, tokens: AttemptTokens) -> None:
    """What an agent gets is signed by the runner: the service does not take it."""
    async with at_site(tmp_path, tokens=tokens) as site:
        await begin(site)
        verifier = site.runtime.agents
        with pytest.raises(Exception, match="none of this service"):
            await verifier.identify(site.token)
        assert (await tokens.verify(site.token)).uid == START["uid"]


async def test_logs_are_kept_while_the_link_is_cut(tmp_path: Path, tokens: AttemptTokens) -> None:
    """So are signs of life answered: the command goes on, and all of it comes afterwards, also after a restart."""
    async with at_site(tmp_path, tokens=tokens) as site:
        await begin(site)
        site.wire.cut()
        renewed = await site.post("token", {})
        assert renewed.status_code == 200 and renewed.json()["token"]
        assert await put_log(site) == 204 and (await site.put()).status_code == 204
        assert (await site.post("report", report())).status_code == 204
        later = Spool(site.depot, site.link, 10**6)
        await later.load()
        assert later.has((site.job_id, 1))
        site.wire.mend()
        sending = asyncio.create_task(later.run())
        await asyncio.wait_for(later.change.wait(), PATIENCE_SECONDS)
        sending.cancel()
        stored = (await site.attempt()).report
        assert stored is not None and stored.end is not None and len(stored.end.logs) == len(stored.outputs) == 1
        assert [path async for path in site.depot.list("relay/")] == []


async def test_a_ticket_is_for_one_claim(tmp_path: Path, tokens: AttemptTokens) -> None:
    """The same start may ask again; another one never may, and a ticket opens nothing else."""
    async with at_site(tmp_path, tokens=tokens) as site:
        ticket = site.token
        assert (await site.put()).status_code == 403
        assert (await site.post("report", report())).status_code == 403
        assert (await site.post("token", {})).status_code == 403
        assert (await site.post("claim", {})).status_code == 400
        assert (await site.post("claim", {"uid": "x", "heartbeat": 5})).status_code == 400
        assert (await site.post("claim", {**START, "heartbeat": None})).status_code == 400
        await begin(site)
        site.token = ticket
        assert (await site.post("claim", START)).status_code == 200
        assert (await site.post("claim", {**START, "uid": "f" * 16})).status_code == 403


async def test_tokens_of_others(tmp_path: Path, tokens: AttemptTokens) -> None:
    """Neither another runner's, nor the service's own, nor one for another site."""
    async with at_site(tmp_path, tokens=tokens) as site:
        service = site.runtime.agents.tokens
        assert service is not None
        other_runner = AttemptTokens(secrets.token_bytes(32), now_ms)
        for stranger in (other_runner, service):
            site.token = stranger.issue_ticket(SITE, site.job_id, 1)
            assert (await site.post("claim", START)).status_code == 401
        site.token = tokens.issue_ticket("elsewhere", site.job_id, 1)
        assert (await site.post("claim", START)).status_code == 403


async def test_an_attempt_that_was_given_up(tmp_path: Path, tokens: AttemptTokens) -> None:
    """Its agent is told so at its next sign of life."""
    async with at_site(tmp_path, tokens=tokens) as site:
        await begin(site)
        await site.runtime.store.attempts.save(replace(await site.attempt(), wanted=False, state=AttemptState.CLOSED))
        assert (await site.post("token", {})).status_code == 403


async def test_the_end_of_a_log_stays_at_the_runner(tmp_path: Path, tokens: AttemptTokens) -> None:
    """It is sent when somebody reads it, and not before."""
    async with at_site(tmp_path, tokens=tokens) as site:
        await begin(site)
        headers = site.headers(**{"x-content-sha256": hashlib.sha256(LOG).hexdigest()})
        site.wire.cut()
        for name, status in (("stdout", 204), ("passwd", 400)):
            answer = await site.http.put(f"/agent/v1/live/{name}", content=LOG, headers=headers)
            assert answer.status_code == status
        paths = [path async for path in site.depot.list("jobs/")]
        assert paths == [live_key(site.job_id, 1, "stdout")]


async def test_a_log_s_name(tmp_path: Path, tokens: AttemptTokens) -> None:
    """It is one of two, and no output can take its place."""
    async with at_site(tmp_path, tokens=tokens) as site:
        await begin(site)
        assert await put_log(site, "passwd") == 400
        assert (await site.put(name="=stdout")).status_code == 400
        assert [path async for path in site.depot.list("relay/")] == []
