"""A runner that shows an issuer's tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.issuers import CLIENT, SECRET, NanoIdp
from tests.runner.programs import SITE, Far, far_site, until
from tests.service.client import Uws, job_id


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NanoIdp]:
    nano = NanoIdp(tmp_path_factory.mktemp("issuer"))
    nano.start()
    yield nano
    nano.stop()


@contextmanager
def site_of_client(folder: Path, issuer: NanoIdp, *clients: str) -> Iterator[Far]:
    """Yield a service that takes tokens of clients from the runner of its site, and a runner that gets them."""
    (folder / "runner").mkdir()
    secret = folder / "runner" / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    client = {"token_url": f"{issuer.url}/token", "client_id": CLIENT, "secret_file": "secret"}
    runner = {"key_file": None, "client": client}
    site = {"keys": [], "clients": list(clients)}
    with far_site(folder, site=site, runner=runner, auth={"issuers": [issuer.settings()]}) as far:
        yield far


def subject(issuer: NanoIdp, name: str = CLIENT) -> str:
    return f"{name}@{urlsplit(issuer.url).netloc}"


def test_job_by_a_client_s_tokens(tmp_path: Path, issuer: NanoIdp) -> None:
    with site_of_client(tmp_path, issuer, subject(issuer)) as far, Uws(far.server.url, "ledger") as user:
        user.http.headers["authorization"] = f"Bearer {issuer.token('alice')}"
        job = user.create({"PHASE": "RUN"})
        assert user.wait(job) == "COMPLETED", far.runner.text()[-2000:]
        assert far.program.runs()[job_id(job)] == 1
        issuer.rotate()  # its next token has another key
        far.runner.kill()
        far.runner.start()
        job = user.create({"PHASE": "RUN"})
        assert user.wait(job) == "COMPLETED"
        assert SECRET not in far.runner.text() and "eyJ" not in far.runner.text() + far.server.tail()


def test_another_client(tmp_path: Path, issuer: NanoIdp) -> None:
    """A good token of somebody else opens no session, nor does that of a person."""
    with site_of_client(tmp_path, issuer, subject(issuer, "uws-other")) as far:
        until(lambda: "does not speak for this site" in far.runner.text(), "the refusal")
        content = {"protocol": 1, "runner": "0" * 32, "host": "x", "kind": "local", "bound": False}

        def opened(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            url = f"{far.server.url}/runner/v1/{SITE}/session"
            return httpx2.post(url, json=content, headers=headers, timeout=60).status_code

        assert opened(issuer.token("alice")) == 401
        good: dict[str, Any] = {"sub": "uws-other"}
        assert opened(issuer.signed(**good)) == 200
        assert opened(issuer.signed(**good, aud="somebody-else")) == 401
        assert opened(issuer.signed(**good, exp=1)) == 401
        assert opened(issuer.signed(**good, iss="https://elsewhere.example")) == 401
        assert json.loads(far.runner.config.read_text())["client"]["client_id"] == CLIENT


def test_an_issuer_that_is_away(tmp_path: Path) -> None:
    """The runner waits for it; jobs begin once it is back."""
    issuer = NanoIdp(tmp_path / "issuer")
    issuer.start()
    try:
        with site_of_client(tmp_path, issuer, subject(issuer)) as far, Uws(far.server.url, "ledger") as user:
            user.http.headers["authorization"] = f"Bearer {issuer.token('alice')}"
            until(lambda: "driving the site" in far.runner.text(), "the session")
            far.runner.kill()
            issuer.stop()
            far.runner.start()
            until(lambda: "The issuer gives no token" in far.runner.text(), "the runner to say so")
            job = user.create({"PHASE": "RUN"})
            issuer.start()
            assert user.wait(job) == "COMPLETED"
    finally:
        issuer.stop()
