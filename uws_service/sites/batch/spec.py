"""From a launch to what its batch job is created with."""

from __future__ import annotations

import hashlib
import re

from uws_service.domain.attempt import Launch
from uws_service.sites.batch.archive import agent_archive
from uws_service.sites.batch.driver import BatchSpec
from uws_service.sites.batch.order import attempt_order
from uws_service.sites.batch.settings import BatchSite

ARCHIVE, ORDER = "agent.pyz", "attempt.json"
SLACK_SECONDS = 3600
"""Seconds beyond executionDuration after which the system itself ends a job: bringing the inputs counts there too."""
DATA_BYTES_PER_SECOND = 10**7
"""Data sets count as fetched at least so fast when that time is reckoned."""


def batch_spec(launch: Launch, site: BatchSite, ticket: str) -> BatchSpec:
    """Return what the batch job of an attempt is created with.

    Parameters
    ----------
    ticket
        By which its agent proves who it is, once.
    """
    return BatchSpec(
        key=(launch.job_id, launch.number),
        name=f"uws-{launch.job_id}-{launch.number}",
        command=(site.python, "-I", ARCHIVE, ORDER),
        files={ARCHIVE: agent_archive(), ORDER: attempt_order(launch, site, ticket)},
        account_user=account_user(launch.owner),
        group=launch.group,
        cpu=launch.cpu,
        memory=launch.memory,
        disk=launch.disk or launch.max_output,
        gpus=launch.gpus,
        duration=_duration(launch, site),
    )


def _duration(launch: Launch, site: BatchSite) -> int:
    if not launch.duration:
        return 0
    size = sum(item.size or 0 for item in launch.inputs)
    return launch.duration + SLACK_SECONDS + site.stage_out + size // DATA_BYTES_PER_SECOND


def account_user(owner: str) -> str:
    """Return the name under which an owner's jobs count in the system's fair share.

    It is made of the owner's name, which can hold anything, and tells nobody at the site who that is.
    """
    if not owner:
        return "anonymous"
    word = re.sub(r"[^a-z0-9]", "", owner.lower())[:8]
    return f"u{word}{hashlib.sha256(owner.encode()).hexdigest()[:12]}"
