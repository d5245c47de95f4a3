"""What the operator of a cluster has to set there for a site of the service. Pure."""

from __future__ import annotations

import math

from uws_service.sites.batch.archive import agent_archive
from uws_service.sites.kind import Right
from uws_service.sites.slurm.settings import SlurmSite

TOKEN_SECONDS = 86400
SCRIPT_MARGIN_BYTES = 64 * 1024
DEFAULT_SCRIPT_BYTES = 4 * 2**20
"""Slurm's own `max_script_size`."""
_USER = """\
# One user for all jobs of the service, the same on all nodes. It must not be root, and needs no password.
id {user} >/dev/null 2>&1 || useradd --create-home {user}
"""
_CONTROLLER = """\
# The comments of jobs, by which the service knows its own, stay in the accounting.
AccountingStoreFlags=job_comment
# So long an agent may hand over results after SIGTERM.
KillWait={kill_wait}
# Where the nodes have cgroups: what ends a job's processes, and limits its memory.
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
"""
_TOKENS = """\
# In slurm.conf and slurmdbd.conf. Whoever has the key can be any user: it is readable by SlurmUser alone.
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=/etc/slurm/jwt_hs256.key
"""
_START = """\
# Takes tokens alone, and runs as a user without any rights; put a proxy with TLS before it.
SLURM_JWT=daemon setpriv --reuid slurmrestd --regid slurmrestd --clear-groups \\
    slurmrestd -a rest_auth/jwt -s slurmctld,slurmdbd -d {api} 127.0.0.1:6820
"""
_TOKEN = """\
# Renew it before it ends, by a timer that replaces the file in one step.
scontrol token username={user} lifespan={lifetime}
"""


def rights(site: SlurmSite) -> list[Right]:
    """Return the user, its accounts, the settings of the controller, and the way in."""
    sections = [
        Right("on the controller and all nodes, as root", _USER.format(user=site.user)),
        Right("on the controller, as an administrator of the accounting", _accounts(site)),
        Right("/etc/slurm/slurm.conf; then scontrol reconfigure", _CONTROLLER.format(kill_wait=site.grace) + _script()),
    ]
    if site.url is None:
        words = " ".join(site.login) or "on this machine"
        programs = "sbatch squeue scontrol scancel sacct sinfo"
        sections.append(Right("for the service's calls", f"# It runs {programs}, as {site.user}: {words}\n"))
        return sections
    sections.append(Right("/etc/slurm/slurm.conf and /etc/slurm/slurmdbd.conf", _TOKENS))
    sections.append(Right("where slurmrestd runs", _START.format(api=site.api)))
    if site.token is not None:
        token = _TOKEN.format(user=site.user, lifetime=TOKEN_SECONDS)
        place = f"on the controller, as root; what it prints goes to {site.token}, of mode 0600"
        sections.append(Right(place, token))
    return sections


def _accounts(site: SlurmSite) -> str:
    """Return the calls that make the accounts of owners' groups, and put the user into each."""
    top = site.account or site.user
    lines = [f"sacctmgr -i add account {top} Description=uws-service Organization=uws"]
    members = [top, *(name for name in dict.fromkeys(site.accounts.values()) if name != top)]
    lines += [f"sacctmgr -i add account {name} parent={top} Description=uws Organization=uws" for name in members[1:]]
    lines += [f"sacctmgr -i add user {site.user} Account={name}" for name in members]
    return "# A call for what is there already changes nothing, and says so.\n" + "\n".join(lines) + "\n"


def _script() -> str:
    """Return the setting for the size of scripts, if the agent needs a larger one than Slurm's own."""
    size = math.ceil(len(agent_archive()) * 4 / 3) + SCRIPT_MARGIN_BYTES
    return f"SchedulerParameters=max_script_size={size}\n" if size > DEFAULT_SCRIPT_BYTES else ""
