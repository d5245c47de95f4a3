"""A running service under load while its issuer changes keys and is away, with a simulated clock; hostile issuers."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.auth.test_tokens import bad_tokens
from tests.issuers import NanoIdp
from tests.server import Server

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
    """Callers that ask for one job without a pause; what they were answered, by the kind of token."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.tokens: dict[str, str] = {}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.rounds = 0
        self.ended = False
        self.http = httpx2.AsyncClient(timeout=30)

    async def caller(self) -> None:
        while not self.ended:
            for kind, token in list(self.tokens.items()):
                answer = await self.http.get(f"{self.job}/phase", headers={"Authorization": f"Bearer {token}"})
                self.answers[kind, answer.status_code] += 1
                assert "Traceback" not in answer.text
            self.rounds += 1

    async def rounds_more(self, number: int) -> None:
        """Wait until so many more rounds were made, each begun by one caller after this call."""
        wanted = self.rounds + number
        while self.rounds < wanted:  # noqa: ASYNC110 -- nothing announces it
            await asyncio.sleep(0.005)

    def statuses(self, kind: str) -> set[int]:
        """All statuses that a kind of token was answered with."""
        return {status for one, status in self.answers if one == kind}


@pytest.mark.anyio
async def test_rotation_and_outage_under_load(tmp_path: Path) -> None:
    """A new key is taken at once; while the issuer is away no good request is lost, and no bad one let in."""
    issuer = NanoIdp(tmp_path / "issuer")
    issuer.start()
    clock = Clock(tmp_path / "clock")
    callers = 4
    try:
        with clocked(tmp_path / "service", clock, {"issuers": [issuer.settings()], "cache": 50}) as server:
            long = int(time.time()) + 10_000
            first = issuer.signed(exp=long)
            made = httpx2.post(f"{server.url}/sleep/async", headers={"Authorization": f"Bearer {first}"})
            assert made.status_code == 303, made.text
            load = Load(made.headers["location"])
            bad = {what: token for what, (token, _) in bad_tokens(issuer).items()}
            never = ("wrong audience", "alg none", "HMAC with the public key", "key of another issuer", "expired")
            load.tokens = {"good": first, **{what: bad[what] for what in never}}
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
            for what in never:
                assert load.statuses(what) == {401}, (what, load.answers)
            assert load.statuses("ends in the outage") == {401}, load.answers
            assert load.statuses("unknown key") <= {401, 503} and load.answers["unknown key", 503], load.answers
            assert "Traceback" not in server.log.read_text()
    finally:
        issuer.stop()
