"""The relay for a site's agents, before a real service: what passes, what is kept while it can't, what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.runner.programs import PATIENCE_SECONDS, Wire
from tests.server import free_port
from tests.sites.agent_service import serving
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, AttemptState
from uws_service.runner.link import Link, LinkDown
from uws_service.runner.relay import Relay
from uws_service.runner.settings import RunnerSettings
from uws_service.runner.spool import Spool
from uws_service.runtime import Runtime
from uws_service.sites.attempt_tokens import AttemptTokens
from uws_service.sites.remote.keys import digest_of, new_key

pytestmark = pytest.mark.anyio
SITE = "far"
DATA = b"result\n"
DIGEST = hashlib.sha256(DATA).hexdigest()
BASE = "http://relay"


@dataclass
class Setting:
    """A service with an attempt at a site that only calls out, and that site's relay."""

    runtime: Runtime
    wire: Wire
    relay: Relay
    spool: Spool
    link: Link
    http: httpx2.AsyncClient
    job_id: str
    depot: Depot
    token: str

    def headers(self, **others: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", **others}

    async def put(self, content: bytes = DATA, digest: str = DIGEST, name: str = "result") -> httpx2.Response:
        return await self.http.put(
            f"/agent/v1/outputs/{name}", content=content, headers=self.headers(**{"x-content-sha256": digest})
        )

    async def post(self, path: str, content: Any) -> httpx2.Response:
        return await self.http.post(f"/agent/v1/{path}", json=content, headers=self.headers())

    async def attempt(self) -> Attempt:
        (attempt,) = await self.runtime.store.attempts.of(self.job_id)
        return attempt


def named(**changes: Any) -> dict[str, Any]:
    output = {
        "id": "result",
        "media_type": "application/octet-stream",
        "size": len(DATA),
        "sha256": DIGEST,
        "settled": True,
    }
    return {"outputs": [output], "bytes_in": 0, "cpu": 0.5, "peak_memory": 1, **changes}


@asynccontextmanager
async def at_site(folder: Path, *, limit: int = 10**6, tokens: AttemptTokens | None = None) -> AsyncIterator[Setting]:
    """Run all of it in this process; the service's tokens for attempts stand for those of pods.

    With ``tokens`` of the runner its agents begin with a ticket.
    """
    key = new_key()
    site = {"name": SITE, "kind": "remote", "keys": [digest_of(key)]}
    async with serving(folder, sites=[site]) as service:
        wire = Wire(int(service.url.rpartition(":")[2]))
        (folder / "key").write_text(key)
        (folder / "key").chmod(0o600)
        settings = RunnerSettings(
            service=f"http://127.0.0.1:{wire.port}", site=SITE, key_file=folder / "key", local={"kind": "local"}
        )
        link = Link(settings)
        await link.open({"protocol": 1, "runner": secrets.token_hex(16), "host": "x", "kind": "local", "bound": False})
        depot = Depot.open(str(folder / "spool"))
        spool = Spool(depot, link, limit)
        verifier = service.runtime.agents.tokens
        assert verifier is not None
        relay = Relay(SITE, link, spool, tokens or verifier, is_secure=False, tokens=tokens)
        transport = httpx2.ASGITransport(app=relay.app())
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as http:
            token = tokens.issue_ticket(SITE, service.job_id, 1) if tokens else verifier.issue(SITE, service.job_id, 1)
            yield Setting(service.runtime, wire, relay, spool, link, http, service.job_id, depot, token)
        await link.close()
        wire.close()


async def test_all_of_it_passes(tmp_path: Path) -> None:
    async with at_site(tmp_path) as site:
        claim = await site.post("claim", {})
        assert claim.status_code == 200 and claim.json()["renew_after"] is None
        assert (await site.post("progress", {"fraction": 0.5, "text": "half"})).status_code == 204
        assert (await site.put()).status_code == 204
        assert (await site.post("report", named())).status_code == 204
        attempt = await site.attempt()
        assert attempt.report is not None and [output.id for output in attempt.report.outputs] == ["result"]
        assert not site.spool.has((site.job_id, 1)) and site.spool.used() == 0


async def test_results_are_kept_while_the_link_is_cut(tmp_path: Path) -> None:
    """They outlive the runner, and come when the service can be called again."""
    async with at_site(tmp_path) as site:
        assert (await site.post("claim", {})).status_code == 200
        site.wire.cut()
        assert (await site.post("claim", {})).status_code == 503
        assert (await site.post("progress", {"fraction": 0.5, "text": "half"})).status_code == 204
        assert (await site.put()).status_code == 204
        assert (await site.post("report", named())).status_code == 204
        assert site.spool.has((site.job_id, 1)) and site.spool.used() == len(DATA)
        again = Spool(site.depot, site.link, 10**6)
        await again.load()
        assert again.has((site.job_id, 1)) and again.used() == len(DATA)
        sending = asyncio.create_task(again.run())
        await asyncio.sleep(0)
        assert (await site.attempt()).report is None
        site.wire.mend()
        await asyncio.wait_for(again.change.wait(), PATIENCE_SECONDS)
        sending.cancel()
        report = (await site.attempt()).report
        assert report is not None and [output.sha256 for output in report.outputs] == [DIGEST]
        assert [path async for path in site.depot.list("relay/")] == []


async def test_nothing_is_dropped_for_the_words_of_others(tmp_path: Path) -> None:
    """Neither before there is a session, nor for a key that is refused, nor for a proxy that says no."""
    async with at_site(tmp_path) as site:
        assert (await site.post("claim", {})).status_code == 200
        session, root = site.link._session, site.link._root
        site.link._session = ""  # as in a runner that has just started
        assert (await site.put()).status_code == 204
        assert (await site.post("report", named())).status_code == 204
        (voice,) = site.spool._pending
        with pytest.raises(LinkDown):
            await site.spool._send_all(voice)
        site.link._session, site.link._credentials._key = session, "wrong"
        with pytest.raises(LinkDown, match="401"):
            await site.spool._send_all(voice)

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nblocked")
            await writer.drain()
            writer.close()

        port = free_port()
        async with await asyncio.start_server(refuse, "127.0.0.1", port):
            site.link._root = f"http://127.0.0.1:{port}/runner/v1/{SITE}"
            with pytest.raises(LinkDown):
                await site.spool._send_all(voice)
        assert site.spool.has((site.job_id, 1)) and site.spool.used() == len(DATA)
        site.link._root, site.link._credentials._key = root, (tmp_path / "key").read_text()
        await site.spool._send_all(voice)
        assert not site.spool.has((site.job_id, 1))
        assert (await site.attempt()).report is not None


async def test_kept_results_of_a_job_that_was_given_up(tmp_path: Path) -> None:
    async with at_site(tmp_path) as site:
        assert (await site.post("claim", {})).status_code == 200
        site.wire.cut()
        assert (await site.put()).status_code == 204
        assert (await site.post("report", named())).status_code == 204
        attempt = await site.attempt()
        await site.runtime.store.attempts.save(replace(attempt, wanted=False, state=AttemptState.CLOSED))
        site.wire.mend()
        sending = asyncio.create_task(site.spool.run())
        await asyncio.wait_for(site.spool.change.wait(), PATIENCE_SECONDS)
        sending.cancel()
        assert (await site.attempt()).report is None
        assert [path async for path in site.depot.list("relay/")] == []


async def test_the_disk_has_a_bound(tmp_path: Path) -> None:
    async with at_site(tmp_path, limit=10) as site:
        assert (await site.post("claim", {})).status_code == 200
        site.wire.cut()
        assert (await site.put()).status_code == 204
        second = await site.put(b"more", hashlib.sha256(b"more").hexdigest(), "other")
        assert second.status_code == 507
        assert site.spool.used() == len(DATA)
        await site.spool.drop((site.job_id, 1))
        assert site.spool.used() == 0


async def test_what_is_refused(tmp_path: Path) -> None:
    async with at_site(tmp_path) as site:
        assert (await site.post("claim", {})).status_code == 200
        assert (await site.put(b"others\n")).status_code == 400
        assert (await site.put(DATA, "x" * 64)).status_code == 400
        assert (await site.put(name="..")).status_code in (400, 404)
        assert (await site.http.put("/agent/v1/outputs/result", content=DATA)).status_code == 401
        assert (await site.http.post("/agent/v1/claim", headers={"authorization": "Bearer x.y.z"})).status_code == 401
        assert (await site.http.get("/tap/async")).status_code == 404
        assert (await site.http.post("/runner/v1/far/orders", headers=site.headers())).status_code == 404
        other = site.runtime.agents.tokens
        assert other is not None
        headers = {"authorization": f"Bearer {other.issue('elsewhere', site.job_id, 1)}"}
        assert (await site.http.post("/agent/v1/claim", headers=headers)).status_code == 403
        large = await site.http.post("/agent/v1/report", content=b" " * (1024 * 1024 + 1), headers=site.headers())
        assert large.status_code == 413
        assert [path async for path in site.depot.list("relay/")] == []


async def test_no_tokens_without_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens for data are not passed on where others could read them."""
    async with at_site(tmp_path) as site:

        class Access:
            async def held(self, _job_id: str) -> dict[str, Any]:
                return {"tokens": {"data.example.org": "secret-token"}, "command": None}

        monkeypatch.setattr(site.runtime.agents, "data", Access())
        claim = await site.post("claim", {})
        assert claim.status_code == 200 and "secret-token" not in claim.text
        assert "no certificate" in claim.json()["data"]["problem"]
        site.relay.is_secure = True
        assert "secret-token" in (await site.post("claim", {})).text
        assert json.loads(claim.text)["inputs"] == []
