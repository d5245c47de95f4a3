"""The files of an ended attempt, which its agent has handed over.

They are in the depot already, below a folder of that agent alone. Results stay there; logs get the place where logs of
jobs are looked for.
"""

from __future__ import annotations

import structlog

from uws_service.depot import Depot, Stored
from uws_service.domain.attempt import Attempt, Observation, Output
from uws_service.domain.errors import NotFound
from uws_service.domain.job import Result
from uws_service.sites.executor import Collected, log_key

log = structlog.get_logger(__name__)


async def collect_reported(depot: Depot, observation: Observation, attempt: Attempt) -> Collected:
    """Return results and logs as the agent's report names them.

    Raises
    ------
    ServiceUnavailable, StorageFull
        The depot can't take the logs now; call again.
    """
    report = attempt.report
    if report is None:
        return Collected((), (), observation.log_tail)
    results = tuple(
        Result(output.id, output.source, output.media_type, output.size, output.sha256) for output in report.outputs
    )
    logs = []
    for output in report.end.logs if report.end is not None else ():
        key = log_key(attempt.job_id, output.id)
        try:
            await _copy(depot, output, key)
        except NotFound as error:
            log.warning("a log is lost", job=attempt.job_id, attempt=attempt.number, error=error.message)
            continue
        logs.append(Result(output.id, key, output.media_type, output.size, output.sha256))
    return Collected(results, tuple(logs), observation.log_tail or (report.end.tail if report.end else ""))


async def _copy(depot: Depot, output: Output, key: str) -> None:
    """Copy a log; the attempt's own file stays until the job goes, so that this can be repeated."""
    if await depot.head(output.source) is None:
        raise NotFound(f"The log {output.id!r} is no longer in the depot.")
    expected = Stored(output.size, output.sha256)
    await depot.put(key, depot.read(output.source), max_size=output.size, expected=expected)
