"""Sites that only call out: the sessions of their runners, the orders for them, and what they have reported.

A site has one session at a time. It begins with a new epoch, and holds a lease by the database's clock; whatever comes
from an earlier one is refused. An order is numbered, and open until the runner says that it is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, literal_column, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.errors import Conflict
from uws_service.store.database import Database, Query, Row, Transaction
from uws_service.store.sites import CLOCK, now_of
from uws_service.store.tables import AttemptRow, RemoteAttemptRow, RunnerRow

p = bindparam
Key = tuple[str, int]
"""Job id and number of an attempt."""
RUN, KILL, FORGET = "run", "kill", "forget"
"""What a runner is to do with an attempt."""
_runner: Any = RunnerRow.__table__.c  # type: ignore[attr-defined]
_remote: Any = RemoteAttemptRow.__table__.c  # type: ignore[attr-defined]
_attempt: Any = AttemptRow.__table__.c  # type: ignore[attr-defined]
_FALSE: Any = literal_column("false")
_TRUE: Any = literal_column("true")
_ZERO: Any = literal_column("0")


class RunnerState(NamedTuple):
    """The session of a site's runner.

    Instants in milliseconds by the database's clock.
    """

    runner: str
    host: str
    bound: bool
    epoch: int
    sequence: int
    orders: int
    stamp: int
    contact: int
    until: int
    complete: bool
    problem: str
    announced: str
    now: int
    """When this was read."""


_STATE_COLUMNS = RunnerState._fields[:-1]


class Session(NamedTuple):
    """What a runner says when it asks for the site."""

    runner: str
    host: str
    bound: bool
    announced: str


class Order(NamedTuple):
    """What a runner is to do with an attempt."""

    job_id: str
    number: int
    verb: str
    order: int
    launch: str | None


class RemoteAttempt(NamedTuple):
    """What is known of an attempt at such a site."""

    job_id: str
    number: int
    verb: str
    done: bool
    report: str | None
    absent: bool


class RunnerReport(NamedTuple):
    """What a runner reports at a time, by attempt."""

    sequence: int
    done: Mapping[Key, int]
    """The orders that it has carried out, by their numbers."""
    reports: Mapping[Key, str]
    """What has changed, as JSON."""
    absent: Sequence[Key]
    """What it had, and sees no more."""
    present: Sequence[Key] | None
    """All that are at the site, at the end of a session's first reports; else None."""
    problem: str = ""
    """Why the runner can't see its site now."""


class Fenced(Conflict):
    """The session is over.

    Another one speaks for the site.
    """


def _insert_runner(kind: Any) -> Any:
    zeros = dict.fromkeys(("epoch", "sequence", "orders", "stamp", "contact", "until"), _ZERO)
    texts: dict[str, Any] = {name: literal_column("''") for name in ("runner", "host", "problem")}
    flags = {"bound": _FALSE, "complete": _FALSE}
    values = {"site": p("site"), "announced": literal_column("'{}'"), **texts, **flags, **zeros}
    return kind.insert(RunnerRow).values(values).on_conflict_do_nothing(index_elements=["site"])


def _insert_attempt(kind: Any) -> Any:
    values = {
        "site": p("site"),
        "job_id": p("job_id"),
        "number": p("number"),
        "verb": p("verb"),
        "order": p("order"),
        "done": _FALSE,
        "launch": p("launch"),
        "absent": _FALSE,
        "log_until": _ZERO,
    }
    keys = ["site", "job_id", "number"]
    return kind.insert(RemoteAttemptRow).values(values).on_conflict_do_nothing(index_elements=keys)


_KEY = and_(_remote.site == p("at"), _remote.job_id == p("job"), _remote.number == p("attempt"))
_STATE = select(*(_runner[name] for name in _STATE_COLUMNS)).where(_runner.site == p("at"))
STATE = Query(_STATE)
LOCKED_STATE = Query(_STATE, _STATE.with_for_update())
INSERT_RUNNER = Query(_insert_runner(sqlite), _insert_runner(postgresql))
TAKE = Query(
    update(RunnerRow)
    .where(_runner.site == p("at"))
    .values(
        runner=p("v_runner"),
        host=p("v_host"),
        bound=p("v_bound"),
        announced=p("v_announced"),
        epoch=_runner.epoch + literal_column("1"),
        stamp=_runner.stamp + literal_column("1"),
        sequence=_ZERO,
        contact=p("now"),
        until=p("v_until"),
        complete=_FALSE,
        problem=literal_column("''"),
    )
)
_OURS = and_(_runner.site == p("at"), _runner.runner == p("v_runner"), _runner.epoch == p("v_epoch"))
RENEW = Query(update(RunnerRow).where(_OURS).values(contact=p("now"), until=p("v_until")))
RELEASE = Query(update(RunnerRow).where(_OURS).values(until=_ZERO, complete=_FALSE))
REPORTED = Query(
    update(RunnerRow)
    .where(_OURS)
    .values(
        contact=p("now"),
        until=p("v_until"),
        sequence=p("v_sequence"),
        stamp=_runner.stamp + literal_column("1"),
        complete=p("v_complete"),
        problem=p("v_problem"),
    )
)
COUNT_ORDER = Query(
    update(RunnerRow).where(_runner.site == p("at")).values(orders=_runner.orders + literal_column("1"))
)
LAST_ORDER = Query(select(_runner.orders).where(_runner.site == p("at")))
INSERT_ATTEMPT = Query(_insert_attempt(sqlite), _insert_attempt(postgresql))
ATTEMPT = Query(select(_remote.verb, _remote.done, _remote.absent, _remote.report).where(_KEY))
REORDER = Query(
    update(RemoteAttemptRow).where(_KEY).values(verb=p("v_verb"), order=p("v_order"), done=_FALSE, absent=_FALSE)
)
DROP_LAUNCH = Query(update(RemoteAttemptRow).where(_KEY).values(launch=null()))
DONE = Query(update(RemoteAttemptRow).where(_KEY, _remote.order == p("v_order")).values(done=_TRUE))
DELETE_FORGOTTEN = Query(
    RemoteAttemptRow.__table__.delete().where(  # type: ignore[attr-defined]
        _KEY, _remote.done.is_(True), _remote.verb == literal_column(f"'{FORGET}'")
    )
)
PUT_REPORT = Query(update(RemoteAttemptRow).where(_KEY).values(report=p("v_report"), absent=_FALSE))
MARK_ABSENT = Query(update(RemoteAttemptRow).where(_KEY, _remote.done.is_(True)).values(report=null(), absent=_TRUE))
KEYS = Query(select(_remote.job_id, _remote.number).where(_remote.site == p("at"), _remote.done.is_(True)))
ORDERS = Query(
    select(_remote.job_id, _remote.number, _remote.verb, _remote.order, _remote.launch)
    .where(_remote.site == p("at"), _remote.done.is_(False), _remote.order > p("after"))
    .order_by(_remote.order)
    .limit(p("page", required=True))
)
ATTEMPTS = Query(
    select(_remote.job_id, _remote.number, _remote.verb, _remote.done, _remote.report, _remote.absent).where(
        _remote.site == p("at")
    )
)
LAUNCH = Query(select(_remote.launch).where(_KEY))
REPORT = Query(select(_remote.report).where(_KEY))
READERS = Query(
    select(_remote.job_id, _remote.number)
    .where(_remote.site == p("at"), _remote.log_until > p("now"))
    .limit(p("page", required=True))
)
READ_LOG = Query(update(RemoteAttemptRow).where(_KEY).values(log_until=p("v_until")))
OPEN = Query(
    select(func.count()).where(
        _attempt.site == p("at"), _attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")])
    )
)


class RunnerStore:
    """The runners of sites that only call out, and the attempts there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- the runner's side -----------------------------------------------------------------------------------------

    async def open(self, site: str, session: Session, ttl_ms: int, lost_ms: int) -> RunnerState | str:
        """Begin a session.

        Return it, or why it can't be had.

        The runner of the same folder gets it at once. Another one gets it when the lease has run out; if jobs belong
        to the former runner's machine, also not while any of them may run there, unless it was silent for ``lost_ms``.
        """

        def operation(tx: Transaction) -> RunnerState | str:
            tx.change(INSERT_RUNNER, {"site": site})
            state = _state(tx, site)
            if state.runner not in ("", session.runner):
                if state.until > state.now:
                    return f"another runner, on {state.host or 'another machine'}, speaks for it"
                is_bound = state.bound or session.bound
                if is_bound and state.now - state.contact < lost_ms and tx.rows(OPEN, {"at": site})[0][0]:
                    return f"jobs of the runner on {state.host or 'another machine'}, which is gone, may still run"
            values = {f"v_{name}": value for name, value in session._asdict().items()}
            tx.change(TAKE, {"at": site, "now": state.now, "v_until": state.now + ttl_ms, **values})
            return _state(tx, site)

        return await self._database.write(operation)

    async def renew(self, site: str, runner: str, epoch: int, ttl_ms: int) -> None:
        """Keep the site for a session.

        Raise `Fenced` if it is over.
        """

        def operation(tx: Transaction) -> None:
            now = now_of(tx)
            values = {"at": site, "v_runner": runner, "v_epoch": epoch, "now": now, "v_until": now + ttl_ms}
            if tx.change(RENEW, values) != 1:
                raise _fenced(site)

        await self._database.write(operation)

    async def release(self, site: str, runner: str, epoch: int) -> None:
        """End a session.

        Another runner may have the site at once.
        """
        values = {"at": site, "v_runner": runner, "v_epoch": epoch}
        await self._database.write(lambda tx: tx.change(RELEASE, values))

    async def report(self, site: str, runner: str, epoch: int, report: RunnerReport, ttl_ms: int) -> list[Key]:
        """Record a report.

        Return the attempts in it that nobody has sent to this site.

        Raises
        ------
        Fenced
            The session is over.
        Conflict
            A later report was recorded already.
        """

        def operation(tx: Transaction) -> list[Key]:
            state = _state(tx, site)
            if (state.runner, state.epoch) != (runner, epoch):
                raise _fenced(site)
            if report.sequence < state.sequence:
                raise Conflict(f"The report {report.sequence} comes after the report {state.sequence}.")
            foreign = self._record(tx, site, report)
            values = {"at": site, "v_runner": runner, "v_epoch": epoch, "now": state.now}
            complete = report.present is not None or (state.complete and not report.problem)
            after = {"v_until": state.now + ttl_ms, "v_sequence": report.sequence, "v_complete": complete}
            tx.change(REPORTED, {**values, **after, "v_problem": report.problem})
            return foreign

        return await self._database.write(operation)

    @staticmethod
    def _record(tx: Transaction, site: str, report: RunnerReport) -> list[Key]:
        foreign: list[Key] = []
        for key, order in report.done.items():
            tx.change(DONE, {**_key(site, key), "v_order": order})
            tx.change(DELETE_FORGOTTEN, _key(site, key))
        for key, text in report.reports.items():
            if tx.change(PUT_REPORT, {**_key(site, key), "v_report": text}) != 1:
                foreign.append(key)
        absent: Iterable[Key] = report.absent
        if report.present is not None:
            present = set(report.present)
            absent = [(row[0], row[1]) for row in tx.rows(KEYS, {"at": site}) if (row[0], row[1]) not in present]
        for key in absent:
            tx.change(MARK_ABSENT, _key(site, key))
        return foreign

    async def orders(self, site: str, after: int, limit: int) -> list[Order]:
        """Return the open orders with numbers above ``after``, in their order."""
        rows = await self._database.read(ORDERS, {"at": site, "after": after, "page": limit})
        return [Order(*row) for row in rows]

    async def readers(self, site: str, now: int, limit: int) -> list[Key]:
        """Return the attempts whose logs somebody reads now."""
        rows = await self._database.read(READERS, {"at": site, "now": now, "page": limit})
        return [(row[0], row[1]) for row in rows]

    # -- the service's side ----------------------------------------------------------------------------------------

    async def state(self, site: str) -> RunnerState | None:
        """Return the session of a site's runner.

        None: there was none yet.
        """
        rows = await self._database.read(STATE, {"at": site})
        return _state_of(rows[0], int((await self._database.read(CLOCK, {}))[0][0])) if rows else None

    async def run(self, site: str, key: Key, launch: str) -> bool:
        """Order that an attempt runs.

        False if it is ordered already and not known to be absent.
        """

        def operation(tx: Transaction) -> bool:
            rows = tx.rows(ATTEMPT, _key(site, key))
            if rows and not (rows[0][0] == RUN and rows[0][2]):
                return False
            order = _next_order(tx, site)
            if rows:
                tx.change(REORDER, {**_key(site, key), "v_verb": RUN, "v_order": order})
            else:
                row = {"site": site, "job_id": key[0], "number": key[1], "verb": RUN, "order": order, "launch": launch}
                tx.change(INSERT_ATTEMPT, row)
            return True

        return await self._database.write(operation)

    async def end(self, site: str, key: Key, verb: str) -> bool:
        """Order that an attempt is killed or forgotten.

        False if there is nothing to order.
        """

        def operation(tx: Transaction) -> bool:
            rows = tx.rows(ATTEMPT, _key(site, key))
            if not rows:
                return False
            current, done = rows[0][:2]
            if not done and current in (verb, FORGET):
                return False
            tx.change(REORDER, {**_key(site, key), "v_verb": verb, "v_order": _next_order(tx, site)})
            if verb == FORGET:
                tx.change(DROP_LAUNCH, _key(site, key))
            return True

        return await self._database.write(operation)

    async def launch(self, site: str, key: Key) -> str | None:
        """Return what an attempt runs, as JSON.

        None: nobody has sent it to this site, or it has ended.
        """
        rows = await self._database.read(LAUNCH, _key(site, key))
        return rows[0][0] if rows else None

    async def last_report(self, site: str, key: Key) -> str | None:
        """Return what the runner last said of an attempt, as JSON."""
        rows = await self._database.read(REPORT, _key(site, key))
        return rows[0][0] if rows else None

    async def attempts(self, site: str) -> list[RemoteAttempt]:
        """Return what is known of all attempts at a site."""
        rows = await self._database.read(ATTEMPTS, {"at": site})
        return [RemoteAttempt(row[0], row[1], row[2], bool(row[3]), row[4], bool(row[5])) for row in rows]

    async def read_log(self, site: str, key: Key, until: int) -> bool:
        """Note that somebody reads an attempt's log until an instant; False if it is not there."""
        return await self._database.write(lambda tx: tx.change(READ_LOG, {**_key(site, key), "v_until": until})) == 1


def _key(site: str, key: Key) -> dict[str, Any]:
    return {"at": site, "job": key[0], "attempt": key[1]}


def _state(tx: Transaction, site: str) -> RunnerState:
    rows = tx.rows(LOCKED_STATE, {"at": site})
    if not rows:
        raise _fenced(site)
    return _state_of(rows[0], now_of(tx))


def _state_of(row: Row, now: int) -> RunnerState:
    values = dict(zip(_STATE_COLUMNS, row, strict=True))
    return RunnerState(**{**values, "bound": bool(values["bound"]), "complete": bool(values["complete"])}, now=now)


def _next_order(tx: Transaction, site: str) -> int:
    tx.change(INSERT_RUNNER, {"site": site})
    tx.change(COUNT_ORDER, {"at": site})  # which locks the row: later numbers are committed later
    return int(tx.rows(LAST_ORDER, {"at": site})[0][0])


def _fenced(site: str) -> Fenced:
    return Fenced(f"This session is over: another one speaks for the site {site}.")
