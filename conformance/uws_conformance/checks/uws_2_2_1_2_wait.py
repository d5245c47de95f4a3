"""UWS 1.1 §2.2.1.2: blocking until the phase changes."""

from __future__ import annotations

import threading

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

AT = "UWS 1.1 §2.2.1.2"
SOON = 0.5  # part of the wait by which an answer "at once" must have come


@check(
    "U-150",
    "SHOULD",
    AT,
    "WAIT=n of a pending job is held for about n seconds.",
    "A server of version 1.1 that ignores WAIT is polled in a tight loop.",
)
def wait_blocks(see: Bench) -> str:
    reply = see.get(f"{see.pending().url}?WAIT={see.profile.wait}")
    expect(reply.status == 200, str(reply))
    expect(reply.seconds > see.profile.wait * 0.8, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-150", "MUST", AT, "WAIT=n is answered after n seconds at the latest, with 200.")
def wait_ends(see: Bench) -> str:
    reply = see.get(f"{see.pending().url}?WAIT={see.profile.wait}")
    expect(reply.status == 200, str(reply))
    expect(reply.seconds < see.profile.wait + 3, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-151", "MUST", AT, "A waiting request is answered as soon as the phase changes.")
def wait_notices(see: Bench) -> str:
    job = see.new(see.kind("short"))
    long = see.profile.wait * 4
    timer = threading.Timer(0.2, lambda: see.post(f"{job.url}/phase", ("PHASE", "ABORT")))
    timer.start()
    try:
        reply = see.get(f"{job.url}?WAIT={long}")
    finally:
        timer.join()
    expect(reply.seconds < long * 0.75, f"{reply} after {reply.seconds:.2f} s of {long}")
    return f"{reply.seconds:.2f} s"


@check("U-151", "MUST", AT, "The answer to a waiting request has the new phase.")
def wait_tells_change(see: Bench) -> str:
    job = see.new(see.kind("short"))
    timer = threading.Timer(0.2, lambda: see.post(f"{job.url}/phase", ("PHASE", "ABORT")))
    timer.start()
    try:
        reply = see.get(f"{job.url}?WAIT={see.profile.wait * 2}")
    finally:
        timer.join()
    if reply.seconds < 0.15:
        return "answered before the change"
    found = documents.value(documents.parse(reply.body, job.url), "phase")
    expect(found == "ABORTED", f"the phase told after the change is {found}")
    return "ABORTED"


def at_once(rule: str, label: str, query: str, what: str) -> None:
    level = "AMBIG" if rule in ("U-155", "U-157") else "MUST"  # not laid down

    @check(rule, level, AT, f"{what} is answered at once.", name=f"at-once-{label}{query}")
    def answered(see: Bench) -> str:
        reply = see.get(f"{getattr(see, label)().url}?{query.format(n=see.profile.wait * 2)}")
        expect(reply.status == 200, str(reply))
        expect(reply.seconds < see.profile.wait * SOON, f"{reply} after {reply.seconds:.2f} s")
        return f"{reply.seconds:.2f} s"


at_once("U-152", "aborted", "WAIT={n}", "WAIT on an aborted job")
at_once("U-152", "completed", "WAIT={n}", "WAIT on a completed job")
at_once("U-152", "failed", "WAIT={n}", "WAIT on a failed job")
at_once("U-153", "completed", "WAIT=-1", "WAIT=-1 on a completed job")
at_once("U-154", "pending", "WAIT={n}&PHASE=QUEUED", "WAIT for a phase that the job is not in")
at_once("U-154", "pending", "WAIT={n}&PHASE=COMPLETED", "WAIT with a phase that is not active")
at_once("U-155", "pending", "WAIT=0", "WAIT=0")
at_once("U-157", "pending", "PHASE=PENDING", "PHASE without WAIT")


@check("U-154", "SHOULD", AT, "WAIT with the phase that the job is in is held.")
def wait_in_phase(see: Bench) -> str:
    reply = see.get(f"{see.pending().url}?WAIT={see.profile.wait}&PHASE=PENDING")
    expect(reply.seconds > see.profile.wait * 0.8, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-154", "MUST", AT, "WAIT of a running job for another phase is answered at once.")
def wait_other_phase(see: Bench) -> str:
    reply = see.running().replies["wait other"]
    expect(reply.seconds < see.profile.wait * SOON, f"{reply} after {reply.seconds:.2f} s")
    return f"{reply.seconds:.2f} s"


@check("U-155", "AMBIG", AT, "A malformed WAIT is ignored or refused with 4xx, no server fault.")
def wait_malformed(see: Bench) -> str:
    reply = see.get(f"{see.pending().url}?WAIT=soon")
    expect(reply.status < 500, str(reply))
    return str(reply)
