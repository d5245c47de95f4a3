"""UWS 1.1 §2.2.1.2: blocking with WAIT."""

from __future__ import annotations

import threading

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

SECTION = "UWS 1.1 §2.2.1.2"
PROMPT_FRACTION = 0.5  # of the wait, within which a prompt reply must arrive


@check(
    "U-150",
    "SHOULD",
    SECTION,
    "WAIT=n of a pending job is held for about n seconds.",
    "A server of version 1.1 that ignores WAIT is polled in a tight loop.",
)
def wait_blocks(bench: Bench) -> str:
    reply = bench.get(f"{bench.pending().url}?WAIT={bench.profile.wait}")
    expect(reply.status == 200, str(reply))
    expect(reply.seconds > bench.profile.wait * 0.8, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-150", "MUST", SECTION, "WAIT=n is answered after n seconds at the latest, with 200.")
def wait_ends(bench: Bench) -> str:
    reply = bench.get(f"{bench.pending().url}?WAIT={bench.profile.wait}")
    expect(reply.status == 200, str(reply))
    expect(reply.seconds < bench.profile.wait + 3, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-151", "MUST", SECTION, "A waiting request is answered as soon as the phase changes.")
def wait_notices(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("short"))
    wait_seconds = bench.profile.wait * 4
    timer = threading.Timer(0.2, lambda: bench.post(f"{job.url}/phase", ("PHASE", "ABORT")))
    timer.start()
    try:
        reply = bench.get(f"{job.url}?WAIT={wait_seconds}")
    finally:
        timer.join()
    expect(reply.seconds < wait_seconds * 0.75, f"{reply} after {reply.seconds:.2f} s of {wait_seconds}")
    return f"{reply.seconds:.2f} s"


@check("U-151", "MUST", SECTION, "The answer to a waiting request has the new phase.")
def wait_tells_change(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("short"))
    timer = threading.Timer(0.2, lambda: bench.post(f"{job.url}/phase", ("PHASE", "ABORT")))
    timer.start()
    try:
        reply = bench.get(f"{job.url}?WAIT={bench.profile.wait * 2}")
    finally:
        timer.join()
    if reply.seconds < 0.15:
        return "answered before the change"
    phase = documents.value(documents.parse(reply.body, job.url), "phase")
    expect(phase == "ABORTED", f"the phase after the change is {phase}")
    return "ABORTED"


def add_prompt_answer_check(rule: str, job_kind: str, query: str, subject: str) -> None:
    """Register the check of a WAIT that must not block."""
    level = "AMBIG" if rule in ("U-155", "U-157") else "MUST"  # the standard leaves it open

    @check(rule, level, SECTION, f"{subject} is answered at once.", name=f"at-once-{job_kind}{query}")
    def answers_at_once(bench: Bench) -> str:
        reply = bench.get(f"{getattr(bench, job_kind)().url}?{query.format(n=bench.profile.wait * 2)}")
        expect(reply.status == 200, str(reply))
        expect(reply.seconds < bench.profile.wait * PROMPT_FRACTION, f"{reply} after {reply.seconds:.2f} s")
        return f"{reply.seconds:.2f} s"


add_prompt_answer_check("U-152", "aborted", "WAIT={n}", "WAIT on an aborted job")
add_prompt_answer_check("U-152", "completed", "WAIT={n}", "WAIT on a completed job")
add_prompt_answer_check("U-152", "failed", "WAIT={n}", "WAIT on a failed job")
add_prompt_answer_check("U-153", "completed", "WAIT=-1", "WAIT=-1 on a completed job")
add_prompt_answer_check("U-154", "pending", "WAIT={n}&PHASE=QUEUED", "WAIT for a phase that the job is not in")
add_prompt_answer_check("U-154", "pending", "WAIT={n}&PHASE=COMPLETED", "WAIT with a phase that is not active")
add_prompt_answer_check("U-155", "pending", "WAIT=0", "WAIT=0")
add_prompt_answer_check("U-157", "pending", "PHASE=PENDING", "PHASE without WAIT")


@check("U-154", "SHOULD", SECTION, "WAIT with the phase that the job is in is held.")
def wait_in_phase(bench: Bench) -> str:
    reply = bench.get(f"{bench.pending().url}?WAIT={bench.profile.wait}&PHASE=PENDING")
    expect(reply.seconds > bench.profile.wait * 0.8, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-154", "MUST", SECTION, "WAIT of a running job for another phase is answered at once.")
def wait_other_phase(bench: Bench) -> str:
    reply = bench.running().replies["wait other"]
    expect(reply.seconds < bench.profile.wait * PROMPT_FRACTION, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-155", "AMBIG", SECTION, "A malformed WAIT is ignored or refused with 4xx, no server fault.")
def wait_malformed(bench: Bench) -> str:
    reply = bench.get(f"{bench.pending().url}?WAIT=soon")
    expect(reply.status < 500, str(reply))
    return str(reply)
