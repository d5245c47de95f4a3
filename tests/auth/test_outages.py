"""A service under load during outages, and hostile issuers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.auth.test_tokens import DISCOVERY, KEY, KEYS, PUBLIC, bad_tokens, discovery, hostile, published, token_for
from tests.issuers import AUDIENCE, NanoIdp
from tests.server import Server
from uws_service.auth.keys import BURST

Answer = Callable[[str], tuple[int, dict[str, str], bytes]]
CLOCKED = ("-m", "tests.auth.clocked")
STEP, STEPS = 60.0, 65
"""An hour and more, in minutes: longer than keys are kept without being asked for again."""


class Clock:
    """The service's clock, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead = 0.0
        self.advance(0)

    def advance(self, seconds: float) -> None:
        self.ahead += seconds
        draft = self.path.with_suffix(".draft")
        draft.write_text(str(self.ahead))
        os.replace(draft, self.path)


@contextmanager
def clocked(folder: Path, clock: Clock, auth: dict[str, object]) -> Iterator[Server]:
    settings = {"CLOCK": str(clock.path), "UWS_AUTH": json.dumps(auth), "UWS_LOG_FORMAT": "json"}
    server = Server(folder, settings, program=CLOCKED)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Load:
    """Callers without a pause, and their answers by kind of token."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.tokens: dict[str, str] = {}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.rounds = 0
        self.ended = False
        self.http = httpx2.AsyncClient(timeout=180)

    async def caller(self) -> None:
        while not self.ended:
            for kind, token in list(self.tokens.items()):
                answer = await self.http.get(f"{self.job}/phase", headers={"Authorization": f"Bearer {token}"})
                self.answers[kind, answer.status_code] += 1
                assert "Traceback" not in answer.text
            self.rounds += 1

    async def rounds_more(self, number: int) -> None:
        """Wait for so many further rounds."""
        target = self.rounds + number
        while self.rounds < target:  # noqa: ASYNC110 -- nothing announces it
            await asyncio.sleep(0.005)

    def statuses(self, kind: str) -> set[int]:
        """Return all statuses for a kind of token."""
        return {status for answered, status in self.answers if answered == kind}


@pytest.mark.anyio
async def test_rotation_and_outage_under_load(tmp_path: Path) -> None:
    """Rotation and outage lose no good request and pass no bad one."""
    issuer = NanoIdp(tmp_path / "issuer")
    issuer.start()
    clock = Clock(tmp_path / "clock")
    callers = 4
    try:
        with clocked(tmp_path / "service", clock, {"issuers": [issuer.settings()], "cache": 50}) as server:
            long = int(time.time()) + 10_000
            first = issuer.signed(exp=long)
            created = httpx2.post(f"{server.url}/sleep/async", headers={"Authorization": f"Bearer {first}"})
            assert created.status_code == 303, created.text
            load = Load(created.headers["location"])
            bad = {fault: token for fault, (token, _) in bad_tokens(issuer).items()}
            faults = ("wrong audience", "alg none", "HMAC with the public key", "key of another issuer", "expired")
            load.tokens = {"good": first, **{fault: bad[fault] for fault in faults}}
            tasks = [asyncio.create_task(load.caller()) for _ in range(callers)]
            await load.rounds_more(2 * callers)
            issuer.rotate()
            load.tokens["new key"] = issuer.signed(exp=long)
            load.tokens["ends in the outage"] = issuer.signed(exp=int(time.time()) + 300)
            await load.rounds_more(2 * callers)
            issuer.stop()
            load.tokens["unknown key"] = bad["unknown key"]
            for minute in range(STEPS):
                clock.advance(STEP)
                await load.rounds_more(callers)
                if minute == 10:  # ten minutes, and the leeway, after the last of them could be good
                    load.answers.pop(("ends in the outage", 200))
            issuer.start()
            clock.advance(STEP)
            await load.rounds_more(2 * callers)
            load.ended = True
            await asyncio.gather(*tasks)
            await load.http.aclose()
            assert load.statuses("good") == {200} and load.statuses("new key") == {200}, load.answers
            assert load.answers["good", 200] > STEPS * callers
            for fault in faults:
                assert load.statuses(fault) == {401}, (fault, load.answers)
            assert load.statuses("ends in the outage") == {401}, load.answers
            assert load.statuses("unknown key") <= {401, 503} and load.answers["unknown key", 503], load.answers
            assert "Traceback" not in server.log.read_text()
    finally:
        issuer.stop()


def _slow(url: str) -> tuple[int, dict[str, str], bytes]:
    time.sleep(6)
    return discovery(url)


STRANGER = RSAKey.generate_key(2048)
SAME_ID = {**STRANGER.as_dict(private=False), "kid": "one"}
HOSTILE: dict[str, tuple[dict[str, Answer], int]] = {
    "HTML": ({DISCOVERY: lambda url: (200, {"content-type": "text/html"}, b"<html>log in</html>")}, 503),
    "an error": ({DISCOVERY: lambda url: (500, {}, b"Traceback (most recent call last)")}, 503),
    "slow": ({DISCOVERY: _slow}, 503),
    "another host": ({DISCOVERY: lambda url: (302, {"location": "http://169.254.169.254/"}, b"")}, 503),
    "another issuer": ({DISCOVERY: lambda url: discovery("https://other.example.org")}, 503),
    "keys at another host": (
        {DISCOVERY: discovery, KEYS: lambda url: (307, {"location": "http://169.254.169.254/"}, b"")},
        503,
    ),
    "keys in HTML": ({DISCOVERY: discovery, KEYS: lambda url: (200, {}, b"<html>")}, 503),
    "thousands of keys": (
        {DISCOVERY: discovery, KEYS: published(*[{**PUBLIC, "kid": str(number)} for number in range(3000)])},
        503,
    ),
    "too large": ({DISCOVERY: discovery, KEYS: lambda url: (200, {}, b" " * 5_000_000)}, 503),
    "no keys": ({DISCOVERY: discovery, KEYS: published()}, 401),
    "one id twice": ({DISCOVERY: discovery, KEYS: published(SAME_ID, PUBLIC)}, 200),
}
"""How an issuer answers, and what a caller with its token is then answered."""


def test_issuers_that_misbehave(tmp_path: Path, nano: NanoIdp) -> None:
    """Their own callers get a clear answer, others notice nothing."""
    with contextlib.ExitStack() as stack:
        urls = {fault: stack.enter_context(hostile(answers)) for fault, (answers, _) in HOSTILE.items()}
        with hostile({}) as absent_url:
            pass
        issuers = [{"url": url, "audience": AUDIENCE} for url in (absent_url, *urls.values())]
        auth = {"issuers": [*issuers, nano.settings()], "timeout": 4}
        server = Server(tmp_path, {"UWS_AUTH": json.dumps(auth), "UWS_LOG_FORMAT": "json"})
        server.start()
        stack.callback(server.stop)
        url = f"{server.url}/sleep/async"
        good = {"Authorization": f"Bearer {nano.token('alice')}"}
        for fault, issuer, status in [
            ("down", absent_url, 503),
            *((fault, urls[fault], status) for fault, (_, status) in HOSTILE.items()),
        ]:
            token = token_for(issuer, KEY)
            answer = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=180)
            details = (fault, answer.status_code, answer.text[:300])
            assert answer.status_code == status, details
            assert "Traceback" not in answer.text and token not in answer.text and "169.254" not in answer.text, details
            if status == 503:
                assert int(answer.headers["retry-after"]) > 0 and "can't be asked for its keys" in answer.text, details
            if status == 401:
                assert "does not have" in answer.text and "www-authenticate" in answer.headers, details
            assert httpx2.get(url, headers=good).status_code == 200, fault
            assert httpx2.get(f"{server.url}/").status_code == 200, fault
        forged = token_for(urls["one id twice"], RSAKey.generate_key(2048))
        refused = httpx2.get(url, headers={"Authorization": f"Bearer {forged}"})
        assert refused.status_code == 401 and "signature" in refused.text
        assert "Traceback" not in server.log.read_text()


def test_a_flood_of_unknown_keys(tmp_path: Path) -> None:
    """Invented key ids cost the issuer a few fetches."""
    paths: list[str] = []

    def keys(url: str) -> tuple[int, dict[str, str], bytes]:
        paths.append(url)
        return published(PUBLIC)(url)

    with hostile({DISCOVERY: discovery, KEYS: keys}) as issuer:
        auth = {"issuers": [{"url": issuer, "audience": AUDIENCE}]}
        server = Server(tmp_path, {"UWS_AUTH": json.dumps(auth)})
        server.start()
        try:
            url, now = f"{server.url}/sleep/async", int(time.time())
            good = {"Authorization": f"Bearer {token_for(issuer, KEY)}"}
            claims = {"iss": issuer, "sub": "a", "aud": AUDIENCE, "iat": now, "exp": now + 60}
            began = time.monotonic()
            with httpx2.Client() as http:
                assert http.get(url, headers=good).status_code == 200
                for number in range(200):
                    token = jwt.encode({"alg": "RS256", "kid": f"k{number}"}, claims, STRANGER)
                    answer = http.get(url, headers={"Authorization": f"Bearer {token}"})
                    assert answer.status_code in (401, 503) and "Traceback" not in answer.text, answer.text
                    if number % 20 == 0:
                        assert http.get(url, headers=good).status_code == 200
            assert len(paths) <= BURST + 1 + (time.monotonic() - began) / 10
        finally:
            server.stop()
