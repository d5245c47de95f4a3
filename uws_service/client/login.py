"""Logging in from a terminal by device flow (RFC 8628), and new tokens by refresh (RFC 6749 §6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2

from uws_service import __version__
from uws_service.client.tokens import Login, TokenError, is_safe

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT_SECONDS = 30.0
SLOW_DOWN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Offer:
    """How one may log in at a service.

    At which issuer, as which client, for what.
    """

    service: str
    issuer: str
    discovery_url: str
    client_id: str | None
    scope: str
    audience: str | None = None
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """What a person has to do.

    Open ``url`` and enter ``code``; ``complete`` holds both.
    """

    url: str
    code: str
    complete: str | None
    device_code: str
    interval: float
    expires: float


def _client() -> httpx2.Client:
    headers = {"User-Agent": f"uws-service/{__version__}", "Accept": "application/json"}
    return httpx2.Client(timeout=TIMEOUT_SECONDS, headers=headers, follow_redirects=False)


def offers(url: str) -> list[Offer]:
    """Return the issuers of the service of a URL.

    Its root, somewhere above the URL, has a page that names them.
    """
    parts = urlsplit(url)
    steps = [step for step in parts.path.split("/") if step]
    with _client() as http:
        for length in range(len(steps), -1, -1):
            base = urlunsplit((parts.scheme, parts.netloc, "".join(f"/{step}" for step in steps[:length]), "", ""))
            try:
                answer = http.get(f"{base}/login")
                document = answer.json() if answer.status_code == 200 else None
            except httpx2.HTTPError as error:
                raise TokenError(f"{base}: {error}") from None
            except ValueError:
                continue
            if isinstance(document, dict) and isinstance(document.get("issuers"), list):
                return [_offer(base, issuer) for issuer in document["issuers"] if isinstance(issuer, dict)]
    return []


def _offer(service: str, document: Mapping[str, Any]) -> Offer:
    issuer = str(document.get("issuer", ""))
    return Offer(
        service,
        issuer,
        str(document.get("discovery_url") or issuer.rstrip("/") + "/.well-known/openid-configuration"),
        document.get("client_id"),
        str(document.get("scope") or "openid"),
        document.get("audience"),
        document.get("resource"),
    )


def log_in(offer: Offer, show: Callable[[Device], None], *, sleep: Callable[[float], None] = time.sleep) -> Login:
    """Ask for a token.

    ``show`` tells the person what to do meanwhile.

    Raises
    ------
    TokenError
        It was refused, took too long, or the issuer can't do it.
    """
    if offer.client_id is None:
        raise TokenError(f"{offer.service} names no client for terminals at {offer.issuer}; give one by --client-id")
    with _client() as http:
        endpoints = _json(http, "GET", offer.discovery_url)
        if str(endpoints.get("issuer", "")).rstrip("/") != offer.issuer.rstrip("/"):
            raise TokenError(f"{offer.discovery_url} names another issuer: {endpoints.get('issuer')}")
        request = {"client_id": offer.client_id, "scope": offer.scope}
        extra = {name: value for name, value in (("resource", offer.resource), ("audience", offer.audience)) if value}
        grant = _json(http, "POST", _endpoint(endpoints, "device_authorization_endpoint"), {**request, **extra})
        try:
            device = Device(
                url=grant["verification_uri"],
                code=grant["user_code"],
                complete=grant.get("verification_uri_complete"),
                device_code=grant["device_code"],
                interval=float(grant.get("interval", 5)),
                expires=time.time() + float(grant.get("expires_in", 600)),
            )
        except (KeyError, TypeError, ValueError):
            raise TokenError(f"{offer.issuer} gives no device code") from None
        show(device)
        form = {"grant_type": GRANT, "device_code": device.device_code, "client_id": offer.client_id, **extra}
        tokens = _poll(http, _endpoint(endpoints, "token_endpoint"), form, device, sleep)
    return Login(
        service=offer.service,
        issuer=offer.issuer,
        token_endpoint=_endpoint(endpoints, "token_endpoint"),
        client_id=offer.client_id,
        access_token=str(tokens["access_token"]),
        expires=_expires(tokens),
        refresh_token=tokens.get("refresh_token"),
        revocation_endpoint=endpoints.get("revocation_endpoint"),
        resource=offer.resource,
    )


def _poll(
    http: httpx2.Client, url: str, form: Mapping[str, str], device: Device, sleep: Callable[[float], None]
) -> dict[str, Any]:
    interval = device.interval
    while time.time() < device.expires:
        sleep(interval)
        try:
            answer = http.post(url, data=dict(form))
            document = answer.json()
        except (httpx2.TransportError, ValueError):
            interval += SLOW_DOWN_SECONDS
            continue
        if not isinstance(document, dict):
            raise TokenError(f"{url} does not answer with JSON")
        if answer.status_code == 200 and isinstance(document.get("access_token"), str):
            return document
        match document.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval += SLOW_DOWN_SECONDS
            case "access_denied":
                raise TokenError("the login was refused")
            case "expired_token":
                break
            case error:
                raise TokenError(f"the issuer gives no token: {document.get('error_description') or error}")
    raise TokenError("nobody logged in in time; try again")


def refreshed(login: Login) -> Login:
    """Return the login with a new token."""
    advice = f"log in again: uws-service login {login.service}"
    if login.refresh_token is None:
        raise TokenError(f"the token for {login.service} has expired; {advice}")
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, "client_id": login.client_id}
    if login.resource:
        form["resource"] = login.resource
    with _client() as http:
        try:
            answer = http.post(_safe(login.token_endpoint), data=form)
            document = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise TokenError(f"the token for {login.service} can't be refreshed at {login.issuer}: {error}") from None
    if answer.status_code != 200 or not isinstance(document, dict) or not isinstance(document.get("access_token"), str):
        raise TokenError(f"the token for {login.service} can't be refreshed; {advice}")
    return replace(
        login,
        access_token=document["access_token"],
        expires=_expires(document),
        refresh_token=document.get("refresh_token") or login.refresh_token,
    )


def revoke(login: Login) -> bool:
    """Tell the issuer that the tokens are no longer needed; False if it can't be told."""
    if login.revocation_endpoint is None:
        return False
    is_stored = True
    with _client() as http:
        for token in (login.refresh_token, login.access_token):
            if token is None:
                continue
            try:
                form = {"token": token, "client_id": login.client_id}
                is_stored &= http.post(_safe(login.revocation_endpoint), data=form).status_code == 200
            except httpx2.HTTPError:
                is_stored = False
    return is_stored


def _expires(document: Mapping[str, Any]) -> float:
    try:
        return time.time() + float(document.get("expires_in", 3600))
    except (TypeError, ValueError):
        return time.time() + 3600


def _safe(url: str) -> str:
    if not is_safe(url):
        raise TokenError(f"{url} is not https; no token is sent there")
    return url


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    endpoint = document.get(name)
    if not isinstance(endpoint, str):
        raise TokenError(f"{document.get('issuer')} has no {name}; it can't be used from a terminal")
    return _safe(endpoint)


def _json(http: httpx2.Client, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
    try:
        answer = http.request(method, _safe(url), data=dict(form) if form else None)
        document = answer.json()
    except httpx2.HTTPError as error:
        raise TokenError(f"{url}: {error}") from None
    except ValueError:
        raise TokenError(f"{url} does not answer with JSON") from None
    if answer.status_code != 200 or not isinstance(document, dict):
        words = document.get("error_description") or document.get("error") if isinstance(document, dict) else ""
        raise TokenError(f"{url} answers {answer.status_code}: {words}")
    return document
