"""What an agent that ran the command itself says of its end, as an observation. Pure.

A batch system knows when the agent's process began and ended, and nothing of the command. So the agent's report decides
how that ended, and as soon as it is there: whatever the system shows of the job then, also that it has forgotten it.
"""

from __future__ import annotations

from dataclasses import replace

from uws_service.domain.attempt import Attempt, Observation, Reason, Report, Seen, Usage

LIVE = (Seen.STARTING, Seen.RUNNING, Seen.SUSPENDED)


def as_reported(attempt: Attempt, observation: Observation | None) -> Observation | None:
    """Return the observation of an attempt with what its agent reports of the command's end."""
    report = attempt.report
    if report is None or report.end is None:
        return observation
    if report.reason is Reason.ABORTED and attempt.wanted and observation is not None:
        # Nobody here wanted that. Why it was stopped is what the site says once the job has ended there.
        if observation.seen in LIVE:
            return observation
        if observation.reason is not None:
            seen = _observation(attempt, report, observation)
            return replace(seen, reason=observation.reason, message=observation.message or seen.message)
    return _observation(attempt, report, observation)


def _observation(attempt: Attempt, report: Report, observation: Observation | None) -> Observation:
    end = report.end
    assert end is not None
    site = observation or Observation(attempt.job_id, attempt.number, Seen.RUNNING)
    usage = Usage(
        wall=(end.ended - end.started) / 1000 if end.started is not None else 0.0,
        cpu=report.cpu,
        peak_memory=report.peak_memory,
        bytes_in=report.bytes_in,
        bytes_out=sum(file.size for file in (*report.outputs, *end.logs)),
    )
    return replace(
        site,
        seen=Seen.SUCCEEDED if report.reason is None else Seen.FAILED,
        started=end.started,
        ended=end.ended,
        exit_code=end.exit_code,
        reason=report.reason,
        message=report.message or site.message,
        log_tail=end.tail,
        usage=usage,
        warning=end.warning,
        error=end.error,
        reports=False,
        gone=observation is None or observation.gone,
    )
