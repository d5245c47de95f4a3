"""The kind of site that is an HTCondor pool."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from uws_service.domain.errors import ConfigurationError
from uws_service.sites.batch.opening import open_batch
from uws_service.sites.htcondor.rights import rights
from uws_service.sites.htcondor.settings import HTCondorSite
from uws_service.sites.kind import Finding, Kind, SiteParts

if TYPE_CHECKING:
    from uws_service.sites.executor import Executor


def _open(site: HTCondorSite, parts: SiteParts) -> Executor:
    from uws_service.sites.htcondor.system import Pool

    if problem := site.problem():
        raise ConfigurationError(f"site {site.name}: {problem}")
    return open_batch(site, parts, Pool(site, parts.instance, parts.work / f"{site.name}-spool"))


async def _check(site: HTCondorSite) -> str:
    """Ask the pool for its schedd and its machines.

    Raises
    ------
    ConfigurationError, NotNow
        It can't be asked, or does not know the token's user.
    """
    from uws_service.sites.htcondor.system import Pool

    if problem := site.problem():
        raise ConfigurationError(f"site {site.name}: {problem}")
    with tempfile.TemporaryDirectory() as work:
        pool = Pool(site, "check", Path(work))
        try:
            answer = await pool.helper.call("health")
            machines = await pool.helper.call("slots")
        finally:
            await pool.close()
    cores = sum(int(machine["TotalSlotCpus"] or machine["Cpus"] or 0) for machine in machines)
    version = str(answer["version"]).split()[1]
    return f"schedd {answer['name']}, HTCondor {version}, {cores} cores"


def _trial(site: HTCondorSite, image: str) -> AsyncIterator[Finding]:
    from uws_service.sites.batch.trial import try_batch
    from uws_service.sites.htcondor.system import Pool

    work = Path(tempfile.mkdtemp(prefix="uws-check-"))
    return try_batch(site, image, lambda name: Pool(site, name, work), lambda: shutil.rmtree(work, ignore_errors=True))


HTCONDOR = Kind("htcondor", HTCondorSite, _open, tickets=True, check=_check, trial=_trial, rights=rights)
