"""What the operator of a pool has to set there for a site of the service. Pure."""

from __future__ import annotations

from uws_service.sites.htcondor.settings import HTCondorSite
from uws_service.sites.kind import Right

USER = "uws"
LIFETIME_SECONDS = 30 * 86400
SLOT_USERS = 8
_USER = """\
# One user for all jobs of the service. It must not be root, and needs no password.
id {user} >/dev/null 2>&1 || useradd --create-home {user}
"""
_SUBMIT = """\
# {group_words}
GROUP_NAMES = $(GROUP_NAMES) {groups}
GROUP_ACCEPT_SURPLUS = True
# As many jobs as the site's setting `slots` lets come.
MAX_JOBS_PER_OWNER = {slots}
"""
_NO_GROUP = """\
# As many jobs as the site's setting `slots` lets come.
MAX_JOBS_PER_OWNER = {slots}
"""
_NODE = """\
# All jobs belong to one user of the pool: each slot runs them as a user of its own, so none reads another's folder.
# Make these users, and write a line for each slot that a machine may have.
STARTER_ALLOW_RUNAS_OWNER = False
DEDICATED_EXECUTE_ACCOUNT_REGEXP = slot[0-9]+
{slots}
# Memory, where jobs have no cgroups: HTCondor does not limit it otherwise.
use POLICY : HOLD_IF_MEMORY_EXCEEDED
# So long an agent may hand over results after SIGTERM.
MachineMaxVacateTime = {vacate}
"""
_TOKEN = """\
# Reads and writes the queue as that user, and nothing else. Renew it before it ends, by replacing the file.
condor_token_create -identity {user}@$(condor_config_val UID_DOMAIN) -authz READ -authz WRITE -lifetime {lifetime}
"""


def rights(site: HTCondorSite) -> list[Right]:
    """Return the user, the settings of the schedd and of the nodes, and the token."""
    parts = site.accounting_group.split(".") if site.accounting_group else []
    groups = " ".join(".".join(parts[: number + 1]) for number in range(len(parts)))
    submit = _SUBMIT if groups else _NO_GROUP
    words = "Whose share the jobs count to; within it the pool shares between their owners."
    slots = "\n".join(f"SLOT1_{number}_USER = slot{number}" for number in range(1, SLOT_USERS + 1))
    sections = [
        Right("on the schedd's machine, as root", _USER.format(user=USER)),
        Right(
            "/etc/condor/config.d/60-uws-service on the central manager and the schedd's machine; then condor_reconfig",
            submit.format(group_words=words, groups=groups, slots=site.slots),
        ),
        Right(
            "/etc/condor/config.d/60-uws-service on the nodes; then condor_reconfig",
            _NODE.format(slots=slots, vacate=site.vacate),
        ),
    ]
    if site.tokens is not None:
        token = _TOKEN.format(user=USER, lifetime=LIFETIME_SECONDS)
        place = f"on the central manager, as root; what it prints goes to a file of mode 0600 in {site.tokens}"
        sections.append(Right(place, token))
    return sections
