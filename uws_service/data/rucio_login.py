"""Tokens for a Rucio server: the caller's, one of the settings, or from a login with a password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import httpx2
from pydantic import SecretStr

from uws_service.data.answers import CatalogueFault, answer_of

T = TypeVar("T")
TOKEN_SECONDS = 600.0
"""So long a token of a login is used; the server gives them an hour or more."""
TOKEN = "x-rucio-auth-token"


class LoginSettings(Protocol):
    """The settings that a login needs."""

    url: str
    auth_url: str | None
    account: str | None
    username: str | None
    password: SecretStr | None
    token: SecretStr | None


class RucioLogin:
    """The service's or the caller's token for each request."""

    def __init__(self, http: httpx2.AsyncClient, settings: LoginSettings) -> None:
        self.http = http
        self.settings = settings
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def call(self, caller_token: str | None, ask: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        """Ask with a token.

        Log in anew once if the service's own is refused.
        """
        if caller_token is not None:
            return await ask({TOKEN: caller_token})
        try:
            token = await self._current()
            try:
                return await ask({TOKEN: token})
            except CatalogueFault as error:
                if error.status != 401 or self.settings.username is None:
                    raise
            await self._forget(token)
            return await ask({TOKEN: await self._current()})
        except CatalogueFault as error:
            if error.status not in (401, 403):
                raise
            # The operator's fault, not that of any job.
            raise CatalogueFault(f"the service's own login is refused: {error}") from None

    async def _forget(self, token: str) -> None:
        async with self._lock:
            if self._token == token:
                self._until = 0.0

    async def _current(self) -> str:
        if self.settings.token is not None:
            return self.settings.token.get_secret_value()
        async with self._lock:
            if time.monotonic() >= self._until:
                self._token = await self._login()
                self._until = time.monotonic() + TOKEN_SECONDS
            return self._token

    async def _login(self) -> str:
        settings = self.settings
        if settings.username is None or settings.password is None:
            raise CatalogueFault("there is no token for this catalogue", transient=False)
        headers = {
            "x-rucio-account": settings.account or "",
            "x-rucio-username": settings.username,
            "x-rucio-password": settings.password.get_secret_value(),
        }
        url = f"{settings.auth_url or settings.url}/auth/userpass"
        async with answer_of(self.http, "GET", url, headers=headers) as answer:
            token = answer.headers.get(TOKEN, "")
        if not token or not token.isprintable() or len(token) > 16_384:
            raise CatalogueFault("the login gives no token", transient=True)
        return token
