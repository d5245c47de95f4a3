"""Two real OpenID Connect issuers: nanoidp (Python), oidc-provider (Node).

Tokens that no honest issuer would make (expired, for others, without claims) are signed with nanoidp's own key, which
lies in its folder: they differ from good ones in nothing but what is wrong with them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.server import free_port
from tests.tiers import require

FOLDER = Path(__file__).parent
AUDIENCE = "uws-api"
CLIENT, SECRET, CLI = "uws", "uws-secret", "uws-cli"
USERS: dict[str, list[str]] = {
    "alice": ["/ska/users", "/ska/team"],
    "bob": ["/ska/users"],
    "carol": ["/ska/users", "/ska/team"],
    "root": ["/ska/uws/admin"],
    "dave": ["/ska/poor"],
}
"""The people of nanoidp, with their groups; a password is the name and ``-password``."""


class NanoIdp:
    """A nanoidp in a folder; it keeps its keys over restarts."""

    def __init__(self, folder: Path, *, redirects: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redirects = redirects
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        config = self.folder / "config"
        config.mkdir(parents=True, exist_ok=True)
        settings = {
            "config_version": 1,
            "server": {"host": "127.0.0.1", "port": self.port},
            "oauth": {
                "issuer": self.url,
                "audience": AUDIENCE,
                "token_expiry_minutes": 60,
                "clients": [
                    {"client_id": CLIENT, "client_secret": SECRET, "redirect_uris": list(self.redirects)},
                    {"client_id": CLI, "token_endpoint_auth_method": "none"},
                ],
            },
            "device_flow": {"polling_interval": 1},
        }
        users = {
            name: {"password": f"{name}-password", "email": f"{name}@example.org", "groups": groups}
            for name, groups in USERS.items()
        }
        (config / "settings.yaml").write_text(yaml.safe_dump(settings))
        (config / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": users}))
        program = Path(sys.executable).parent / "nanoidp"
        with (self.folder / "nanoidp.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(program), "--config", str(config), "--port", str(self.port)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        _until_ready(self.url, self.process)

    def stop(self) -> None:
        """Kill it: an outage."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(120)
            self.process = None

    def token(self, user: str, *, scope: str = "openid profile") -> str:
        """Return a good access token of a person."""
        return str(self.grant(user, scope=scope)["access_token"])

    def grant(self, user: str, *, scope: str = "openid profile") -> dict[str, Any]:
        """Return all tokens of a person."""
        form = {"grant_type": "password", "username": user, "password": f"{user}-password", "scope": scope}
        answer = httpx2.post(f"{self.url}/token", data=form, auth=(CLIENT, SECRET))
        answer.raise_for_status()
        grant: dict[str, Any] = answer.json()
        return grant

    def rotate(self) -> None:
        """Make a new key to sign with.

        The old one stays published.
        """
        httpx2.post(f"{self.url}/api/keys/rotate").raise_for_status()

    @property
    def key_id(self) -> str:
        """Return the id of the key that signs now."""
        return (self.folder / "keys" / "kid.txt").read_text().strip()

    def signed(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token with the issuer's signature and any claims.

        A claim of None is left out.
        """
        now = int(time.time())
        usual = {"iss": self.url, "sub": "alice", "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 600}
        content = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        head = {"alg": "RS256", "kid": self.key_id, "typ": "JWT", **(header or {})}
        key = _private_key((self.folder / "keys" / "rsa_private.pem").read_bytes())
        return jwt.encode({name: value for name, value in head.items() if value is not None}, content, key)

    def public_key(self) -> bytes:
        """Return the public key as PEM."""
        return (self.folder / "keys" / "rsa_public.pem").read_bytes()

    def approve(self, uri: str, user: str) -> None:
        """Open a device's link and log in there."""
        page, _, code = uri.partition("?user_code=")
        form = {"user_code": code, "username": user, "password": f"{user}-password", "action": "authorize"}
        answer = httpx2.post(page, data=form)
        assert answer.status_code == 200, answer.text

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return this issuer's settings for the service."""
        return {"url": self.url, "audience": AUDIENCE, "title": "Nano", **changes}


@lru_cache(maxsize=8)
def _private_key(pem: bytes) -> RSAKey:
    """Return a key, whose import checks its primes each time: a tenth of a second of processor time."""
    return RSAKey.import_key(pem)


class OidcProvider:
    """An oidc-provider: ES256, opaque tokens, claims like SKA IAM's."""

    def __init__(
        self, folder: Path, *, redirects: tuple[str, ...] = (), data_ttl: int = 3600, data_refresh: bool = True
    ) -> None:
        require("node")
        if not (FOLDER / "node" / "node_modules" / "oidc-provider").is_dir():
            require("oidc-provider")  # no program has this name: skips, or fails where everything is required
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redirects = redirects
        self.data_ttl = data_ttl
        """Seconds for which a token for data is good that came by exchange."""
        self.data_refresh = data_refresh
        """Whether a refresh token comes with it."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start with new keys; return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "url": self.url,
            "port": self.port,
            "audience": AUDIENCE,
            "client": CLIENT,
            "secret": SECRET,
            "cli": CLI,
            "redirects": self.redirects,
            "users": USERS,
            "dataTtl": self.data_ttl,
            "dataRefresh": self.data_refresh,
        }
        node = shutil.which("node")
        assert node is not None
        with (self.folder / "provider.log").open("ab") as log:
            self.process = subprocess.Popen(
                [node, str(FOLDER / "node" / "provider.mjs")],
                env={**os.environ, "PROVIDER": json.dumps(settings)},
                stdout=log,
                stderr=log,
            )
        _until_ready(self.url, self.process)

    def pause(self) -> None:
        """Stop the process without losing its state: connections hang."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue after `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(120)
            self.process = None

    def token(self, client: str, *, opaque: bool = False, scope: str = "uws") -> str:
        """Return a program's access token, a JWT or an opaque one."""
        resource = f"https://{'opaque' if opaque else AUDIENCE}.example.org"
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        answer = httpx2.post(f"{self.url}/token", data=form, auth=(client, f"{client}-secret"))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return this issuer's settings for the service."""
        return {"url": self.url, "audience": AUDIENCE, "title": "Provider", **changes}


def _until_ready(url: str, process: subprocess.Popen[bytes], timeout: float = 180) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the issuer ended with {process.returncode}")
        try:
            if httpx2.get(f"{url}/.well-known/openid-configuration", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"the issuer was not ready in {timeout} s")
