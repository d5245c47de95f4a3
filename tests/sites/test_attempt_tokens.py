"""Tokens for one attempt.

What is taken, what is refused, and until when; with real databases and over HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.server import Server
from tests.sites.agent_service import serving
from tests.sites.test_agent_api import DATA, DIGEST, JOB, hand_over, pieces
from tests.store import samples
from uws_service.agent import upstream as upstream_module
from uws_service.agent.upstream import Refused, Unreachable, Upstream
from uws_service.applications import load_applications
from uws_service.depot import Depot
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import AttemptState
from uws_service.domain.errors import AuthenticationRequired, Forbidden
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.sites.agent_api import Agents
from uws_service.sites.attempt_tokens import (
    ALGORITHM,
    AUDIENCE,
    LEEWAY_SECONDS,
    SECRET,
    TYPE,
    VALID_SECONDS,
    AttemptTokens,
)
from uws_service.sites.kind import UnknownToken
from uws_service.sites.settings import Fetch
from uws_service.store import Store
from uws_service.web.faces.registry import STANDARDS

KEY = b"k" * 32
NOW_SECONDS = 1_800_000_000
CLAIMS = {
    "aud": AUDIENCE,
    "iat": NOW_SECONDS,
    "exp": NOW_SECONDS + 60,
    "site": "a",
    "job": JOB,
    "attempt": 1,
    "uid": "0123456789abcdef",
}


def tokens(at: int = NOW_SECONDS, key: bytes = KEY) -> AttemptTokens:
    return AttemptTokens(key, lambda: at * 1000)


def signed(claims: dict[str, Any], key: bytes = KEY, algorithm: str = ALGORITHM, typ: str = TYPE) -> str:
    return jwt.encode({"alg": algorithm, "typ": typ}, claims, OctKey.import_key(key), algorithms=[algorithm])


def changed(token: str, part: int, change: Callable[[dict[str, Any]], None]) -> str:
    """Return the token with another header (0) or other claims (1), and the signature that it had."""
    parts = token.split(".")
    value = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    change(value)
    parts[part] = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return ".".join(parts)


@pytest.mark.anyio
async def test_a_token_names_its_agent() -> None:
    """Site, job, attempt and a uid of its own.

    A renewed one has the same uid and a later end.
    """
    first, second = tokens().issue("a", JOB, 2), tokens().issue("a", JOB, 2)
    agent = await tokens().verify(first)
    assert (agent.sites, agent.job_id, agent.number, agent.renewable) == (frozenset({"a"}), JOB, 2, True)
    assert (await tokens().verify(second)).uid != agent.uid
    end_seconds = NOW_SECONDS + VALID_SECONDS
    renewed = tokens(end_seconds).renew(agent)
    assert await tokens(end_seconds + VALID_SECONDS).verify(renewed) == agent


@pytest.mark.anyio
async def test_until_when() -> None:
    """It ends at its time.

    But for what clocks may differ.
    """
    token = tokens().issue("a", JOB, 1)
    await tokens(NOW_SECONDS + VALID_SECONDS + LEEWAY_SECONDS - 1).verify(token)
    with pytest.raises(AuthenticationRequired, match="expired"):
        await tokens(NOW_SECONDS + VALID_SECONDS + LEEWAY_SECONDS + 1).verify(token)
    with pytest.raises(AuthenticationRequired):  # made in the future
        await tokens(NOW_SECONDS - LEEWAY_SECONDS - 1).verify(token)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "token",
    [
        signed(CLAIMS, b"x" * 32),
        signed(CLAIMS, algorithm="HS512"),
        signed(CLAIMS, typ="JWT"),
        changed(signed(CLAIMS), 0, lambda header: header.update(alg="none")),
        changed(signed(CLAIMS), 0, lambda header: header.update(alg="none")).rpartition(".")[0] + ".",
        changed(signed(CLAIMS), 0, lambda header: header.update(alg="RS256")),
        changed(signed(CLAIMS), 1, lambda claims: claims.update(attempt=2)),
        changed(signed(CLAIMS), 1, lambda claims: claims.update(exp=NOW_SECONDS * 2)),
        signed(CLAIMS)[:-2],
        signed(CLAIMS) + "." + signed(CLAIMS),
        "",
        "a.b.c",
        "é.é.é",
        "x" * 10_000,
    ],
)
async def test_what_this_service_did_not_sign(token: str) -> None:
    """Another key, another algorithm, none, another kind of token, or one that was changed."""
    with pytest.raises(UnknownToken):
        await tokens().verify(token)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "change",
    [
        {"aud": "uws-service"},
        {"aud": None},
        {"exp": NOW_SECONDS - LEEWAY_SECONDS - 1},
        {"exp": None},
        {"iat": None},
        {"site": None},
        {"site": ["a"]},
        {"job": "../x"},
        {"job": 1},
        {"attempt": "1"},
        {"attempt": True},
        {"uid": "../../jobs"},
        {"uid": None},
    ],
)
async def test_claims_that_make_no_agent(change: dict[str, Any]) -> None:
    """Even signed with the right key.

    What is missing or of another form is refused.
    """
    await tokens().verify(signed(CLAIMS))
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not None}
    with pytest.raises(AuthenticationRequired):
        await tokens().verify(signed(claims))


# -- with a store --------------------------------------------------------------------------------------------------


@pytest.fixture
async def job(store: Store) -> Job:
    """Return a job of `sleep`, at site a."""
    queued = replace(samples.job(JOB), application="sleep", phase=Phase.QUEUED, parameters=(Parameter("SECONDS", "0"),))
    attempt = replace(samples.attempt(JOB), site="a", application="sleep", state=AttemptState.SUBMITTED)
    created, _ = await store.create(queued, actor="me", attempt=attempt)
    return created


@pytest.fixture
async def agents(store: Store, tmp_path: Path) -> Agents:
    issuer = tokens(key=await store.access.secret(SECRET))
    return Agents(store, Depot.open(str(tmp_path / "depot")), load_applications([], STANDARDS), Fetch(), tokens=issuer)


async def new_agent(agents: Agents, site: str = "a", number: int = 1) -> AgentIdentity:
    assert agents.tokens is not None
    return await agents.identify(agents.tokens.issue(site, JOB, number))


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_all_processes_share_the_key(agents: Agents, store: Store, peer: Store) -> None:
    """A token that one process issued is good at another; the key is none that signs anything else."""
    assert agents.tokens is not None
    key = await peer.access.secret(SECRET)
    await tokens(key=key).verify(agents.tokens.issue("a", JOB, 1))
    assert key == await store.access.secret(SECRET) != await store.access.secret("cookies")


@pytest.mark.anyio
async def test_from_claim_to_report(agents: Agents, store: Store, job: Job) -> None:
    """An agent with such a token does what a pod's agent does, and is told when to renew it."""
    agent = await new_agent(agents)
    assert (await agents.claim(agent))["renew_after"] > 0
    await agents.report(agent, await hand_over(agents, agent))
    (attempt,) = await store.attempts.of(job.id)
    assert attempt.claimed == agent.uid and attempt.report is not None


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_other_attempts_and_sites(agents: Agents) -> None:
    """A token opens its own attempt at its own site."""
    for agent in (await new_agent(agents, number=2), await new_agent(agents, site="b")):
        with pytest.raises(Forbidden, match="no such attempt"):
            await agents.claim(agent)
        with pytest.raises(Forbidden, match="no such attempt"):
            await agents.renew(agent)


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_a_newer_claim_counts(agents: Agents) -> None:
    """A token is of no use once another agent has claimed the attempt: nothing is handed over, nor is it renewed."""
    old, new = await new_agent(agents), await new_agent(agents)
    await agents.claim(old)
    await agents.renew(old)
    report = await hand_over(agents, old)
    await agents.claim(new)
    for refused in (
        agents.report(old, report),
        agents.put_output(old, "result", pieces(DATA), len(DATA), DIGEST),
        agents.progress(old, 0.5, "half"),
        agents.read_input(old, 0),
        agents.renew(old),
    ):
        with pytest.raises(Forbidden, match="Another pod"):
            await refused
    await agents.renew(new)


@pytest.mark.anyio
async def test_nothing_after_the_end(agents: Agents, store: Store, job: Job) -> None:
    """A closed attempt's token is refused whatever it asks for, though it has not expired."""
    agent = await new_agent(agents)
    await agents.claim(agent)
    report = await hand_over(agents, agent)
    (attempt,) = await store.attempts.of(job.id)
    await store.attempts.save(replace(attempt, state=AttemptState.CLOSED))
    for refused in (
        agents.claim(agent),
        agents.renew(agent),
        agents.report(agent, report),
        agents.put_output(agent, "result", pieces(DATA), len(DATA), DIGEST),
        agents.progress(agent, 0.5, "half"),
        agents.read_input(agent, 0),
    ):
        with pytest.raises(Forbidden):
            await refused


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_only_these_tokens_are_renewed(agents: Agents) -> None:
    """A pod's agent gets none.

    Its cluster renews its own token.
    """
    with pytest.raises(Forbidden, match="not renewed"):
        await agents.renew(AgentIdentity(frozenset({"a"}), JOB, 1, "pod"))


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_agent_renews_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first request after its time.

    A renewal that fails does not hold that request up.
    """
    async with serving(tmp_path) as service:
        file = tmp_path / "token"
        file.write_text(service.token)
        upstream = Upstream(service.url, str(file))
        launch = await asyncio.to_thread(upstream.post, "claim", {})
        assert launch["renew_after"] > 0 and file.read_text() == service.token
        upstream.renew_token(0)
        monkeypatch.setattr(service.runtime.agents.tokens, "_clock", lambda: 1_900_000_000_000)
        with pytest.raises(Unreachable, match="401"):  # it has expired by now
            await asyncio.to_thread(upstream.post, "progress", {"fraction": 0.1})
        assert file.read_text() == service.token
        monkeypatch.setattr(service.runtime.agents.tokens, "_clock", lambda: now_ms() + 10_000)
        assert upstream_module.RENEWAL_PAUSE_SECONDS > 1
        upstream.renew_token(0)
        await asyncio.to_thread(upstream.post, "progress", {"fraction": 0.2})
        renewed = file.read_text()
        assert renewed != service.token and file.stat().st_mode & 0o777 == 0o600
        await asyncio.to_thread(upstream.post, "progress", {"fraction": 0.3})
        assert file.read_text() == renewed
        (attempt,) = await service.runtime.store.attempts.of(service.job_id)
        await service.runtime.store.attempts.save(replace(attempt, state=AttemptState.CLOSED))
        upstream.renew_token(0)
        with pytest.raises(Refused, match="ended"):
            await asyncio.to_thread(upstream.post, "progress", {"fraction": 0.4})


def answers(url: str, token: str) -> dict[str, int]:
    """Return the statuses of requests of callers that show a token."""
    job = f"{url}/sleep/async/{JOB}"
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        return {
            "list": http.get(f"{url}/sleep/async").status_code,
            "job": http.get(job).status_code,
            "abort": http.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code,
            "create": http.post(f"{url}/sleep/async", data={"SECONDS": "0"}).status_code,
            "metrics": http.get(f"{url}/metrics").status_code,
            "claim": http.post(f"{url}/agent/v1/claim", json={}).status_code,
        }


@pytest.mark.anyio
async def test_an_agent_is_no_caller(tmp_path: Path) -> None:
    """Its token opens nothing but the resources for agents, and stands in no log, whether it is taken or refused."""
    auth = f'{{"issuers": [{{"url": "https://iam.example.org", "audience": "{AUDIENCE}"}}]}}'
    settings = {"UWS_CONTROLLER": "false", "UWS_LOG_LEVEL": "debug", "UWS_AUTH": auth}
    server = Server(tmp_path, settings)
    async with AsyncExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        store = await Store.open(f"sqlite:///{tmp_path}/data/uws.db")
        stack.push_async_callback(store.close)
        queued = replace(samples.job(JOB), application="sleep", owner="alice", phase=Phase.QUEUED)
        attempt = replace(samples.attempt(JOB), application="sleep", owner="alice", state=AttemptState.SUBMITTED)
        await store.create(
            replace(queued, parameters=(Parameter("SECONDS", "0"),), destruction=None), actor="alice", attempt=attempt
        )
        issuer = AttemptTokens(await store.access.secret(SECRET), now_ms)
        good = issuer.issue("local", JOB, 1)
        statuses = await asyncio.to_thread(answers, server.url, good)
        assert statuses.pop("claim") == 200
        assert set(statuses.values()) == {401}, statuses
        bad = changed(good, 1, lambda claims: claims.update(attempt=2))
        late = AttemptTokens(await store.access.secret(SECRET), lambda: 1_700_000_000_000).issue("local", JOB, 1)
        for refused in (bad, late):
            assert set((await asyncio.to_thread(answers, server.url, refused)).values()) == {401}
    log = server.log.read_text()
    assert "attempt token refused" in log
    for token in (good, bad, late):
        assert token.split(".")[1] not in log and token.split(".")[2] not in log
