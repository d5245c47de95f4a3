"""Groups and scopes, each with its issuer. Pure.

A group is only worth what its issuer is worth: whoever runs another trusted issuer can write any name into its tokens.
So a caller's groups carry the issuer, ``/team@iam.example.org``, and a name without one in the settings means the
groups of the issuers in ``auth.groups_from``, or of the first issuer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uws_service.auth.identity import Identity, issuer_host, normal_group
from uws_service.domain.errors import UsageError

if TYPE_CHECKING:
    from uws_service.auth.settings import Auth


class GroupNames:
    """The meaning of names of groups and scopes.

    Parameters
    ----------
    hosts
        The trusted issuers, as they stand in owners.
    default_hosts
        Those whose groups and scopes a name without an issuer means.
    """

    def __init__(self, hosts: Sequence[str], default_hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self.default_hosts = tuple(default_hosts)

    @classmethod
    def of(cls, settings: Auth) -> GroupNames:
        """Return the names as the settings define them."""
        hosts = [issuer.host for issuer in settings.issuers]
        return cls(hosts, [issuer_host(url) for url in settings.groups_from] or hosts[:1])

    def resolve(self, name: str) -> tuple[str, ...]:
        """Return the groups that a setting's name means.

        Raises
        ------
        ValueError
            The name has an issuer that is not trusted.
        """
        group, host = self._split(name)
        if not self.hosts:
            return (normal_group(name),)
        return tuple(normal_group(group, group_host) for group_host in ([host] if host else self.default_hosts))

    def of_caller(self, name: str, identity: Identity) -> str:
        """Return the group that a caller means.

        A name without an issuer is a group of the caller's own issuer.

        Raises
        ------
        UsageError
            The name has an issuer that is not trusted.
        """
        try:
            group, host = self._split(name)
        except ValueError as error:
            raise UsageError(f"{error}.") from None
        own_host = issuer_host(identity.issuer) or "".join(self.default_hosts[:1])
        return normal_group(group, host or own_host) if self.hosts else normal_group(name)

    def shown(self, name: str) -> str:
        """Return a setting's name with its issuers, if there are several."""
        return name if len(self.hosts) < 2 else " or ".join(self.resolve(name))

    def has_scope(self, name: str, identity: Identity) -> bool:
        """Return whether the right issuer gave the caller a scope.

        The scope is ``name`` or ``name@issuer``.
        """
        host = issuer_host(identity.issuer)
        scope, _, scope_host = name.rpartition("@")
        if scope and scope_host in self.hosts:
            return scope in identity.scopes and host == scope_host
        return name in identity.scopes and (not self.hosts or host in self.default_hosts)

    def _split(self, name: str) -> tuple[str, str]:
        """Return the group and the issuer, or "", of a name."""
        group, at, host = name.rpartition("@")
        if not at or not self.hosts:
            return name, ""
        if host not in self.hosts:
            raise ValueError(
                f"the group {name[:300]!r} names the issuer {host[:200]!r}, which is not trusted; "
                f"trusted: {', '.join(self.hosts)}; a group with an @ in its own name is written with its issuer, "
                f"such as {name[:100] + '@' + self.hosts[0]!r}"
            )
        if not group.strip("/"):
            raise ValueError(f"{name[:300]!r} names an issuer and no group")
        return group, host


def remarks(settings: Auth) -> list[str]:
    """Return sentences on the effects of several issuers."""
    sentences = []
    if len(settings.issuers) > 1:
        hosts = " and ".join(GroupNames.of(settings).default_hosts)
        word = "set by auth.groups_from" if settings.groups_from else "the first issuer; auth.groups_from changes it"
        sentences.append(f"Groups and scopes that are named without an issuer are those of {hosts} ({word}).")
    callbacks = settings.callbacks()
    if len(callbacks) > 1:
        for issuer, path in callbacks.items():
            sentences.append(f"The redirect URI to register at {issuer} ends in {path}.")
    return sentences
