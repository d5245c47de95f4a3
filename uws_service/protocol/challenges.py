"""Ways to log in: WWW-Authenticate headers and securityMethods. Pure.

The schemes that TOPCAT and STILTS know (``ivoa_cookie``, ``Basic``) stand beside those of OAuth, since each client
takes the first one that it understands (A-010, A-011). The word of SSO_next for a login that takes a name and a
password by POST is ``tls-with-password``; the password is a token.
"""

from __future__ import annotations

from collections.abc import Sequence

TLS_PASSWORD = "ivo://ivoa.net/sso#tls-with-password"
BASIC = "ivo://ivoa.net/sso#BasicAA"
COOKIE = "ivo://ivoa.net/sso#cookie"
OAUTH = "ivo://ivoa.net/sso#OAuth"


def security_methods(*, anonymous: bool) -> tuple[str, ...]:
    """Return the ways to log in for capabilities (A-001).

    The first one is preferred; the empty one is anonymous use.
    """
    return ("", OAUTH, BASIC, COOKIE) if anonymous else (OAUTH, BASIC, COOKIE)


def quoted(text: str) -> str:
    """Return a text as a quoted-string (RFC 9110 §5.6.4)."""
    plain = "".join(character if 32 <= ord(character) < 127 else "?" for character in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def challenges(
    realm: str, login_url: str, discovery_urls: Sequence[str], *, error: str = "", message: str = "", basic: bool = True
) -> list[str]:
    """Return a WWW-Authenticate header for each way to log in.

    Parameters
    ----------
    login_url
        Where a name and a token can be posted.
    discovery_urls
        The discovery documents of the issuers.
    error
        The word of RFC 6750 §3.1 for what was wrong; empty when no token was sent.
    basic
        Whether to offer Basic; a browser would ask for a password by itself.
    """
    wrong = f", error={quoted(error)}, error_description={quoted(message)}" if error else ""
    place = f"standard_id={quoted(TLS_PASSWORD)}, access_url={quoted(login_url)}"
    values = [f"Bearer realm={quoted(realm)}{wrong}"]
    if basic:
        values.append(f'Basic realm={quoted(realm)}, charset="UTF-8"')
    values.append(f"ivoa_cookie {place}")
    for number, url in enumerate(discovery_urls):
        place_ = f"{place}, " if number == 0 else ""
        values.append(f"ivoa_bearer {place_}discovery_url={quoted(url)}{wrong}")
    return values
