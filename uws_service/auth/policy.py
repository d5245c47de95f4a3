"""Policies of resources and access to applications. Pure.

Deny by default: a resource can't be made without a policy, and an application that says nothing takes verified
callers only, as soon as there is an issuer that could verify them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from uws_service.applications import Application
from uws_service.applications.model import AccessSpec
from uws_service.auth.groups import GroupNames
from uws_service.auth.identity import Identity, Network, is_trusted, networks
from uws_service.auth.settings import ApplicationAccess, Auth, Quota
from uws_service.domain.errors import AuthenticationRequired, Forbidden


class Policy(StrEnum):
    """What a verb of a resource requires."""

    PROBE = "PROBE"
    OPEN = "OPEN"
    LIST = "LIST"
    OWN = "OWN"
    USE = "USE"
    READ = "READ"
    WRITE = "WRITE"
    ACCOUNT = "ACCOUNT"
    OPERATE = "OPERATE"
    ADMINISTER = "ADMINISTER"
    AGENT = "AGENT"
    RUNNER = "RUNNER"


POLICY_MEANING: Mapping[Policy, str] = {
    Policy.PROBE: "Everybody; nobody is asked who they are.",
    Policy.OPEN: "Everybody; but a token that is shown must be good.",
    Policy.LIST: "Whoever may have jobs of the application; shows their own alone.",
    Policy.OWN: "Whoever is known, for their own jobs alone; without issuers everybody, for the jobs of nobody.",
    Policy.USE: "Whoever has access to the application.",
    Policy.READ: "The job's owner, those it is shared with, administrators; of an anonymous job: all who know its id.",
    Policy.WRITE: "The job's owner, administrators; of an anonymous job: all who know its id.",
    Policy.ACCOUNT: "Whoever is known; shows their own, of groups that they manage all, and all to administrators.",
    Policy.OPERATE: "Administrators, and the networks that the settings name.",
    Policy.ADMINISTER: "Administrators alone.",
    Policy.AGENT: "An agent at a site, with the token of its pod.",
    Policy.RUNNER: "The runner of a site, with the site's key or a token of its client.",
}


def _spec(access: ApplicationAccess) -> AccessSpec:
    return AccessSpec(access.anonymous, access.groups, access.scopes)


class Rules:
    """The settings' rules, ready to be applied.

    Parameters
    ----------
    settings
        The section ``auth``.
    """

    def __init__(self, settings: Auth) -> None:
        self.settings = settings
        self.has_issuers = bool(settings.issuers)
        self.issuers = frozenset(issuer.url for issuer in settings.issuers)
        self._set = {name: _spec(access) for name, access in settings.applications.items()}
        self._access = AccessSpec(anonymous=not self.has_issuers) if settings.access is None else _spec(settings.access)
        self._administrators = frozenset(settings.administrators)
        self.groups = GroupNames.of(settings)
        self._administrator_groups = frozenset(self._resolved(settings.administrator_groups))
        self._accounting = self._resolved(settings.accounting_groups)
        self._metrics: tuple[Network, ...] = networks(settings.metrics_from, "auth.metrics_from")
        self._group_quotas = {
            group: quota for name, quota in settings.quotas.groups.items() for group in self.groups.resolve(name)
        }
        quotas = settings.quotas
        self.has_quotas = any(
            value is not None
            for quota in (quotas.default, quotas.anonymous, *quotas.groups.values(), *quotas.owners.values())
            for value in (quota.queued, quota.running, quota.stored)
        )
        self.has_rates = any(
            quota.rate is not None
            for quota in (quotas.default, quotas.anonymous, *quotas.groups.values(), *quotas.owners.values())
        )

    def _resolved(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(group for name in names for group in self.groups.resolve(name))

    def ranked(self, identity: Identity) -> Identity:
        """Return the identity with its rights here.

        These are whether it is an administrator, and the group that its usage is counted under.
        """
        admin = identity.owner in self._administrators or bool(identity.groups & self._administrator_groups)
        group = identity.group
        if self._accounting:
            group = next((name for name in self._accounting if name in identity.groups), "")
        if admin == identity.admin and group == identity.group:
            return identity
        return replace(identity, admin=admin, group=group)

    def access(self, application: Application) -> AccessSpec:
        """Return who may use an application.

        The setting for the application wins over its descriptor, and that over the setting for all.
        """
        return self._set.get(application.name) or application.access or self._access

    def require_use(self, application: Application, identity: Identity) -> None:
        """Raise unless the caller may use the application."""
        access = self.access(application)
        if access.anonymous or identity.admin:
            return
        if identity.owner is None:
            if identity.challenged:
                raise AuthenticationRequired(
                    f"The application {application.name!r} is for known users; log in, or send a token."
                )
            raise Forbidden(f"The application {application.name!r} is not for anonymous callers.")
        missing = [scope for scope in access.scopes if not self.groups.has_scope(scope, identity)]
        if missing:
            raise Forbidden(f"The token lacks the scope {' '.join(missing)!r}, which {application.name!r} asks for.")
        if access.groups and identity.groups.isdisjoint(self._resolved(access.groups)):
            groups = " or ".join(map(self.groups.shown, access.groups))
            raise Forbidden(f"The application {application.name!r} is for members of {groups}.")

    def require_list(self, application: Application, identity: Identity) -> None:
        """Raise unless the caller may have jobs here."""
        if identity.owner is None and not self.access(application).anonymous:
            self.require_use(application, identity)

    def require_account(self, identity: Identity) -> None:
        """Raise unless the caller has accounts.

        Is known, or all anonymous callers share theirs.
        """
        if identity.owner is None and not self.lists_anonymous():
            raise AuthenticationRequired("Accounts are of known users; log in, or send a token.")

    def require_owner(self, identity: Identity) -> None:
        """Raise unless the caller can have a list of their own jobs over all applications."""
        if identity.owner is not None or self.lists_anonymous():
            return
        raise AuthenticationRequired("This is about your own jobs; log in, or send a token.")

    def require_operator(self, identity: Identity, client: str | None, *, direct: bool) -> None:
        """Raise unless the caller may operate the service."""
        if identity.admin or (direct and is_trusted(client, self._metrics)):
            return
        if identity.owner is None and self.has_issuers:
            raise AuthenticationRequired("This is for administrators; send a token.")
        raise Forbidden("This is for administrators, and for the addresses that `auth.metrics_from` names.")

    def require_administrator(self, identity: Identity) -> None:
        """Raise unless the caller is an administrator.

        Networks and callers without a token never are.
        """
        if identity.admin:
            return
        if identity.owner is None and self.has_issuers:
            raise AuthenticationRequired("This is for administrators; send a token.")
        raise Forbidden(
            "This is for administrators, whom `auth.administrators` and `auth.administrator_groups` name; on a machine "
            "of the service there is `uws-service sites`."
        )

    def lists_anonymous(self) -> bool:
        """Return whether anonymous callers see all anonymous jobs.

        With issuers, the ids of such jobs stay secret.
        """
        return not self.has_issuers

    def quota(self, identity: Identity) -> Quota:
        """Return the caller's quota, the most generous of its groups."""
        quotas = self.settings.quotas
        if identity.owner is None:
            return quotas.anonymous
        if identity.owner in quotas.owners:
            return quotas.owners[identity.owner]
        quotas_of_groups = [quota for name, quota in self._group_quotas.items() if name in identity.groups]
        return most_generous(quotas_of_groups) if quotas_of_groups else quotas.default


def most_generous(quotas: list[Quota]) -> Quota:
    """Return the largest limit of each kind, None above all."""

    def best(name: str) -> Any:
        values = [getattr(quota, name) for quota in quotas]
        return None if None in values else max(values)

    return Quota(queued=best("queued"), running=best("running"), stored=best("stored"), rate=best("rate"))
