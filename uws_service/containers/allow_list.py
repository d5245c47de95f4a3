"""The section of the settings that says which images may run, where and for whom.

Registry and path are compared as a whole, component by component: `ghcr.io/skao/*` allows nothing of
`ghcr.io/skao-evil`. A tag says nothing about a reference with a digest, since that is what runs then.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Set
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from uws_service.containers.references import DIGEST, Reference, parse_repository
from uws_service.domain.errors import UsageError

MAX_SHOWN = 12
"""Rules that a refusal names."""


class AllowedImage(BaseModel):
    """Images that may run; empty fields allow all."""

    model_config = ConfigDict(extra="forbid")

    repository: str = Field(
        description="Registry and path of the images, such as `ghcr.io/skao/tool`; `ghcr.io/skao/*`: all below it."
    )
    tags: tuple[str, ...] = Field(
        (), description="Only images with these tags (patterns with `*`, `?`), and named without a digest."
    )
    digests: tuple[str, ...] = Field((), description="Only images that are named with one of these digests.")
    sites: tuple[str, ...] = Field((), description="Only at these sites.")
    groups: tuple[str, ...] = Field((), description="Only for members of these groups.")

    @field_validator("repository")
    @classmethod
    def _repository(cls, value: str) -> str:
        below = value.endswith("/*")
        path = value.removesuffix("/*")
        registry = path.partition("/")[0]
        if not ("." in registry or ":" in registry or registry == "localhost") or "@" in path or "/" not in value:
            raise ValueError("must begin with a registry, and have neither tag nor digest: ghcr.io/skao/tool")
        try:
            if not below:
                return parse_repository(path, place="repository")
            whole = parse_repository(f"{path}/any", place="repository")
            return f"{whole.removesuffix('any')}*" if "/" in path else f"{whole.partition('/')[0]}/*"
        except UsageError as error:
            raise ValueError(error.message) from None

    @field_validator("digests")
    @classmethod
    def _digests(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [digest for digest in value if not DIGEST.fullmatch(digest)]:
            raise ValueError(f"{wrong[0][:100]!r} is no digest; write sha256: and 64 lower-case hex digits")
        return value

    def matches(self, image: Reference) -> bool:
        """Return whether the rule is about an image."""
        if self.repository.endswith("/*"):
            if not image.repository.startswith(self.repository[:-1]):
                return False
        elif image.repository != self.repository:
            return False
        if not self.tags and not self.digests:
            return True
        if image.digest:
            return image.digest in self.digests
        return any(fnmatch.fnmatchcase(image.tag, pattern) for pattern in self.tags)

    def is_for(self, groups: Set[str]) -> bool:
        """Return whether members of these groups may use it."""
        return not self.groups or not groups.isdisjoint(self.groups)

    def shown(self) -> str:
        """Return the rule in words, without its groups."""
        versions = [f":{tag}" for tag in self.tags] + [f"@{digest}" for digest in self.digests]
        where = f" at {', '.join(self.sites)}" if self.sites else ""
        return f"{self.repository}{' or '.join(versions)}{where}"


class Containers(BaseModel):
    """Which images jobs may name themselves."""

    model_config = ConfigDict(extra="forbid")

    application: bool = Field(
        True,
        description="Offer the application `container` that ships. Off for descriptors of your own with "
        "`protocol: container`.",
    )
    images: tuple[AllowedImage, ...] = Field(min_length=1, description="The images that may run; all others may not.")

    def sites_for(self, image: Reference, groups: Set[str]) -> frozenset[str] | None:
        """Return the sites at which a member of groups may run an image; None: at all of them.

        Raises
        ------
        UsageError
            It may run nowhere; the message has the rules that are for these groups.
        """
        rules = [rule for rule in self.images if rule.is_for(groups)]
        matches = [rule for rule in rules if rule.matches(image)]
        if not matches:
            listed = "; ".join(rule.shown() for rule in rules[:MAX_SHOWN]) or "none"
            hidden = f"; and {len(rules) - MAX_SHOWN} more" if len(rules) > MAX_SHOWN else ""
            raise UsageError(f"IMAGE={str(image)!r} is not allowed here; allowed for you: {listed}{hidden}.")
        if any(not rule.sites for rule in matches):
            return None
        return frozenset(site for rule in matches for site in rule.sites)

    def with_groups(self, resolve: Callable[[str], Iterable[str]]) -> Self:
        """Return the list with the names of groups replaced by the groups that they mean."""
        images = tuple(
            rule.model_copy(update={"groups": tuple(group for name in rule.groups for group in resolve(name))})
            for rule in self.images
        )
        return self.model_copy(update={"images": images})
