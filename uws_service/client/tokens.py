"""Where a client's token comes from, and where it is kept after a login.

In the order in which they are looked for: the environment (``UWS_CLIENT_TOKEN``, ``BEARER_TOKEN``,
``BEARER_TOKEN_FILE``), a login at this very service, and the two places of WLCG's bearer token discovery,
``$XDG_RUNTIME_DIR/bt_u<uid>`` and ``/tmp/bt_u<uid>``. What was not named for this server on the command line is sent
over https only, or to this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from uws_service.client.errors import ClientError

EARLY_SECONDS = 60
"""A token is refreshed so many seconds before its end."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class TokenError(ClientError):
    """No token that could be used."""


def is_safe(url: str) -> bool:
    """Return whether nobody on the way to this URL can read a token."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    return False


def checked(text: str, origin: str) -> str:
    """Return a token without the line end that files have."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise TokenError(f"{origin} holds no token")
    return token


def ambient(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return a token that the environment names, and where it was found."""
    for name in ("UWS_CLIENT_TOKEN", "BEARER_TOKEN"):
        if environment.get(name, "").strip():
            return checked(environment[name], name), name
    file = environment.get("BEARER_TOKEN_FILE")
    if file:
        return _read(Path(file)), file
    return None


def discovered(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return a token in one of the places where WLCG's tools leave it."""
    folders = [environment["XDG_RUNTIME_DIR"]] if environment.get("XDG_RUNTIME_DIR") else []
    for folder in (*folders, "/tmp"):
        file = Path(folder) / f"bt_u{os.getuid()}"
        with contextlib.suppress(FileNotFoundError):
            if file.lstat().st_uid == os.getuid():  # in /tmp anybody could have put it there
                return _read(file), str(file)
    return None


def _read(file: Path) -> str:
    try:
        return checked(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise TokenError(f"{file}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Login:
    """A login at one service.

    Its tokens, and how to get new ones. ``expires`` in seconds since the epoch.
    """

    service: str
    issuer: str
    token_endpoint: str
    client_id: str
    access_token: str
    expires: float
    refresh_token: str | None = None
    revocation_endpoint: str | None = None
    resource: str | None = None

    def is_fresh(self, now: float) -> bool:
        """Return whether the token can still be sent."""
        return now < self.expires - EARLY_SECONDS


def config_folder(environment: Mapping[str, str]) -> Path:
    """Return where this program keeps what it must remember."""
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "uws-service"


class Keeper:
    """The logins of this user.

    In a file that nobody else can read, or the secrets in the OS's keyring.

    Parameters
    ----------
    folder
        Holds ``tokens.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tokens.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock on the logins.

        Two processes must not refresh one login at once: issuers take a refresh token once.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def find(self, url: str) -> Login | None:
        """Return the login at the service that a URL belongs to: the one with the longest path."""
        services = sorted((entry for entry in self._entries() if _below(url, entry)), key=len)
        return self._load(services[-1]) if services else None

    def save(self, login: Login, *, keyring: bool | None = None) -> None:
        """Keep a login.

        ``keyring`` None leaves it where it was kept.
        """
        entries = self._entries()
        use = entries.get(login.service, {}).get("keyring", False) if keyring is None else keyring
        if use:
            _keyring().set_password("uws-service", login.service, json.dumps(asdict(login)))
            entries[login.service] = {"keyring": True}
        else:
            entries[login.service] = asdict(login)
        self._write(entries)

    def remove(self, service: str) -> None:
        """Forget a login."""
        entries = self._entries()
        if entries.pop(service, {}).get("keyring"):
            with contextlib.suppress(Exception):  # it may be gone already
                _keyring().delete_password("uws-service", service)
        self._write(entries)

    def _load(self, service: str) -> Login | None:
        entry = self._entries()[service]
        if entry.get("keyring"):
            text = _keyring().get_password("uws-service", service)
            if text is None:
                return None
            entry = json.loads(text)
        try:
            return Login(**entry)
        except TypeError:
            raise TokenError(f"{self.file} can't be read; remove it and log in again") from None

    def _entries(self) -> dict[str, dict[str, Any]]:
        try:
            if stat.S_IMODE(self.file.stat().st_mode) & 0o077:
                raise TokenError(f"{self.file} can be read by others; `chmod 600` it, or remove it and log in again")
            logins = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise TokenError(f"{self.file} can't be read: {error}") from None
        return logins if isinstance(logins, dict) else {}

    def _write(self, entries: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.file.with_name(f"tokens.json.{os.getpid()}")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                json.dump(entries, handle)
            part.replace(self.file)
        finally:
            part.unlink(missing_ok=True)


def _below(url: str, service: str) -> bool:
    return url == service or url.startswith(service.rstrip("/") + "/")


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        raise TokenError("the package keyring is not installed; leave --keyring out to use a file") from None
    return keyring


class Source:
    """Gives the token for each request to one server, and refreshes that of a login when it ends.

    Parameters
    ----------
    token
        One that was named for this server.
    """

    def __init__(self, url: str, environment: Mapping[str, str], *, token: str | None = None) -> None:
        self.url = url
        self._environment = environment
        self._token = token
        self._keeper = Keeper(config_folder(environment))
        self._login: Login | None = None
        self._static: str | None = None
        self._has_searched = False

    def __call__(self) -> str | None:
        """Return the value of the Authorization header, if there is a token."""
        token = self._token or self._found()
        return f"Bearer {token}" if token else None

    def _found(self) -> str | None:
        if self._login is not None:
            return self._fresh(self._login)
        if not self._has_searched:
            self._has_searched = True
            token = ambient(self._environment)
            if token is None:
                self._login = self._keeper.find(self.url) if self._keeper.file.exists() else None
                if self._login is not None:
                    return self._fresh(self._login)
                token = discovered(self._environment) if is_safe(self.url) else None
            if token is not None:
                if not is_safe(self.url):
                    raise TokenError(
                        f"the token of {token[1]} is not sent to {self.url} over http; use https, or give it by --token"
                    )
                self._static = token[0]
        return self._static

    def _fresh(self, login: Login) -> str:
        if login.is_fresh(time.time()):
            return login.access_token
        with self._keeper.locked():
            stored = self._keeper.find(self.url) or login  # another process may have done it
            if not stored.is_fresh(time.time()):
                from uws_service.client.login import refreshed

                stored = refreshed(stored)
                self._keeper.save(stored)
        self._login = replace(stored)
        return stored.access_token
