"""A model of the protocol of attempts: a job, a cluster, agents, controllers, and whatever may go wrong.

What the service decides is decided by its own pure functions (`decide`, `decide_unreachable`, the life cycle of a job);
what its statements write is modelled here as `uws_service.store.attempts` has it. The cluster keeps the promises of
Kubernetes that the manifest asks for: one Job of a name, and no second pod of it before the first one is at its end.

Controllers act at the same time and without any lease, each on what it read some time ago: what is safe then is
safe with a lease. A hand-over arrives when it likes, or not at all; so do the words of agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from uws_service.domain.attempt import Attempt, AttemptState, Observation, Reason, Report, Seen
from uws_service.domain.decisions import decide, decide_unreachable
from uws_service.domain.job import FINAL, Action, Job, Phase, allowed_actions, apply

ATTEMPTS = 2
"""What the application allows."""
PODS = 2
"""Of one attempt, one after the other."""
UNKNOWN_MS, LOST_MS = 60, 600
NOW = 10**6
"""Milliseconds; every patience is at its end."""
ABSENCES = (UNKNOWN_MS, LOST_MS)


class Pod(NamedTuple):
    """A pod: new, claimed, running, good or bad (its command has ended), over, lost."""

    name: str
    stage: str


class Row(NamedTuple):
    """An attempt's row."""

    state: AttemptState = AttemptState.WAITING
    wanted: bool = True
    claimed: str = ""
    report: str = ""
    """What the agent with the voice has reported: good, bad, or nothing."""


class Place(NamedTuple):
    """What there is of an attempt at the cluster."""

    job: bool = False
    deleting: bool = False
    pods: tuple[Pod, ...] = ()
    coming: bool = False
    """A hand-over is on its way."""


class Intent(NamedTuple):
    """What a controller has decided on what it read, and not carried out yet."""

    number: int
    step: str
    """The name of its class."""
    voice: str
    """The pod that spoke for the attempt then."""
    report: str
    """What that pod had reported."""


LIVE = ("claimed", "running")
UNGUARDED = ("Submit", "Kill", "Close")
"""Steps that do not depend on the version of the job's row."""
_CLOSED = Row(AttemptState.CLOSED, wanted=False)


class World(NamedTuple):
    """A state."""

    phase: Phase | None = Phase.QUEUED
    """None: the job was deleted."""
    rows: tuple[Row, ...] = (Row(),)
    places: tuple[Place, ...] = (Place(),)
    intents: tuple[Intent | None, ...] = (None,)
    winner: tuple[int, str] | None = None
    """The attempt and the pod whose results the job has."""

    def with_row(self, number: int, row: Row) -> World:
        rows = (*self.rows[: number - 1], row, *self.rows[number:])
        return self._replace(rows=rows)

    def with_place(self, number: int, place: Place) -> World:
        return self._replace(places=(*self.places[: number - 1], place, *self.places[number:]))

    def with_phase(self, phase: Phase | None) -> World:
        """Write the job's row: whatever was decided on an older version is void."""
        intents = tuple(intent if intent and intent.step in UNGUARDED else None for intent in self.intents)
        return self._replace(phase=phase, intents=intents)

    @property
    def normal(self) -> World:
        """Return the same state without what matters to nobody any more: the details of attempts that are closed."""
        rows, places = list(self.rows), list(self.places)
        for index, row in enumerate(rows):
            if row.state is AttemptState.CLOSED:
                rows[index] = _CLOSED
                live = any(pod.stage in LIVE for pod in places[index].pods)
                places[index] = places[index]._replace(pods=(Pod("x", "running"),) if live else ())
        intents = sorted(self.intents, key=repr)  # controllers have no names
        return self._replace(rows=tuple(rows), places=tuple(places), intents=tuple(intents))

    @property
    def is_over(self) -> bool:
        """Return whether all is decided and nothing is left anywhere."""
        ended = self.phase is None or self.phase in FINAL
        closed = all(row.state is AttemptState.CLOSED for row in self.rows)
        return ended and closed and all(place == Place() for place in self.places) and not any(self.intents)


def start(controllers: int) -> World:
    """Return the world after RUN."""
    return World(intents=(None,) * controllers)


Move = tuple[str, World]


def moves(world: World) -> Iterator[Move]:
    """Yield what may happen next, with the state after it."""
    yield from _client(world)
    for number in range(1, len(world.rows) + 1):
        yield from _cluster(world, number)
        yield from _agents(world, number)
    for controller in range(len(world.intents)):
        yield from _controller(world, controller)


def _client(world: World) -> Iterator[Move]:
    if world.phase is None:
        return
    unwanted = tuple(row._replace(wanted=False) for row in world.rows)
    if Action.ABORT in allowed_actions(world.phase):
        yield "abort", world._replace(rows=unwanted).with_phase(Phase.ABORTED)
    yield "delete", world._replace(rows=unwanted).with_phase(None)


# --- the cluster and its agents -----------------------------------------------------------------------------------

_OVER = ("over", "lost")


def _cluster(world: World, number: int) -> Iterator[Move]:
    place = world.places[number - 1]
    if place.coming:
        arrived = place._replace(coming=False, job=True) if not place.deleting else place._replace(coming=False)
        yield f"hand-over of {number} arrives", world.with_place(number, arrived)
        yield f"hand-over of {number} is lost", world.with_place(number, place._replace(coming=False))
    last = place.pods[-1] if place.pods else None
    at_end = last is None or last.stage in _OVER
    by_itself = any(pod.stage == "over" for pod in place.pods)  # it is not replaced
    if place.job and not place.deleting and at_end and not by_itself and len(place.pods) < PODS:
        pods = (*place.pods, Pod("ab"[len(place.pods)], "new"))
        yield f"pod {pods[-1].name} of {number}", world.with_place(number, place._replace(pods=pods))
    if last is not None and last.stage not in _OVER:
        yield f"pod {last.name} of {number} is lost", _with_stage(world, number, "lost")
    if place.deleting and at_end:
        yield f"{number} is gone", world.with_place(number, Place(coming=place.coming))
    if place.job and not place.deleting:
        yield f"somebody deletes {number}", world.with_place(number, place._replace(deleting=True))


def _with_stage(world: World, number: int, stage: str) -> World:
    place = world.places[number - 1]
    return world.with_place(number, place._replace(pods=(*place.pods[:-1], place.pods[-1]._replace(stage=stage))))


def _agents(world: World, number: int) -> Iterator[Move]:
    place, row = world.places[number - 1], world.rows[number - 1]
    if not place.pods:
        return
    pod = place.pods[-1]
    match pod.stage:
        case "new":
            in_turn = world.phase not in (Phase.EXECUTING, Phase.UNKNOWN) or row.claimed in ("", pod.name)
            if world.phase is not None and in_turn and row.state is not AttemptState.CLOSED and row.wanted:
                report = row.report if row.claimed == pod.name else ""
                claimed = world.with_row(number, row._replace(claimed=pod.name, report=report))
                yield f"{pod.name} of {number} claims", _with_stage(claimed, number, "claimed")
            if world.phase is None or row.state is AttemptState.CLOSED or not row.wanted:
                yield f"{pod.name} of {number} is refused", _with_stage(world, number, "lost")
        case "claimed":
            yield f"the command of {number} starts", _with_stage(world, number, "running")
        case "running":
            yield f"the command of {number} ends well", _with_stage(world, number, "good")
            yield f"the command of {number} fails", _with_stage(world, number, "bad")
        case "good" | "bad" if row.state is not AttemptState.CLOSED:
            after = world
            if world.phase is not None and row.claimed == pod.name:
                after = world.with_row(number, row._replace(report=pod.stage))
                yield f"{pod.name} of {number} reports", after
            if after is world or row.report == pod.stage:
                yield f"the agent of {number} ends", _with_stage(world, number, "over")


def observed(place: Place, report: str, number: int) -> Observation | None:
    """Return what the cluster shows of an attempt, as `sites.kubernetes.verdict` reads it."""
    key = "j", number
    if not place.job and not place.pods:
        return None
    ended = [pod for pod in place.pods if pod.stage in ("good", "bad", "over")]
    pods_ended = all(pod.stage in _OVER for pod in place.pods)
    if ended:
        well = ended[-1].stage == "good" or (ended[-1].stage == "over" and report != "bad")
        if well:
            return Observation(*key, Seen.SUCCEEDED, started=1, ended=2, exit_code=0, reports=True, gone=pods_ended)
        return Observation(
            *key, Seen.FAILED, started=1, ended=2, reason=Reason.EXIT_CODE, reports=True, gone=pods_ended
        )
    if place.deleting and pods_ended:
        return Observation(*key, Seen.FAILED, reason=Reason.DELETED, reports=True, gone=True)
    pod = place.pods[-1] if place.pods else None
    if pod is not None and pod.stage == "lost":
        if len(place.pods) < PODS:
            return Observation(*key, Seen.SUSPENDED, waiting="put back", reports=True)
        return Observation(*key, Seen.FAILED, reason=Reason.NODE_LOST, reports=True, gone=True)
    if pod is not None and pod.stage == "running":
        return Observation(*key, Seen.RUNNING, started=1, reports=True)
    return Observation(*key, Seen.STARTING, waiting="a place", reports=True)


# --- controllers --------------------------------------------------------------------------------------------------


@cache
def _job(phase: Phase | None) -> Job | None:
    return Job("j", "app", None, phase, created=0, duration=0, destruction=None) if phase is not None else None


@cache
def _steps(phase: Phase | None, row: Row, place: Place, number: int) -> tuple[str, ...]:
    """Return what a controller may decide, whether the site answers or has been silent for some time."""
    job, attempt = _job(phase), _attempt(row, number)
    steps = [decide(job, attempt, observed(place, row.report, number), NOW, attempts=ATTEMPTS)]
    steps += [
        decide_unreachable(job, attempt, 0, absence, attempts=ATTEMPTS, unknown_ms=UNKNOWN_MS, lost_ms=LOST_MS)
        for absence in ABSENCES
    ]
    return tuple(dict.fromkeys(type(step).__name__ for step in steps if step is not None))


def _attempt(row: Row, number: int) -> Attempt:
    reports = {"good": Report(), "bad": Report(reason=Reason.STAGE_OUT, message="no result"), "": None}
    return Attempt(
        "j",
        number,
        "a",
        "app",
        "",
        wanted=row.wanted,
        state=row.state,
        claimed=row.claimed,
        report=reports[row.report],
        started=1 if row.state is AttemptState.RUNNING else None,
    )


def _controller(world: World, controller: int) -> Iterator[Move]:
    intent = world.intents[controller]
    if intent is not None:
        idle = _with_intent(world, controller, None)
        yield f"controller {controller} is killed", idle
        yield f"controller {controller}: {intent.step} of {intent.number}", _done(idle, intent)
        return
    for number, row in enumerate(world.rows, 1):
        place = world.places[number - 1]
        if row.state is AttemptState.WAITING and row.wanted:
            yield f"{number} begins", world.with_row(number, row._replace(state=AttemptState.SUBMITTED))
            continue
        if row.state is AttemptState.CLOSED:
            if place != Place() and not place.deleting and place.job:
                yield f"what is left of {number} is removed", world.with_place(number, place._replace(deleting=True))
            continue
        for step in _steps(world.phase, row, place, number):
            decided = _with_intent(world, controller, Intent(number, step, row.claimed, row.report))
            yield f"controller {controller} decides {step} of {number}", decided


def _with_intent(world: World, controller: int, intent: Intent | None) -> World:
    return world._replace(intents=(*world.intents[:controller], intent, *world.intents[controller + 1 :]))


_ACTIONS = {
    "Execute": Action.EXECUTE,
    "Suspend": Action.SUSPEND,
    "Requeue": Action.REQUEUE,
    "Lose": Action.LOSE,
    "Stop": Action.STOP,
    "Complete": Action.COMPLETE,
    "Fail": Action.FAIL,
    "Retry": Action.REQUEUE,
}


def _done(world: World, intent: Intent) -> World:
    """Return the world after a step, which is written only if the job is as it was when the step was decided."""
    number, name = intent.number, intent.step
    row, place = world.rows[number - 1], world.places[number - 1]
    closed = world.with_row(number, row._replace(state=AttemptState.CLOSED, wanted=False))
    if name == "Kill":
        return world.with_place(number, place._replace(deleting=True)) if place.job else world
    if name == "Close":
        return closed
    if name == "Submit":
        proceeds = world.phase is not None and world.phase not in FINAL
        return world.with_place(number, place._replace(coming=True)) if proceeds and not place.job else world
    job = _job(world.phase)
    if job is None:
        return world
    if name == "Salvage":
        return closed.with_phase(job.phase)
    if name not in _ACTIONS:  # words in jobInfo: a new version of the row
        return world.with_phase(job.phase)
    action = _ACTIONS[name]
    phase = job.phase
    keeps = (name == "Execute" and phase is Phase.EXECUTING) or (name == "Retry" and phase is Phase.QUEUED)
    if not keeps:
        if action not in allowed_actions(phase):
            return world
        phase = apply(job, action, 3).phase
    if name == "Complete":
        return closed._replace(winner=(number, intent.voice)).with_phase(phase)
    if name == "Fail":
        return closed.with_phase(phase)
    if name == "Retry":
        return closed._replace(rows=(*closed.rows, Row()), places=(*closed.places, Place())).with_phase(phase)
    after = world.with_phase(phase)
    if name == "Execute" and row.state is not AttemptState.CLOSED:
        return after.with_row(number, row._replace(state=AttemptState.RUNNING))
    if name == "Stop":
        return after.with_row(number, row._replace(wanted=False))
    return after


# --- what must hold -----------------------------------------------------------------------------------------------


def faults(before: World, after: World) -> Iterator[str]:
    """Yield what must never be, in a state or between two."""
    for number, place in enumerate(after.places, 1):
        if sum(pod.stage in LIVE for pod in place.pods) > 1:
            yield f"attempt {number} has two live commands"
    if sum(row.state is not AttemptState.CLOSED for row in after.rows) > 1:
        yield "two attempts are open"
    if len(after.rows) > ATTEMPTS:
        yield "there are more attempts than allowed"
    if before.winner is not None and after.winner != before.winner:
        yield "results were replaced"
    if after.winner is not None and before.winner is None:
        number, voice = after.winner
        row = before.rows[number - 1]
        if row.state is AttemptState.CLOSED or not row.wanted:
            yield "the results are those of an attempt that was given up"
        # A later pod may have claimed since. Its command is ended as a leftover; the results are those of one agent.
        if (voice, "good") not in {(intent.voice, intent.report) for intent in before.intents if intent is not None}:
            yield "the results are not those that the agent with the voice has reported"
    if before.phase in FINAL and after.phase not in (before.phase, None):
        yield f"{before.phase} became {after.phase}"
    if (after.phase is Phase.COMPLETED) != (after.winner is not None) and after.phase is not None:
        yield "COMPLETED and results do not go together"
    for old, new in zip(before.rows, after.rows, strict=False):
        if old.state is AttemptState.CLOSED and new.state is not AttemptState.CLOSED:
            yield "a closed attempt was opened"
