"""Tokens of real issuers, key rotation and outages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.issuers import AUDIENCE, CLIENT, SECRET, NanoIdp, OidcProvider
from uws_service.auth.keys import BURST, RETRY_SECONDS, cache_seconds
from uws_service.auth.settings import Auth
from uws_service.auth.tokens import Tokens
from uws_service.domain.errors import AuthenticationRequired, Forbidden, ServiceUnavailable, UwsError

pytestmark = pytest.mark.anyio


class Clock:
    """The time, which a test may move on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def verifier(
    *issuers: dict[str, Any], clock: Callable[[], float] = time.time, **changes: Any
) -> AsyncIterator[Tokens]:
    tokens = Tokens(Auth.model_validate({"issuers": list(issuers), **changes}), clock=clock)
    try:
        yield tokens
    finally:
        await tokens.close()


async def refusal(tokens: Tokens, token: str) -> UwsError:
    """Return the error for a token that must be refused."""
    with pytest.raises((AuthenticationRequired, Forbidden)) as error:
        await tokens.verify(token)
    return error.value


# --- good ones ----------------------------------------------------------------------------------------------------


async def test_nanoidp(nano: NanoIdp) -> None:
    """U-160: the owner is subject and issuer."""
    async with verifier(nano.settings()) as tokens:
        token = nano.token("alice")
        assert tokens.cached(token) is None
        identity, ends = await tokens.verify(token)
        assert identity.owner == f"alice@127.0.0.1:{nano.port}"
        assert identity.groups == {f"/ska/{name}@127.0.0.1:{nano.port}" for name in ("users", "team")}
        assert "openid" in identity.scopes
        assert 3500 < ends - time.time() <= 3600
        assert tokens.cached(token) == identity


async def test_oidc_provider(provider: OidcProvider) -> None:
    """ES256, at+jwt, wlcg.groups, a display name."""
    async with verifier(provider.settings()) as tokens:
        identity, _ = await tokens.verify(provider.token("robot"))
        assert identity.owner == f"robot@127.0.0.1:{provider.port}"
        assert identity.name == "robot"
        assert identity.groups == {f"/ska/programs@127.0.0.1:{provider.port}"}
        assert identity.scopes == {"uws"}


async def test_two_issuers_with_one_subject(nano: NanoIdp, provider: OidcProvider) -> None:
    """One subject of two issuers is two owners."""
    async with verifier(nano.settings(), provider.settings()) as tokens:
        first, _ = await tokens.verify(nano.signed(sub="robot"))
        second, _ = await tokens.verify(provider.token("robot"))
        assert first.owner != second.owner


async def test_an_opaque_token(provider: OidcProvider) -> None:
    """RFC 7662: introspected and cached; revoked ones are refused."""
    import httpx2

    clock = Clock()
    settings = provider.settings(introspection=True, client_id=CLIENT, client_secret=SECRET)
    async with verifier(settings, clock=clock) as tokens:
        token = provider.token("robot", opaque=True)
        assert token.count(".") != 2
        identity, _ = await tokens.verify(token)
        assert identity.owner == f"robot@127.0.0.1:{provider.port}"
        assert tokens.cached(token) == identity
        answer = httpx2.post(f"{provider.url}/token/revocation", data={"token": token}, auth=("robot", "robot-secret"))
        assert answer.status_code == 200
        clock.ahead = 61
        assert tokens.cached(token) is None
        assert "not known to its issuer" in (await refusal(tokens, token)).message
        assert "not known to its issuer" in (await refusal(tokens, "x" * 43)).message


async def test_an_opaque_token_where_nobody_is_asked(nano: NanoIdp) -> None:
    async with verifier(nano.settings()) as tokens:
        assert "not a signed JWT" in (await refusal(tokens, "a" * 43)).message


# --- bad ones -----------------------------------------------------------------------------------------------------


def bad_tokens(nano: NanoIdp) -> dict[str, tuple[str, str]]:
    """Return bad tokens and words of their messages, by fault."""
    now = int(time.time())
    good = nano.signed()
    head, body, _ = good.split(".")

    def segment(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    none = f"{segment({'alg': 'none', 'kid': nano.key_id})}.{body}."
    hmac_head = segment({"alg": "HS256", "kid": nano.key_id, "typ": "JWT"})
    mac = hmac.new(nano.public_key(), f"{hmac_head}.{body}".encode(), sha256).digest()
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 9000).decode().rstrip("=")
    stranger = RSAKey.generate_key(2048)
    claims = {"iss": nano.url, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 600}
    return {
        "expired": (nano.signed(exp=now - 60), "has expired"),
        "not yet valid": (nano.signed(nbf=now + 120), "not valid before"),
        "issued in the future": (nano.signed(iat=now + 120), "issued in the future"),
        "wrong audience": (nano.signed(aud="data-management-api"), "for another service"),
        "no audience": (nano.signed(aud=None), "for another service"),
        "wrong issuer": (nano.signed(iss="https://evil.example.org"), "are not taken"),
        "no issuer": (nano.signed(iss=None), "names no issuer"),
        "no end": (nano.signed(exp=None), "has no end"),
        "end is text": (nano.signed(exp="never"), "not an instant"),
        "no subject": (nano.signed(sub=None), "subject"),
        "subject of another type": (nano.signed(sub=["alice"]), "subject"),
        "subject with a line": (nano.signed(sub="al\nice"), "subject"),
        "alg none": (none, "algorithm 'none' is not taken"),
        "HMAC with the public key": (
            f"{hmac_head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
            "algorithm 'HS256' is not taken",
        ),
        "key of another issuer": (jwt.encode({"alg": "RS256", "kid": nano.key_id}, claims, stranger), "signature"),
        "key in its own header": (
            jwt.encode({"alg": "RS256", "kid": nano.key_id, "jwk": stranger.as_dict(private=False)}, claims, stranger),
            "signature",
        ),
        "unknown key": (jwt.encode({"alg": "RS256", "kid": "none-such"}, claims, stranger), "does not have"),
        "no key id": (nano.signed({"kid": None}), "names no key"),
        "algorithm of another key type": (
            jwt.encode({"alg": "ES256", "kid": nano.key_id}, claims, ECKey.generate_key("P-256")),
            "signature",
        ),
        "wrong typ": (nano.signed({"typ": "logout+jwt"}), "type 'logout+jwt' is not taken"),
        "ID token": (nano.signed(aud="uws"), "for another service"),
        "nested": (nano.signed({"cty": "JWT"}), "nested"),
        "critical extension": (f"{segment({'alg': 'RS256', 'kid': 'a', 'crit': ['b64']})}.{body}.aa", "critical"),
        "deeply nested": (
            f"{deep}.{body}.aa",
            "can't be read",
        ),
        "changed": (f"{head}.{segment({**claims, 'sub': 'root'})}.{good.rpartition('.')[2]}", "signature"),
        "cut": (good[:-40], "signature"),
        "not JSON": ("eyA.eyB.C", "can't be read"),
    }


async def test_bad_tokens(nano: NanoIdp) -> None:
    """Each is 401 with its fault (RFC 6750)."""
    async with verifier(nano.settings()) as tokens:
        await tokens.verify(nano.signed())
        for fault, (token, words) in bad_tokens(nano).items():
            error = await refusal(tokens, token)
            assert words in error.message, (fault, error.message)
            assert isinstance(error, AuthenticationRequired) and error.error == "invalid_token", fault
            assert tokens.cached(token) is None, fault
            assert token[-30:] not in error.message


async def test_claims_and_scopes_that_are_asked_for(nano: NanoIdp) -> None:
    async with verifier(nano.settings(required={"wlcg.ver": "1.0"}, scopes=["uws"])) as tokens:
        assert "wlcg.ver must be '1.0'" in (await refusal(tokens, nano.signed())).message
        error = await refusal(tokens, nano.signed(None, **{"wlcg.ver": "1.0"}))
        assert isinstance(error, Forbidden) and "lacks the scope 'uws'" in error.message
        identity, _ = await tokens.verify(nano.signed(None, **{"wlcg.ver": "1.0", "scope": "openid uws"}))
        assert identity.scopes == {"openid", "uws"}


async def test_groups_in_all_their_spellings(nano: NanoIdp) -> None:
    """Lists, texts and nested claims, with and without the slash."""
    async with verifier(nano.settings(group_claims=["groups", "wlcg.groups", "realm_access.roles"])) as tokens:
        claims = {
            "groups": ["ska/oper", 5, "", "/"],
            "wlcg.groups": ["/ska/oper", "/b"],
            "realm_access": {"roles": ["c"]},
        }
        identity, _ = await tokens.verify(nano.signed(None, **claims))
        assert identity.groups == {f"{name}@127.0.0.1:{nano.port}" for name in ("/ska/oper", "/b", "/c")}
        assert identity.group == f"/ska/oper@127.0.0.1:{nano.port}"


async def test_leeway(nano: NanoIdp) -> None:
    """Clocks differ a little."""
    now = int(time.time())
    async with verifier(nano.settings(), leeway=30) as tokens:
        await tokens.verify(nano.signed(exp=now - 10, sub="late"))
        await tokens.verify(nano.signed(nbf=now + 20, iat=now + 20, sub="early"))


async def test_the_memory_ends_with_the_token(nano: NanoIdp) -> None:
    clock = Clock()
    async with verifier(nano.settings(), clock=clock, leeway=0, cache=3600) as tokens:
        token = nano.signed(exp=int(time.time()) + 100)
        await tokens.verify(token)
        clock.ahead = 90
        assert tokens.cached(token) is not None
        clock.ahead = 101
        assert tokens.cached(token) is None
        assert "has expired" in (await refusal(tokens, token)).message


# --- keys ---------------------------------------------------------------------------------------------------------


async def test_rotation_and_outage_under_load(tmp_path: Path) -> None:
    """One fetch gets a new key; an outage changes no decision."""
    issuer = NanoIdp(tmp_path)
    issuer.start()
    clock = Clock()
    try:
        async with verifier(issuer.settings(), clock=clock, cache=0) as tokens:
            keys = next(iter(tokens.issuers.values()))
            before = issuer.signed(exp=int(time.time()) + 7200)
            await asyncio.gather(*(tokens.verify(before) for _ in range(50)))
            assert keys.fetches == 1
            issuer.rotate()  # the new key is found at once, however short the last fetch was ago
            after = issuer.signed(exp=int(time.time()) + 7200)
            await asyncio.gather(*(tokens.verify(token) for token in (before, after) for _ in range(50)))
            assert keys.fetches == 2
            issuer.stop()
            faults = ("wrong audience", "alg none", "HMAC with the public key", "key of another issuer")
            unknown = bad_tokens(issuer)["unknown key"][0]
            forged = [bad_tokens(issuer)[fault][0] for fault in faults]
            for _ in range(61):  # an hour and more, so that the keys' time is over too
                clock.ahead += 60
                await asyncio.gather(*(tokens.verify(token) for token in (before, after)))
                for token in forged:
                    await refusal(tokens, token)
                with pytest.raises(ServiceUnavailable):  # it may be a new key: nobody can tell now
                    await tokens.verify(unknown)
            fetches = keys.fetches
            issuer.start()
            clock.ahead += RETRY_SECONDS
            await tokens.verify(after)
            while keys.fetches == fetches or keys._running is not None:  # noqa: ASYNC110 -- nothing announces it
                await asyncio.sleep(0.02)
            await tokens.verify(after)
            assert clock() < keys._until
    finally:
        issuer.stop()


async def test_a_flood_of_unknown_keys_costs_the_issuer_nothing(nano: NanoIdp) -> None:
    async with verifier(nano.settings()) as tokens:
        await tokens.verify(nano.signed())
        keys = next(iter(tokens.issuers.values()))
        stranger = RSAKey.generate_key(2048)
        now = int(time.time())
        claims = {"iss": nano.url, "sub": "a", "aud": AUDIENCE, "iat": now, "exp": now + 60}
        forged = [jwt.encode({"alg": "RS256", "kid": f"k{number}"}, claims, stranger) for number in range(100)]
        await asyncio.gather(*(refusal(tokens, token) for token in forged))
        assert keys.fetches <= BURST
        for number in range(100, 110):
            with pytest.raises((AuthenticationRequired, ServiceUnavailable)):
                await tokens.verify(jwt.encode({"alg": "RS256", "kid": f"k{number}"}, claims, stranger))
        assert keys.fetches <= BURST
        await tokens.verify(nano.signed(jti="good"))


async def test_old_keys_are_given_up(tmp_path: Path) -> None:
    """Longer than ``stale_keys`` nobody vouches for them."""
    issuer = NanoIdp(tmp_path)
    issuer.start()
    clock = Clock()
    try:
        async with verifier(issuer.settings(), clock=clock, cache=0, stale_keys=7200) as tokens:
            token = issuer.signed(exp=int(time.time()) + 36000)
            await tokens.verify(token)
            issuer.stop()
            clock.ahead = 7100
            await tokens.verify(token)
            clock.ahead = 7300
            with pytest.raises(ServiceUnavailable) as error:
                await tokens.verify(token)
            assert error.value.retry_after and "can't be asked for its keys" in error.value.message
    finally:
        issuer.stop()


async def test_a_withdrawn_key_ends_what_it_verified(tmp_path: Path) -> None:
    """Tokens of a key that left the set are no longer cached."""
    issuer = NanoIdp(tmp_path)
    issuer.start()
    clock = Clock()
    try:
        async with verifier(issuer.settings(), clock=clock, cache=3600) as tokens:
            first = issuer.signed(exp=int(time.time()) + 7200)
            await tokens.verify(first)
            for _ in range(3):
                issuer.rotate()
            await tokens.verify(issuer.signed(exp=int(time.time()) + 7200))
            assert tokens.cached(first) is None
            clock.ahead += RETRY_SECONDS
            assert "does not have" in (await refusal(tokens, first)).message
    finally:
        issuer.stop()


# --- issuers that misbehave ---------------------------------------------------------------------------------------


@contextmanager
def hostile(answers: dict[str, Callable[[str], tuple[int, dict[str, str], bytes]]]) -> Iterator[str]:
    """Serve set answers, by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            status, headers, body = answer(url) if answer else (404, {}, b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # the service reads no more than it wants
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"


def discovery(url: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps({"issuer": url, "jwks_uri": url + KEYS}).encode()


def token_for(url: str, key: RSAKey, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode(
        {"alg": "RS256", "kid": "one"},
        {"iss": url, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 60, **claims},
        key,
    )


def published(*keys: dict[str, Any]) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    return lambda url: (200, {"cache-control": "max-age=60"}, json.dumps({"keys": list(keys)}).encode())


KEY = RSAKey.generate_key(2048)
PUBLIC = {**KEY.as_dict(private=False), "kid": "one"}


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        ("HTML", {DISCOVERY: lambda url: (200, {"content-type": "text/html"}, b"<html>log in</html>")}),
        ("error", {DISCOVERY: lambda url: (500, {}, b"")}),
        ("redirect", {DISCOVERY: lambda url: (302, {"location": "http://169.254.169.254/"}, b"")}),
        ("another issuer", {DISCOVERY: lambda url: discovery("https://other.example.org")}),
        ("a list", {DISCOVERY: lambda url: (200, {}, b"[]")}),
        ("no keys", {DISCOVERY: discovery, KEYS: lambda url: (200, {}, b'{"keys": 5}')}),
        ("too many keys", {DISCOVERY: discovery, KEYS: published(*[{**PUBLIC, "kid": str(n)} for n in range(1000)])}),
        ("too large", {DISCOVERY: discovery, KEYS: lambda url: (200, {}, b" " * 10_000_000)}),
        ("a file", {DISCOVERY: lambda url: (200, {}, json.dumps({"issuer": url, "jwks_uri": "file:///x"}).encode())}),
    ],
)
async def test_an_issuer_that_is_not_itself(fault: str, answers: dict[str, Any]) -> None:
    """503, and not 401: the token may be good."""
    with hostile(answers) as url:
        async with verifier({"url": url, "audience": AUDIENCE}) as tokens:
            with pytest.raises(ServiceUnavailable):
                await tokens.verify(token_for(url, KEY))


async def test_an_issuer_that_is_slow(nano: NanoIdp) -> None:
    """It delays its own tokens only."""

    ended = Event()

    def slow(url: str) -> tuple[int, dict[str, str], bytes]:
        ended.wait(60)
        return discovery(url)

    with hostile({DISCOVERY: slow, KEYS: published(PUBLIC)}) as url:
        async with verifier({"url": url, "audience": AUDIENCE}, nano.settings(), timeout=4) as tokens:
            waiting = asyncio.create_task(tokens.verify(token_for(url, KEY)))
            await asyncio.sleep(0)
            await tokens.verify(nano.signed())
            assert not waiting.done()
            with pytest.raises(ServiceUnavailable):
                await waiting
            ended.set()


@pytest.mark.parametrize(
    "keys",
    [
        [PUBLIC, {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "one"}],
        [{**RSAKey.generate_key(2048).as_dict(private=False), "kid": "one"}, PUBLIC],
        [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}, {"kty": "RSA", "kid": "one"}, {"kid": 5}, "no", PUBLIC],
    ],
)
async def test_keys_with_one_id(keys: list[Any]) -> None:
    """Each is tried; what is no public key is skipped."""
    with hostile({DISCOVERY: discovery, KEYS: published(*keys)}) as url:
        async with verifier({"url": url, "audience": AUDIENCE}) as tokens:
            await tokens.verify(token_for(url, KEY))
            stranger = token_for(url, RSAKey.generate_key(2048))
            assert "signature" in (await refusal(tokens, stranger)).message


async def test_a_weak_key_is_no_key() -> None:
    private_key = rsa.generate_private_key(65537, 1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weak = RSAKey.import_key(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with hostile({DISCOVERY: discovery, KEYS: published({**weak.as_dict(private=False), "kid": "one"})}) as url:
        async with verifier({"url": url, "audience": AUDIENCE}) as tokens:
            assert "does not have" in (await refusal(tokens, token_for(url, weak))).message


def test_how_long_keys_are_kept() -> None:
    assert cache_seconds("public, max-age=600") == 600
    assert cache_seconds("max-age=1") == 60
    assert cache_seconds("max-age=99999999") == 86400
    assert cache_seconds("no-store") == 60
    assert cache_seconds(None) == 3600


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        ({"url": "http://iam.example.org", "audience": "a"}, "https://"),
        ({"url": "ftp://iam.example.org", "audience": "a"}, "https://"),
        ({"url": "https://iam.example.org"}, "audience is missing"),
        ({"url": "https://iam.example.org", "audience": "a", "algorithms": ["HS256"]}, "algorithms"),
        ({"url": "https://iam.example.org", "audience": "a", "introspection": True}, "client_id"),
    ],
)
def test_settings_that_are_not_safe(issuer: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Auth.model_validate({"issuers": [issuer]})
