"""What a token costs.

GET of a private job with one against GET of the same job of a service without issuers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.bench.__main__ import Figure
from tests.bench.load import median_ratio, rate, request_bytes
from tests.issuers import AUDIENCE, NanoIdp
from tests.server import Server

FRESH_TOKENS = 5_000
"""Tokens that were never seen before; each is used once."""


async def measure(folder: Path) -> list[Figure]:
    """Measure remembered tokens and new ones."""
    issuer = NanoIdp(folder / "issuer")
    issuer.start()
    plain = Server(folder / "plain", warm=False)
    secured = Server(folder / "secured", {"UWS_AUTH": json.dumps({"issuers": [issuer.settings()]})}, warm=False)
    plain.start()
    secured.start()
    try:
        token = issuer.token("alice")
        fresh = iter(_fresh(issuer))
        jobs = {
            server.url: _job(server, {"Authorization": f"Bearer {token}"} if server is secured else {})
            for server in (plain, secured)
        }

        async def load(server: Server, tail: str, header: Callable[[], str], seconds: float = 2.0) -> float:
            url = jobs[server.url] + tail
            return await rate(server.url, lambda _: request_bytes(url, headers=header()), seconds=seconds)

        figures = []
        for label, tail in (("GET job", ""), ("GET phase", "/phase")):
            authorization = f"Authorization: Bearer {token}\r\n"
            ratio, secured_rate, bare = await median_ratio(
                lambda tail=tail, authorization=authorization: load(secured, tail, lambda: authorization),  # type: ignore[misc]
                lambda tail=tail: load(plain, tail, lambda: ""),  # type: ignore[misc]
            )
            description = (
                f"{secured_rate:.0f}/s with a remembered token against {bare:.0f}/s without issuers, median of 5"
            )
            name = f"{label} with a token"
            figures.append(
                Figure.least(name, ratio, 0.85, description)
                if not tail
                else Figure.plain(name, ratio, description, "ratio")
            )
        ratio, secured_rate, bare = await median_ratio(
            lambda: load(secured, "/phase", lambda: f"Authorization: Bearer {next(fresh)}\r\n", 0.3),
            lambda: load(plain, "/phase", lambda: "", 0.3),
            rounds=3,
        )
        description = f"{secured_rate:.0f}/s, each with another token, against {bare:.0f}/s without issuers"
        figures.append(Figure.plain("GET phase with a new token each", ratio, description, "ratio"))
        figures.append(Figure.plain("verifying one token", 1e6 * (1 / secured_rate - 1 / bare), description, "µs"))
        return figures
    finally:
        for server in (plain, secured, issuer):
            server.stop()


def _fresh(issuer: NanoIdp) -> list[str]:
    key = RSAKey.import_key((issuer.folder / "keys" / "rsa_private.pem").read_bytes())
    now = int(time.time())
    claims = {"iss": issuer.url, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 3600}
    head = {"alg": "RS256", "kid": issuer.key_id, "typ": "JWT"}
    return [jwt.encode(head, {**claims, "jti": str(number)}, key) for number in range(FRESH_TOKENS)]


def _job(server: Server, headers: dict[str, str]) -> str:
    with httpx2.Client(timeout=60, headers=headers) as http:
        response = http.post(f"{server.url}/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"})
        job = str(response.headers["location"])
        while http.get(f"{job}/phase").text != "COMPLETED":
            http.get(f"{job}?WAIT=5")
    return job
