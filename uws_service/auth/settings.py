"""The settings section ``auth``.

Without an issuer in it nothing changes: every caller is anonymous, or whom ``identity_header`` names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from uws_service.auth.groups import GroupNames
from uws_service.auth.identity import issuer_host
from uws_service.settings_checks import check_networks
from uws_service.units import Bytes, FractionalSeconds, Seconds

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures that only the issuer can make: with HMAC, whoever can verify can forge."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


CALLBACK = "/login/callback"
"""Where the first issuer sends people back to; each further one has its own path below."""
_SEPARATORS = re.compile(r"[^A-Za-z0-9.]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?")


def _is_safe(url: str) -> bool:
    """Return whether a URL is https, or of this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http":
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


class Issuer(BaseModel):
    """An OpenID Connect issuer whose tokens are believed."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="The issuer's URL; its discovery document must name the same.")
    title: str = Field("", description="What people read on the login page. Unset: the URL's host.")
    audience: str | None = Field(None, description="This service's name in the claim `aud` of tokens.")
    any_audience: bool = Field(
        False, description="Believe tokens that were made for other services. Only if the issuer knows no audiences."
    )
    algorithms: tuple[Algorithm, ...] = Field(
        ("RS256", "ES256", "PS256", "EdDSA"), min_length=1, description="Signatures that are taken."
    )
    types: tuple[str, ...] = Field(
        ("at+jwt", "jwt", ""),
        min_length=1,
        description="Values of the header `typ` that are taken, in lower case; the empty one is for tokens without.",
    )
    name_claims: tuple[str, ...] = Field(
        ("preferred_username", "name", "email"), description="Claims that may hold the name to show; the first counts."
    )
    group_claims: tuple[str, ...] = Field(
        ("groups", "wlcg.groups"), description="Claims that hold groups; dots also lead into nested objects."
    )
    required: Mapping[str, str] = Field(
        default_factory=dict,
        description="Claims that a token must have, each with the value that it must be or hold.",
    )
    scopes: tuple[str, ...] = Field((), description="Scopes that every token must have.")
    introspection: bool = Field(
        False,
        description="Ask the issuer about tokens that are no JWT (RFC 7662), as `client_id` and `client_secret`. Each "
        "token is sent to one issuer only.",
    )
    token_prefix: str | None = Field(
        None,
        min_length=1,
        description="What the issuer's tokens that are no JWT begin with; others are not sent to it. Needed if several "
        "issuers have `introspection`. Unset: any.",
    )
    client_id: str | None = Field(
        None, description="This service as a client of the issuer: for people with a browser, and for introspection."
    )
    client_secret: SecretStr | None = Field(None, description="Its secret, if it has one.")
    login: bool = Field(True, description="Let people log in with a browser at this issuer, if `client_id` is set.")
    login_scopes: str = Field("openid profile", description="Scopes that are asked for when somebody logs in.")
    resource: str | None = Field(
        None, description="Resource indicator (RFC 8707) sent when somebody logs in. Unset: none is sent."
    )
    cli_client_id: str | None = Field(
        None, description="Public client with which `uws-service login` asks for tokens by device flow."
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not _is_safe(value):
            raise ValueError("must begin with https:// (http:// is taken for this machine alone)")
        if "@" in value:
            raise ValueError("must have no @: owners and groups end with @ and the issuer")
        return value

    @field_validator("types")
    @classmethod
    def _types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower().removeprefix("application/") for name in value)

    @model_validator(mode="after")
    def _consistent(self) -> Issuer:
        if not self.audience and not self.any_audience:
            raise ValueError("audience is missing; or say any_audience: true to believe tokens for other services")
        if self.introspection and (self.client_id is None or self.client_secret is None):
            raise ValueError("introspection needs client_id and client_secret")
        if self.token_prefix is not None and not self.introspection:
            raise ValueError("token_prefix means nothing without introspection")
        return self

    @property
    def has_login(self) -> bool:
        """Return whether people can log in here by browser."""
        return self.login and self.client_id is not None

    @property
    def host(self) -> str:
        """Return the issuer as it stands in owners and groups."""
        return issuer_host(self.url)


class ApplicationAccess(BaseModel):
    """Who may use an application.

    Without groups and scopes, every verified caller may.
    """

    model_config = ConfigDict(extra="forbid")

    anonymous: bool = Field(False, description="Everybody may, unknown callers too.")
    groups: tuple[str, ...] = Field((), description="Members of any of these groups may.")
    scopes: tuple[str, ...] = Field(
        (), description="The token must have all of these scopes, each given by an issuer that counts, as for groups."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ApplicationAccess:
        if self.anonymous and (self.groups or self.scopes):
            raise ValueError("anonymous: true opens the application to all; groups and scopes then mean nothing")
        return self


class Quota(BaseModel):
    """What one owner may have at once."""

    model_config = ConfigDict(extra="forbid")

    queued: int | None = Field(None, ge=0, description="Jobs that wait to run; one more answers 429.")
    running: int | None = Field(None, ge=0, description="Jobs that run; further ones wait in the queue.")
    stored: Bytes | None = Field(
        None, ge=0, description="Bytes of parameters, uploads and results; beyond it new ones answer 403."
    )
    rate: float | None = Field(None, gt=0, description="Requests a second to each process, ten seconds' worth at once.")


class Quotas(BaseModel):
    """Quotas of owners; the most generous one counts."""

    model_config = ConfigDict(extra="forbid")

    default: Quota = Field(default_factory=Quota, description="Of owners for whom nothing else is said.")
    anonymous: Quota = Field(
        default_factory=Quota, description="Of all anonymous callers together; the rate of each address."
    )
    groups: Mapping[str, Quota] = Field(default_factory=dict, description="Of each member of these groups.")
    owners: Mapping[str, Quota] = Field(default_factory=dict, description="Of these owners, whatever their groups.")


class Permissions(BaseModel):
    """SRCNet's Permissions API."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="Its base URL, which ends in /api/v1.")
    service: str = Field("uws-api", description="This service's name there.")
    version: str = Field("1", description="The version of this service's policy there.")
    reads: bool = Field(False, description="Ask it for reads of one's own jobs too; these then fail while it is down.")
    cache: FractionalSeconds = Field(60.0, ge=0, description="Seconds for which a permission is used again.")
    timeout: FractionalSeconds = Field(5.0, gt=0, description="Seconds after which no answer is an outage.")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not _is_safe(value):
            raise ValueError("must begin with https:// (http:// is taken for this machine alone)")
        return value.rstrip("/")


class DataAccess(BaseModel):
    """Hosts that jobs fetch from with exchanged tokens (RFC 8693)."""

    model_config = ConfigDict(extra="forbid")

    hosts: tuple[str, ...] = Field(
        min_length=1, description="Names of hosts, each with `:port` unless that is 443. Only https is used."
    )
    audience: str = Field(min_length=1, description="The audience that tokens for these hosts must have.")
    scopes: tuple[str, ...] = Field((), description="The scopes that are asked for, and no more are taken.")
    issuer: str | None = Field(
        None, description="Only for callers of the issuer with this URL. Unset: of every issuer with `client_id`."
    )

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"{host[:100]!r} is not the name of a host, or host:port (no scheme, path or wildcard)"
                )
        return tuple(host.lower().removesuffix(":443") for host in value)


class Auth(BaseModel):
    """Who callers are, and what they may do."""

    model_config = ConfigDict(extra="forbid")

    issuers: tuple[Issuer, ...] = Field((), description="Issuers of tokens; none: no token is looked at.")
    groups_from: tuple[str, ...] = Field(
        (),
        description="URLs of the issuers whose groups and scopes are meant where a name stands without one, in all "
        "settings and descriptors; of any other issuer they are written `group@issuer`. Unset: the first issuer.",
    )
    realm: str = Field("uws-service", pattern=r"^[A-Za-z0-9 ._:/-]{1,64}$", description="The realm in challenges.")
    leeway: Seconds = Field(30, ge=0, le=300, description="Seconds by which clocks may differ.")
    cache: Seconds = Field(300, ge=0, le=3600, description="Seconds for which a verified token is not verified again.")
    stale_keys: Seconds = Field(
        86400, ge=0, description="Seconds for which an issuer's keys are used while it can't be reached."
    )
    timeout: FractionalSeconds = Field(5.0, gt=0, description="Seconds after which an issuer has not answered.")
    bad_tokens: float | None = Field(
        2.0,
        gt=0,
        description="Tokens and logins a second from one address that may turn out to be bad, a minute's worth at "
        "once; more are answered 429 before they are looked at. null: they are not counted.",
    )
    access: ApplicationAccess | None = Field(
        None,
        description="Access to applications whose descriptors do not say. Unset: everybody without issuers, every "
        "verified caller with issuers.",
    )
    applications: Mapping[str, ApplicationAccess] = Field(
        default_factory=dict, description="Access to single applications, whatever their descriptors say."
    )
    administrators: tuple[str, ...] = Field((), description="Owners who may see and change everybody's jobs.")
    administrator_groups: tuple[str, ...] = Field((), description="Groups whose members may do so too.")
    accounting_groups: tuple[str, ...] = Field(
        (),
        description="Groups that usage is counted under and that sites ask for; of each caller's, the first one here. "
        "Unset: the first group of the token.",
    )
    metrics_from: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks that may read /metrics without being administrators.",
    )
    session: Seconds = Field(8 * 3600, ge=60, description="Seconds after which a person with a browser logs in anew.")
    quotas: Quotas = Field(default_factory=Quotas, description="What one owner may have at once.")
    data_access: tuple[DataAccess, ...] = Field(
        (), description="Hosts whose files jobs fetch with a token that the issuer gives in exchange for the caller's."
    )
    sealing_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="What tokens of waiting jobs are encrypted with, the same for all processes. Unset: a key in the "
        "data folder, made when it is first needed.",
    )
    permissions: Permissions | None = Field(None, description="SRCNet's Permissions API. Unset: it is not asked.")

    @field_validator("metrics_from")
    @classmethod
    def _metrics_from(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_networks(value)

    @model_validator(mode="after")
    def _groups(self) -> Auth:
        for url in self.groups_from:
            if issuer_host(url) not in (issuer.host for issuer in self.issuers):
                raise ValueError(f"groups_from: {url[:200]!r} is no URL of an issuer")
        names = GroupNames.of(self)
        listed = {
            "administrator_groups": self.administrator_groups,
            "accounting_groups": self.accounting_groups,
            "quotas.groups": self.quotas.groups,
            "access.groups": self.access.groups if self.access is not None else (),
            **{f"applications.{name}.groups": access.groups for name, access in self.applications.items()},
        }
        for setting, groups in listed.items():
            for group in groups:
                try:
                    names.resolve(group)
                except ValueError as error:
                    raise ValueError(f"{setting}: {error}") from None
        return self

    @model_validator(mode="after")
    def _opaque_tokens(self) -> Auth:
        prefixes = {issuer.url: issuer.token_prefix for issuer in self.issuers if issuer.introspection}
        for url, prefix in prefixes.items():
            if len(prefixes) > 1 and prefix is None:
                raise ValueError(
                    f"issuer {url}: token_prefix is missing: several issuers have introspection, and a token that is "
                    "no JWT must be sent to one of them only"
                )
            for other_url, longer in prefixes.items():
                if other_url != url and prefix and longer and longer.startswith(prefix):
                    raise ValueError(f"issuers {url} and {other_url}: one token_prefix must not begin with the other")
        return self

    @model_validator(mode="after")
    def _redirect_uris(self) -> Auth:
        if len(set(self.callbacks().values())) < len(self.callbacks()):
            raise ValueError("two issuers would share one redirect URI: their URLs differ in punctuation only")
        return self

    def callbacks(self) -> dict[str, str]:
        """Return the path of each redirect URI, by host (RFC 9700 §4.4.2)."""
        hosts = [issuer.host for issuer in self.issuers if issuer.has_login]
        return {
            host: f"{CALLBACK}/{_SEPARATORS.sub('-', host)}" if number else CALLBACK
            for number, host in enumerate(hosts)
        }

    @model_validator(mode="after")
    def _tokens_for_permissions(self) -> Auth:
        if self.permissions is not None and not self.issuers:
            raise ValueError("permissions needs issuers: the Permissions API decides by token")
        return self

    @model_validator(mode="after")
    def _issuers_for_data(self) -> Auth:
        exchangers = {issuer.url.rstrip("/") for issuer in self.issuers if issuer.client_id is not None}
        for index, access in enumerate(self.data_access):
            if access.issuer is None and not exchangers:
                raise ValueError(f"data_access[{index}] needs an issuer with client_id: tokens are exchanged there")
            if access.issuer is not None and access.issuer.rstrip("/") not in exchangers:
                raise ValueError(f"data_access[{index}].issuer is no URL of an issuer with client_id")
        hosts = [host for access in self.data_access for host in access.hosts]
        if len(set(hosts)) != len(hosts):
            raise ValueError("data_access names a host twice")
        return self

    @field_validator("issuers")
    @classmethod
    def _issuers(cls, value: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
        hosts = [issuer.host for issuer in value]
        if len(set(hosts)) != len(hosts):
            raise ValueError("two issuers have the same URL")
        return value
