"""Checks of a token's claims (RFC 7519, RFC 9068, WLCG profile). Pure.

Signatures are checked in ``tokens``, before any claim is believed. From a token that is not verified yet only the
issuer and the key's id are used.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from uws_service.auth.credentials import invalid
from uws_service.auth.identity import Identity, normal_group
from uws_service.auth.settings import Issuer
from uws_service.domain.errors import Forbidden

MAX_GROUPS = 1000
EMAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
"""Plain addresses alone: nothing that could be a header, a list or a route (RFC 5321 §4.1.2)."""


@dataclass(frozen=True, slots=True)
class Peek:
    """What is read from a token to verify it."""

    algorithm: str
    key_id: str
    issuer: str


def is_jwt(token: str) -> bool:
    """Return whether a token looks like a JWT.

    Encrypted and truncated ones count too. Other tokens are opaque; only those may be sent to an issuer.
    """
    return token.startswith("ey") and "." in token


def _segment(part: str) -> dict[str, Any]:
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError
    return value


_header_segment = lru_cache(256)(_segment)
"""Headers of an issuer's tokens are alike, as they name its key and algorithm; nobody changes what is returned."""


def peek(token: str) -> tuple[Peek, str]:
    """Read header and issuer of an unverified token, and its ``typ``.

    Raises
    ------
    AuthenticationRequired
        It can't be read, or needs something that is not supported.
    """
    try:
        head, body, _ = token.split(".")
        header, payload = _header_segment(head), _segment(body)
    except (ValueError, RecursionError):
        raise invalid("The token can't be read: it is not a signed JWT.") from None
    if "crit" in header or "enc" in header or str(header.get("cty", "")).lower() == "jwt":
        raise invalid("The token is nested, encrypted or has critical extensions; a plain signed JWT is taken.")
    algorithm, key_id, issuer = header.get("alg"), header.get("kid"), payload.get("iss")
    if not isinstance(algorithm, str):
        raise invalid("The token's header names no algorithm.")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 256:
        raise invalid("The token's header names no key (kid).")
    if not isinstance(issuer, str):
        raise invalid("The token names no issuer (iss).")
    kind = header.get("typ", "")
    return Peek(algorithm, key_id, issuer), str(kind).lower().removeprefix("application/")


def require_form(peeked: Peek, kind: str, issuer: Issuer) -> None:
    """Refuse algorithms and types that the issuer must not use."""
    if peeked.algorithm not in issuer.algorithms:
        raise invalid(
            f"The token's algorithm {peeked.algorithm[:16]!r} is not taken; taken: {', '.join(issuer.algorithms)}."
        )
    if kind not in issuer.types:
        types = ", ".join(name or "none" for name in issuer.types)
        raise invalid(f"The token's type {kind[:32]!r} is not taken; taken: {types}. Is it an access token?")


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise invalid(f"The token's {name} is not an instant.")
    return float(value)


def _when(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def audiences(claims: Mapping[str, Any]) -> list[str]:
    """Return all audiences of a token."""
    value = claims.get("aud")
    return [value] if isinstance(value, str) else _words(value)


def require_claims(
    claims: Mapping[str, Any], issuer: Issuer, issuer_name: str, now: float, leeway: float, *, id_token: bool = False
) -> float:
    """Check all claims and return when the token expires.

    Parameters
    ----------
    issuer_name
        The issuer as its discovery document writes it.
    id_token
        The token is an ID token: it says who somebody is, and permits nothing.

    Raises
    ------
    AuthenticationRequired
        What is wrong, and what would be right.
    """
    if claims.get("iss") != issuer_name:
        raise invalid(f"The token's issuer is {str(claims.get('iss'))[:200]!r}, not {issuer_name!r}.")
    expires, begins, issued = (_instant(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise invalid("The token has no end (exp).")
    if now >= expires + leeway:
        raise invalid(f"The token has expired, at {_when(expires)}; get a new one.")
    if begins is not None and now < begins - leeway:
        raise invalid(f"The token is not valid before {_when(begins)}.")
    if issued is not None and now < issued - leeway:
        raise invalid(f"The token was issued in the future, at {_when(issued)}; a clock is wrong.")
    if not issuer.any_audience and issuer.audience not in audiences(claims):
        listed = ", ".join(audiences(claims))[:200] or "none"
        raise invalid(f"The token is for another service (aud: {listed}); this one is {issuer.audience!r}.")
    if id_token:
        return expires
    if str(claims.get("typ", "")).lower() in ("id", "refresh", "offline"):  # Keycloak's own mark
        raise invalid("The token is an ID or refresh token; send an access token.")
    for name, required in issuer.required.items():
        value = _at(claims, name)
        if value != required and not (isinstance(value, list) and required in value):
            raise invalid(f"The token's claim {name} must be {required!r}.")
    scopes = scopes_of(claims)
    missing = [scope for scope in issuer.scopes if scope not in scopes]
    if missing:
        raise Forbidden(f"The token lacks the scope {' '.join(missing)!r}, which this service asks for.")
    return expires


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by name, or by a dotted path into objects."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return a token's scopes, from ``scope`` and ``scp``."""
    return frozenset([*_words(claims.get("scope")), *_words(claims.get("scp"))])


def _verified_email(claims: Mapping[str, Any]) -> str:
    """Return the address of a caller, if their issuer says that it is theirs (OpenID Connect Core §5.1)."""
    address = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(address, str):
        return ""
    return address if len(address) <= 254 and EMAIL.fullmatch(address) else ""


def identity_of(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    """Return the caller that a verified token identifies.

    The owner is ``subject@issuer``: issuers never reassign a subject, while names change hands.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise invalid("The token's subject (sub) must have 1 to 255 printable characters.")
    name = next((value for key in issuer.name_claims if isinstance(value := claims.get(key), str) and value), "")
    groups = [
        normal_group(group, issuer.host)
        for key in issuer.group_claims
        for group in _words(_at(claims, key))
        if len(group) <= 256 and group.isprintable() and group.strip("/")
    ]
    return Identity(
        owner=f"{subject}@{issuer.host}",
        group=groups[0] if groups else "",
        name=name[:128] if name.isprintable() else "",
        groups=frozenset(groups[:MAX_GROUPS]),
        scopes=scopes_of(claims),
        issuer=issuer.url,
        email=_verified_email(claims),
        challenged=True,
    )
