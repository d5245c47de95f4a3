"""Who stands in what leaves the service: owners, pseudonyms, groups as virtual organisations (ACC-008, ACC-017)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from uws_service.accounting.settings import Identities
from uws_service.domain.usage_record import UsageRecord

WITHHELD = "withheld"
"""The conventional value for users whom a site does not name (ACC-017)."""
PSEUDONYM_BYTES = 16
PSEUDONYMS = "accounting"
"""The name of the secret that pseudonyms are made with."""
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_PSEUDONYM = re.compile(r"user-[0-9a-f]{32}")
ABSENT = frozenset({"none", "null"})
"""Texts that readers take for nothing (ACC-004)."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Hides owners: the same owner has the same pseudonym, and nobody without the key can try names."""

    key: bytes

    def of(self, owner: str) -> str:
        """Return the pseudonym of an owner.

        A pseudonym stays what it is.
        """
        if owner == WITHHELD or _PSEUDONYM.fullmatch(owner):
            return owner
        return f"user-{hmac.digest(self.key, owner.encode(errors='replace'), hashlib.sha256)[:PSEUDONYM_BYTES].hex()}"


class Organisation(NamedTuple):
    """A group as accounts of computing name it.

    ``fqan`` is empty unless the group is a path.
    """

    fqan: str = ""
    vo: str = ""
    vo_group: str = ""
    vo_role: str = ""


class SiteName(NamedTuple):
    """A site as the accounting repository knows it."""

    name: str
    infrastructure: str = "local"


@dataclass(frozen=True, slots=True)
class Outside:
    """What readers outside get to know, and how.

    Parameters
    ----------
    base_url
        The service's public URL.
    sites
        The names of sites in the accounting repository.
    issuers
        The issuers whose groups are virtual organisations by their name alone; those of others keep their issuer, so
        that nobody who runs another issuer is counted to a foreign organisation.
    """

    base_url: str
    sites: Mapping[str, SiteName]
    identities: Identities
    pseudonyms: Pseudonyms
    issuers: Collection[str] = ()
    default_vo: str = ""
    _shown: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """Return the host of the service."""
        return self.base_url.partition("://")[2].partition("/")[0] or "localhost"

    def site(self, name: str) -> SiteName:
        """Return a site's name outside."""
        return self.sites.get(name) or SiteName(name or "none")

    def user(self, owner: str) -> str:
        """Return how an owner is named.

        Empty for anonymous jobs (ACC-073).
        """
        if not owner:
            return ""
        if self.identities == "full":
            return owner
        return WITHHELD if self.identities == "withheld" else self.pseudonyms.of(owner)

    def submit_host(self, application: str) -> str:
        """Return the endpoint that jobs of an application came by."""
        return f"{self.host}/{application}"

    def organisation(self, group: str) -> Organisation:
        """Return a group as a virtual organisation, split as readers split an FQAN (ACC-008)."""
        if not group:
            return Organisation(vo=self.default_vo)
        name, at, issuer = group.rpartition("@")
        if not at:
            name = group
        elif issuer not in self.issuers:
            return Organisation(vo=group)
        if not name.startswith("/"):
            return Organisation(vo=name)
        vo = name.split("/")[1]
        return Organisation(name, vo, name, "")

    def job_url(self, record: UsageRecord) -> str:
        """Return the URL of a record's job."""
        return f"{self.base_url}/{record.application}/async/{record.job_id}"


def plain(text: str) -> str:
    """Return a text as one line of printable ASCII (ACC-001); what else it holds is percent-encoded.

    Neither a name of a user nor a group can begin a line, and so a record, of its own.
    """
    line = quote(text, safe=PRINTABLE, errors="replace")
    if line[:1] == " " or line.lower() in ABSENT:
        line = f"%{ord(line[0]):02X}{line[1:]}"
    return f"{line[:-1]}%20" if line[-1:] == " " else line
