"""Try a site of a batch system with one job: does it run, and what of the agent's needs is there on its node?

The job is created, released, watched, and removed by the calls that attempts use; it carries a name of its own, so that
no service takes it for one of its jobs.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable

from uws_service.agent import probe
from uws_service.domain.errors import UwsError
from uws_service.sites.batch.archive import NAME, agent_archive
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState, BatchSystem
from uws_service.sites.batch.order import image_name
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.executor import NotNow
from uws_service.sites.kind import Finding

ORDER = "probe.json"
MEMORY_BYTES = 256 * 2**20
START_SECONDS = 300.0
"""A job that waits longer for a place is removed, and said to wait."""
RUN_SECONDS = 900.0
"""An image may have to be fetched."""
LOOK_SECONDS = 0.5
WORDS_LENGTH = 1000
OpenSystem = Callable[[str], BatchSystem]
"""Make the system for a name in place of a service's."""


async def try_batch(
    site: BatchSite, image: str, open_system: OpenSystem, clean: Callable[[], None] = lambda: None
) -> AsyncIterator[Finding]:
    """Run one small job, and yield what it shows.

    Parameters
    ----------
    image
        The image that is tried; empty: the one of the site's settings, if it has any.
    clean
        Called at the end.
    """
    system = open_system(f"check-{secrets.token_hex(4)}")
    spec = probe_spec(site, image)
    handle = ""
    try:
        await system.open()
        handle = await system.submit_held(spec)
        yield Finding("submission", remark=f"job {handle} was taken")
        await system.release(handle, spec)
        job = await _ended(system, spec)
        words = (await _words(system, job)) if job.state is BatchState.ENDED else ""
        for finding in findings(site, image, job, words):
            yield finding
    except UwsError as error:
        yield Finding("a job" if handle else "submission", problem=error.message)
    finally:
        if handle:
            await _forget(system, handle)
        await system.close()
        clean()


def probe_spec(site: BatchSite, image: str) -> BatchSpec:
    """Return the job that looks at a node. Pure but for the job's random name."""
    order = {
        "url": site.agent_url,
        "ca": site.agent_ca,
        "container": _container(site, image),
        "storage": [str(entry.path) for entry in site.storage if entry.path is not None],
        "commands": sorted(site.commands.values()),
    }
    key = (secrets.token_hex(16), 1)
    return BatchSpec(
        key=key,
        name=f"uws-check-{key[0][:8]}",
        command=(site.python, "-I", NAME, "--probe", ORDER),
        files={NAME: agent_archive(), ORDER: json.dumps(order).encode()},
        account_user="uws-check",
        group="",
        cpu=1,
        memory=MEMORY_BYTES,
        duration=int(RUN_SECONDS),
    )


def _container(site: BatchSite, image: str) -> dict[str, object] | None:
    if site.container is None:
        return None
    name = image_name(site, image or site.image or "")
    return {"program": site.container, "options": list(site.container_options), "image": name}


async def _ended(system: BatchSystem, spec: BatchSpec) -> BatchJob:
    """Return the job once it has ended, is stuck, or has waited or run for too long."""
    began = time.monotonic()
    while True:
        job = next(iter(await system.find(spec.key)), None)
        if job is None and system.forgets:
            raise NotNow("the site has lost the job")
        if job is not None and job.state in (BatchState.ENDED, BatchState.STUCK):
            return job
        seconds = time.monotonic() - began
        if job is not None and seconds > (RUN_SECONDS if job.started else START_SECONDS):
            return job
        await asyncio.sleep(LOOK_SECONDS)


async def _words(system: BatchSystem, job: BatchJob) -> str:
    try:
        words = (await system.log(job.handle)).decode("utf-8", "replace")
    except UwsError:
        return ""
    return " ".join(words.split())[-WORDS_LENGTH:]


async def _forget(system: BatchSystem, handle: str) -> None:
    """Remove the job, also one that still waits."""
    try:
        await system.forget(handle)
    except UwsError:
        return


def findings(site: BatchSite, image: str, job: BatchJob, words: str) -> list[Finding]:
    """Return what a job's end shows. Pure.

    Parameters
    ----------
    words
        What it has said, where the system has that.
    """
    hint = f" (the node says: {words})" if words else ""
    if job.state is not BatchState.ENDED:
        reason = job.waiting or job.message or f"it is {job.state}"
        return [Finding("a job", problem=f"does not come to an end: {reason}")]
    if job.reason is not None or job.signal is not None or job.exit_code is None or job.exit_code & 1:
        cause = job.message or (f"signal {job.signal}" if job.signal else f"exit code {job.exit_code}")
        return [Finding("a job", problem=f"does not run on {job.node or 'its node'}: {cause}; is {site.python} a "
                        f"Python from 3.9 on?{hint}")]  # fmt: skip
    results = [Finding("a job", remark=f"ran on {job.node or 'a node'} by {site.python}")]
    name = image or site.image or ""
    aspects = [
        ("the service", site.agent_url, probe.UNREACHABLE, "agent_url: nodes can't reach it"),
        ("the service", site.agent_url, probe.UNTRUSTED, "agent_ca: nodes do not trust its certificate"),
        ("the service", site.agent_url, probe.STRANGER, "agent_url: something else answers there"),
    ]
    if site.container is not None:
        aspects.append(("containers", site.container, probe.NO_CONTAINER, "container: nodes have no such program"))
        if name:
            aspects.append(("an image", name, probe.NO_IMAGE, "image, image_names: it does not run"))
    paths = [str(entry.path) for entry in site.storage if entry.path is not None]
    if paths:
        aspects.append(("storage", ", ".join(paths), probe.NO_STORAGE, "storage: not all of it is on the nodes"))
    if site.commands:
        programs = ", ".join(sorted(site.commands.values()))
        aspects.append(("programs", programs, probe.NO_PROGRAM, "commands: not all of them are on the nodes"))
    for aspect, subject, bit, problem in aspects:
        if job.exit_code & bit:
            results = [result for result in results if result.thing != aspect]
            results.append(Finding(aspect, problem=f"{subject}: {problem}{hint}"))
        elif all(result.thing != aspect for result in results):
            results.append(Finding(aspect, remark=subject))
    return results
