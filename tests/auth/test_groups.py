"""Names of groups and scopes, without any network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from uws_service.applications import AccessSpec, Application
from uws_service.auth import Identity
from uws_service.auth.claims import identity_of
from uws_service.auth.groups import GroupNames, remarks
from uws_service.auth.policy import Rules
from uws_service.auth.settings import Auth
from uws_service.configuration import applications_of
from uws_service.domain.errors import ConfigurationError, Forbidden, UsageError
from uws_service.runtime import running
from uws_service.settings import Settings

FIRST, SECOND, THIRD = "iam.example.org", "sso.example.org/realms/x", "third.example.org"


def auth(*hosts: str, **settings: Any) -> Auth:
    issuers = [{"url": f"https://{host}", "audience": "uws-api"} for host in hosts]
    return Auth.model_validate({"issuers": issuers, **settings})


def caller(host: str, *groups: str, scopes: str = "", **settings: Any) -> Identity:
    """Return the identity behind a token of an issuer with these groups."""
    issuer = auth(host).issuers[0]
    return identity_of({"sub": "a", "groups": list(groups), "scope": scopes}, issuer)


def test_a_name_without_an_issuer() -> None:
    """It means the first issuer's group, or as set."""
    assert GroupNames.of(auth(FIRST)).resolve("team/") == (f"/team@{FIRST}",)
    assert GroupNames.of(auth(FIRST, SECOND)).resolve("/team") == (f"/team@{FIRST}",)
    settings = auth(FIRST, SECOND, THIRD, groups_from=[f"https://{SECOND}/", f"https://{THIRD}"])
    assert GroupNames.of(settings).resolve("/team") == (f"/team@{SECOND}", f"/team@{THIRD}")
    assert GroupNames.of(settings).resolve(f"team@{FIRST}") == (f"/team@{FIRST}",)
    assert GroupNames.of(auth()).resolve("team") == ("/team",)


@pytest.mark.parametrize("name", ["team@none.example.org", "team@", f"team@{FIRST}/x", "team@IAM.example.org"])
def test_a_name_with_an_issuer_that_is_not_trusted(name: str) -> None:
    names = GroupNames.of(auth(FIRST, SECOND))
    with pytest.raises(ValueError, match=f"is not trusted; trusted: {FIRST}, {SECOND}"):
        names.resolve(name)
    with pytest.raises(UsageError, match="is not trusted"):
        names.of_caller(name, caller(SECOND))
    with pytest.raises(ValueError, match="no group"):
        names.resolve(f"/@{FIRST}")


HOSTILE = ("/admin", "admin/", f"/admin@{FIRST}", f"admin@{FIRST}/", f"/admin@{FIRST}@", f"//admin@{FIRST}", "admin@")
"""What a second issuer may write into its tokens to look like the first one's group."""


def test_another_issuer_can_not_name_itself_administrator() -> None:
    """Its groups always end with its own name."""
    rules = Rules(auth(FIRST, SECOND, administrator_groups=["/admin"]))
    assert rules.ranked(caller(FIRST, "admin")).admin
    for name in HOSTILE:
        assert not rules.ranked(caller(SECOND, name)).admin, name
    second_rules = Rules(auth(FIRST, SECOND, administrator_groups=[f"/admin@{SECOND}"]))
    assert second_rules.ranked(caller(SECOND, "admin")).admin
    for name in ("admin", f"admin@{SECOND}"):
        assert not second_rules.ranked(caller(FIRST, name)).admin


def test_what_groups_give() -> None:
    """Quotas, accounts and applications tell issuers apart."""
    settings: dict[str, Any] = {
        "quotas": {"default": {"queued": 1}, "groups": {"/admin": {"queued": 99}}},
        "accounting_groups": ["/admin", f"/users@{SECOND}"],
    }
    rules = Rules(auth(FIRST, SECOND, **settings))
    application = Application("app", "title", "text", ("true",), access=AccessSpec(groups=("/admin",)))
    member = rules.ranked(caller(FIRST, "admin"))
    assert (rules.quota(member).queued, member.group) == (99, f"/admin@{FIRST}")
    rules.require_use(application, member)
    for name in HOSTILE:
        outsider = rules.ranked(caller(SECOND, name, "users"))
        assert (rules.quota(outsider).queued, outsider.group) == (1, f"/users@{SECOND}")
        with pytest.raises(Forbidden, match=f"members of /admin@{FIRST}"):
            rules.require_use(application, outsider)


def test_scopes_of_another_issuer() -> None:
    """A scope counts where a group would."""
    rules = Rules(auth(FIRST, SECOND))
    for scope, host in (("compute", FIRST), (f"compute@{SECOND}", SECOND)):
        application = Application("app", "title", "text", ("true",), access=AccessSpec(scopes=(scope,)))
        for issuer in (FIRST, SECOND):
            identity = caller(issuer, scopes=f"compute {scope} compute@{FIRST}")
            if issuer == host:
                rules.require_use(application, identity)
            else:
                with pytest.raises(Forbidden, match="lacks the scope"):
                    rules.require_use(application, identity)


def test_sharing_with_a_group() -> None:
    """Without an issuer it is the sharer's group."""
    names = GroupNames.of(auth(FIRST, SECOND))
    assert names.of_caller("team", caller(SECOND)) == f"/team@{SECOND}"
    assert names.of_caller(f"team@{FIRST}", caller(SECOND)) == f"/team@{FIRST}"
    assert names.of_caller("team", Identity("proxied")) == f"/team@{FIRST}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"administrator_groups": ["a@x"]}, "administrator_groups: .*'x', which is not trusted"),
        ({"accounting_groups": ["a@x"]}, "accounting_groups: "),
        ({"quotas": {"groups": {"a@x": {}}}}, "quotas.groups: "),
        ({"access": {"groups": ["a@x"]}}, "access.groups: "),
        ({"applications": {"sleep": {"groups": ["a@x"]}}}, "applications.sleep.groups: "),
        ({"groups_from": ["https://x"]}, "groups_from: 'https://x' is no URL of an issuer"),
    ],
)
def test_settings_that_name_an_issuer_that_is_not_trusted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auth(FIRST, **settings)


def test_sites_that_name_an_issuer_that_is_not_trusted() -> None:
    issuers = auth(FIRST, SECOND).model_dump()["issuers"]
    sites = [{"name": "here", "access": {"groups": ["/a", f"/b@{SECOND}"]}}]
    settings = Settings.load(auth={"issuers": issuers}, sites=sites)
    applications_of(settings)
    resolved = settings.sites[0].with_groups(GroupNames.of(settings.auth).resolve)
    assert resolved.access.groups == (f"/a@{FIRST}", f"/b@{SECOND}")
    sites[0]["access"] = {"groups": ["/a@none"]}
    with pytest.raises(ConfigurationError, match="sites: here: the group '/a@none' names the issuer 'none'"):
        applications_of(Settings.load(auth={"issuers": issuers}, sites=sites))


@pytest.mark.anyio
async def test_shares_of_groups_are_those_of_issuers(tmp_path: Path) -> None:
    """A share that is named without an issuer counts for the jobs of the issuer's group."""
    issuers = auth(FIRST, SECOND).model_dump()["issuers"]

    def settings(**groups: float) -> Settings:
        shares = {"groups": {name: {"share": share} for name, share in groups.items()}}
        return Settings.load(
            auth={"issuers": issuers}, placement={"shares": shares}, data=tmp_path / "data", controller=False
        )

    async with running(settings(**{"team": 60, f"/team@{SECOND}": 30, "*": 10})) as runtime:
        shares = runtime.placer.settings.shares
    groups = [caller(FIRST, "team").group, caller(SECOND, "team").group, caller(FIRST, "others").group, ""]
    assert [shares.share(group) for group in groups] == [60, 30, 10, 10]
    with pytest.raises(ConfigurationError, match=r"placement\.shares\.groups: the group '/a@none' names the issuer"):
        applications_of(settings(**{"/a@none": 1}))
    with pytest.raises(ConfigurationError, match=f"the group /team@{FIRST} has more than one share; 'team' is the sec"):
        applications_of(settings(**{"/team": 1, "team": 2}))


def test_an_issuer_with_an_at() -> None:
    """Its groups could end as another's do."""
    with pytest.raises(ValueError, match="must have no @"):
        auth(f"evil.example.org/@{FIRST}")


def test_what_check_config_says() -> None:
    """It names default issuers and redirect URIs."""
    assert remarks(auth(FIRST)) == []
    assert f"those of {FIRST} (the first issuer" in remarks(auth(FIRST, SECOND))[0]
    settings = auth(FIRST, SECOND, groups_from=[f"https://{SECOND}"])
    assert f"those of {SECOND} (set by auth.groups_from)" in remarks(settings)[0]
    logins = [{"url": f"https://{host}", "audience": "a", "client_id": "c"} for host in (FIRST, SECOND)]
    assert remarks(Auth.model_validate({"issuers": logins}))[1:] == [
        f"The redirect URI to register at {FIRST} ends in /login/callback.",
        f"The redirect URI to register at {SECOND} ends in /login/callback/sso.example.org-realms-x.",
    ]


def test_check_config_prints_it(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(json.dumps({"auth": {"issuers": auth(FIRST, SECOND).model_dump(exclude_none=True)["issuers"]}}))
    command = [sys.executable, "-m", "uws_service", "check-config", "--config", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"without an issuer are those of {FIRST}" in " ".join(printed.split())
    printed = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert FIRST in json.loads(printed)["remarks"][0]
