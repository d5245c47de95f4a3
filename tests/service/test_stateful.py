"""Random legal and illegal commands over HTTP against a model of the life cycle: no difference is allowed.

The model knows what the standard says a client may see (U-002, U-101…U-110, D-013, U-130). The service moves on by
itself, so the model holds the set of phases that a job may be in, and narrows it with each answer.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tests.server import Server
from tests.service.client import Uws, job_id

MOVES = {
    "PENDING": {"PENDING"},
    "QUEUED": {"QUEUED", "EXECUTING", "COMPLETED", "ERROR"},
    "EXECUTING": {"EXECUTING", "COMPLETED", "ERROR"},
    "COMPLETED": {"COMPLETED"},
    "ERROR": {"ERROR"},
    "ABORTED": {"ABORTED"},
}
"""Where the service may have brought a job by itself since it was last seen."""
ACTIVE = {"QUEUED", "EXECUTING"}


class Life(RuleBasedStateMachine):
    """A user with a handful of jobs."""

    server: Server
    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        self.uws = Uws(self.server.url)
        self.model: dict[str, str] = {}
        self.parameters: dict[str, dict[str, str]] = {}
        self.outcome: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "uws"):
            self.uws.__exit__()

    def see(self, job: str) -> str:
        """Return the phase, which must follow from the last one."""
        phase = self.uws.phase(job)
        assert phase in MOVES[self.model[job]], (self.model[job], phase)
        if phase in ("COMPLETED", "ERROR") and self.model[job] != phase:
            assert phase == self.expected(job)
        self.model[job] = phase
        return phase

    def expected(self, job: str) -> str:
        """Return how the job must end."""
        values = self.parameters[job]
        return "ERROR" if values.get("EXIT", "0") != "0" or values.get("SECONDS") == "bad" else "COMPLETED"

    @rule(
        target=jobs,
        run=st.booleans(),
        seconds=st.sampled_from(["0", "0.2", "bad", None]),
        code=st.sampled_from(["0", "3", None]),
    )
    def create(self, run: bool, seconds: str | None, code: str | None) -> str:
        body = {key: value for key, value in (("SECONDS", seconds), ("EXIT", code)) if value is not None}
        job = self.uws.create({**body, **({"PHASE": "RUN"} if run else {})})
        self.parameters[job] = body
        self.model[job] = ("ERROR" if seconds == "bad" else "QUEUED") if run else "PENDING"
        return job

    @rule(job=jobs)
    def run(self, job: str) -> None:
        before = self.see(job)
        answer = self.uws.post(f"{job}/phase", {"PHASE": "RUN"})
        if before == "PENDING":
            assert answer.status_code == 303
            self.model[job] = "ERROR" if self.parameters[job].get("SECONDS") == "bad" else "QUEUED"
        else:
            assert answer.status_code == 403
        self.see(job)

    @rule(job=jobs)
    def abort(self, job: str) -> None:
        before = self.see(job)
        answer = self.uws.post(f"{job}/phase", {"PHASE": "ABORT"})
        if before in ("PENDING", "ABORTED"):
            assert answer.status_code == 303
            self.model[job] = "ABORTED"
        elif before in ACTIVE and answer.status_code == 303:
            self.model[job] = "ABORTED"
        else:  # it had ended, or ended between the two requests
            assert answer.status_code == 403
            assert self.see(job) in ("COMPLETED", "ERROR")
        self.see(job)

    @rule(job=jobs, name=st.sampled_from(["SECONDS", "EXIT", "tag"]), value=st.sampled_from(["0", "0.1", "3"]))
    def set_parameter(self, job: str, name: str, value: str) -> None:
        if name == "EXIT" and value == "0.1":
            return
        before = self.see(job)
        answer = self.uws.post(f"{job}/parameters", {name: value})
        assert answer.status_code == (303 if before == "PENDING" else 403)
        if before == "PENDING":
            self.parameters[job][name] = value

    @rule(job=jobs, seconds=st.sampled_from(["5", "0", "-1", "x", "60"]))
    def set_duration(self, job: str, seconds: str) -> None:
        before = self.see(job)
        status = self.uws.post(f"{job}/executionduration", {"EXECUTIONDURATION": seconds}).status_code
        if seconds in ("-1", "x"):
            assert status == 400
        elif before in ("COMPLETED", "ERROR", "ABORTED"):
            assert status == 403
        else:
            assert status == 303 or (status == 403 and self.see(job) in ("COMPLETED", "ERROR"))

    @rule(job=jobs, word=st.sampled_from(["FOO", "COMPLETED", "", "QUEUED"]))
    def nonsense_phase(self, job: str, word: str) -> None:
        before = self.see(job)
        assert self.uws.post(f"{job}/phase", {"PHASE": word}).status_code == 400
        assert self.see(job) in MOVES[before]

    @rule(job=jobs)
    def wait(self, job: str) -> None:
        before = self.see(job)
        if before in ACTIVE:
            self.uws.document(job, f"?WAIT=2&PHASE={before}")
            self.see(job)

    @rule(job=jobs)
    def read(self, job: str) -> None:
        before = self.see(job)
        document = self.uws.document(job)
        assert document.findtext("{*}phase") in MOVES[before]
        assert self.uws.get(f"{job}/error").status_code in ((200,) if before in ("ERROR", "ABORTED") else (200, 404))

    @rule(job=consumes(jobs), method=st.sampled_from(["DELETE", "ACTION"]))
    def delete(self, job: str, method: str) -> None:
        answer = self.uws.request("DELETE", job) if method == "DELETE" else self.uws.post(job, {"ACTION": "DELETE"})
        assert answer.status_code == 303
        del self.model[job]
        for verb, url in (("GET", job), ("GET", f"{job}/phase"), ("POST", f"{job}/phase"), ("DELETE", job)):
            assert self.uws.request(verb, url, data={"PHASE": "RUN"} if verb == "POST" else None).status_code == 404

    @rule(target=jobs)
    def nothing(self) -> object:
        return multiple()

    @invariant()
    def the_list_agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        listed = {ref.get("id"): ref.findtext("{*}phase") for ref in self.uws.listed()}
        for job, phase in self.model.items():
            assert listed[job_id(job)] in MOVES[phase]


def test_no_difference_from_the_model(server: Server) -> None:
    """Any order of commands is handled (U-101, U-102, U-103)."""

    class Bound(Life):
        pass

    Bound.server = server
    Bound.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=25,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    case = Bound.TestCase()
    case.runTest()
