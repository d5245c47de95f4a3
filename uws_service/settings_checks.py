"""Checks of single settings beyond their type: ValueError with what is allowed; and secrets masked for messages."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, parse_qs, urlsplit

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
BUCKET_NAME = re.compile(r"[a-z0-9A-Z][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")
DEPOT_FORM = "must be a folder or s3://bucket/prefix?endpoint=URL&region=NAME, without credentials"
DATABASE_FORM = "must be sqlite:////absolute/path.db or postgresql://[user[:password]@]host[:port]/name"


def check_database(url: str) -> str:
    """Return the URL of a database of a kind that the service can use."""
    parts = _split(url, DATABASE_FORM)
    is_sqlite = url.startswith("sqlite:///") and len(parts.path) > 1
    is_postgresql = parts.scheme in ("postgresql", "postgres") and url.startswith(f"{parts.scheme}://")
    if not is_sqlite and not (is_postgresql and (parts.path.strip("/") or parts.query)):
        raise ValueError(DATABASE_FORM)
    return url


def check_depot(url: str) -> str:
    """Return the folder or the URL of a depot."""
    match = re.match(r"(?i)(s3|[a-z][a-z0-9+.-]+)(:/|:|//)", url)
    if match is None:
        if not url.strip():
            raise ValueError(DEPOT_FORM)
        return url
    parts = _split(url, DEPOT_FORM)
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return url
    query = parse_qs(parts.query, keep_blank_values=True)
    endpoint = query.get("endpoint", ["https://s3"])[-1]
    if (
        not url.startswith("s3://")
        or not BUCKET_NAME.fullmatch(parts.netloc)
        or set(query) - {"endpoint", "region"}
        or not re.fullmatch(r"https?://[^/\s]+.*", endpoint)
    ):
        raise ValueError(DEPOT_FORM)
    return url


def check_networks(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return addresses and networks that are all valid."""
    for address in addresses:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise ValueError(
                f"{address[:100]!r} is no address or network; write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
            ) from None
    return addresses


def check_public_url(url: str) -> str:
    """Return an absolute http(s) URL with a host, without a slash at its end."""
    parts = _split(url, "must be a URL")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname or parts.query or parts.fragment or parts.username or re.search(r"\s", url):
        raise ValueError("must be http(s)://host/path, without user, query and fragment")
    return url.rstrip("/")


def is_secure(url: str) -> bool:
    """Return whether what goes to a URL can't be read on its way: https, or this very machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is that of this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def mask_secrets(text: str) -> str:
    """Return a text with the passwords in URLs, and secrets in their queries, replaced by stars."""
    if "://" not in text:
        return text
    text = re.sub(r"(?<=://)([^/@:]*):([^/]*)@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&'\"]*", r"\1***", text)


def check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return origins of web pages; ``*`` is any."""
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+|null", origin):
            raise ValueError(f"{origin[:100]!r} is no origin; write https://host or https://host:port, or *")
    return origins


def check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of hosts; ``*`` is any."""
    for host in hosts:
        if host != "*" and not re.fullmatch(r"[A-Za-z0-9_.-]+(:\d{1,5})?|\[?[0-9A-Fa-f:.]+\]?(:\d{1,5})?", host):
            raise ValueError(f"{host[:100]!r} is no name of a host; write jobs.example.org, without scheme and path")
    return hosts


def check_header_name(name: str | None) -> str | None:
    """Return the name of an HTTP header (RFC 9110 §5.1)."""
    if name is not None and not HEADER_NAME.fullmatch(name):
        raise ValueError("must be the name of an HTTP header, such as X-Remote-User")
    return name


def _split(url: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- raises for a port that is none
    except ValueError:
        raise ValueError(form) from None
    return parts
