"""References of container images, as a runtime understands them. Pure.

A short name is written out as containerd does, so that no machine's own configuration decides what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from uws_service.domain.errors import UsageError

MAX_LENGTH = 512
"""Characters of a whole reference."""
DEFAULT_REGISTRY = "docker.io"
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*(?::[0-9]{{1,5}})?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image: repository with its registry, tag, digest."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"


def parse_reference(text: str, *, place: str = "IMAGE") -> Reference:
    """Return an image's reference with registry and tag written out.

    Raises
    ------
    UsageError
        It is none, or has a digest other than SHA-256.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"{place} has {len(text)} characters; an image's reference has at most {MAX_LENGTH}.")
    name, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _wrong(place, text, "the digest after @ must be sha256: and 64 lower-case hex digits")
    repository, tag = name, ""
    last = name.rpartition("/")[2]
    if ":" in last:
        repository, _, tag = name.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise _wrong(place, text, "a tag has 1 to 128 letters, digits, '_', '.' and '-'")
    return Reference(parse_repository(repository, place=place), tag or ("" if digest else "latest"), digest)


def parse_repository(text: str, *, place: str) -> str:
    """Return a repository with its registry written out.

    The registry is the first part if it has a dot or a port, or is ``localhost``; else it is docker.io.
    """
    first, slash, remainder = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first.lower(), remainder
        if not _REGISTRY.fullmatch(registry):
            raise _wrong(place, text, f"{first[:80]!r} is no registry's host")
    else:
        registry, path = DEFAULT_REGISTRY, text
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    if not path or not all(_COMPONENT.fullmatch(component) for component in path.split("/")):
        raise _wrong(place, text, "a repository's path is made of lower-case letters, digits, '.', '_', '-' and '/'")
    return f"{registry}/{path}"


def _wrong(place: str, text: str, rule: str) -> UsageError:
    return UsageError(
        f"{place}={text[:120]!r} is no image's reference, such as registry.example.org/tools/app:1; {rule}."
    )
