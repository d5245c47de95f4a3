"""Usage records in the store: written at the end of attempts, read by month.

Each is written in the transaction that closes its attempt (`Attempts.put`). Nothing changes a record afterwards but the
rules of retention: old months lose the names of owners, older ones go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, case, delete, func, insert, literal_column, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.accounting import SUMMED
from uws_service.domain.usage_record import RECORD_COLUMNS, UsageRecord, month_text, next_month
from uws_service.store.account_tables import PublicationRow, UsageMethodRow, UsageRecordRow
from uws_service.store.database import Database, Query, Row, Transaction
from uws_service.store.sqlite import SQLite

p = bindparam
_record: Any = UsageRecordRow.__table__.c  # type: ignore[attr-defined]
_method: Any = UsageMethodRow.__table__.c  # type: ignore[attr-defined]
_publication: Any = PublicationRow.__table__.c  # type: ignore[attr-defined]
_COLUMNS = [_record[name] for name in RECORD_COLUMNS]
_KEY = (_record.month, _record.job_id, _record.number, _record.serial)
_VALUES = tuple(f"r_{name}" for name in RECORD_COLUMNS)
DAY_MS = 86_400_000
SUMS_PAGE = 2000

INSERT_RECORD = Query(insert(UsageRecordRow).values(dict(zip(RECORD_COLUMNS, map(p, _VALUES), strict=True))))
OF_ATTEMPT = Query(
    select(*_COLUMNS)
    .where(_record.month == p("in_month"), _record.job_id == p("of_job"), _record.number == p("of_number"))
    .order_by(_record.serial)
)
OF_JOB = Query(
    select(*_COLUMNS)
    .where(_record.month >= p("since"), _record.month <= p("until"), _record.job_id == p("of_job"))
    .order_by(_record.number, _record.serial)
)
PAGE = Query(
    select(*_COLUMNS)
    .where(_record.month == p("in_month"), tuple_(*_KEY[1:]) > tuple_(p("last_id"), p("last_number"), p("last_serial")))
    .order_by(*_KEY)
    .limit(p("page", required=True))
)
MONTH_STATE = Query(select(func.count(), func.max(_record.recorded)).where(_record.month == p("in_month")))
MONTHS = Query(select(_record.month).where(_record.month > p("after")).order_by(_record.month).limit(p("page", 1)))
HIDE_OWNERS = Query(
    update(UsageRecordRow).where(_record.month == p("in_month"), _record.owner == p("before")).values(owner=p("hidden"))
)
OWNERS = Query(select(_record.owner).where(_record.month == p("in_month")).distinct())
DELETE_MONTH = Query(delete(UsageRecordRow).where(_record.month == p("in_month")))


def _insert_method(kind: Any) -> Any:
    statement = kind.insert(UsageMethodRow).values({"id": p("v_id"), "content": p("v_content")})
    return statement.on_conflict_do_nothing(index_elements=["id"])


INSERT_METHOD = Query(_insert_method(sqlite), _insert_method(postgresql))
METHODS = Query(select(_method.id, _method.content))
_PUBLISHED = ("target", "month", "records", "latest", "digest", "published")


def _put_publication(kind: Any) -> Any:
    statement = kind.insert(PublicationRow).values({name: p(f"v_{name}") for name in _PUBLISHED})
    new = {name: statement.excluded[name] for name in _PUBLISHED[2:]}
    return statement.on_conflict_do_update(index_elements=["target", "month"], set_=new)


PUT_PUBLICATION = Query(_put_publication(sqlite), _put_publication(postgresql))
PUBLICATIONS = Query(select(*[_publication[name] for name in _PUBLISHED]).where(_publication.target == p("of_target")))

_OUTCOME = case((_record.reason == literal_column("''"), literal_column("'Completed'")), else_=_record.reason)
DIMENSIONS: Mapping[str, Any] = {
    "owner": _record.owner,
    "group": _record.group,
    "project": _record.project,
    "application": _record.application,
    "site": _record.site,
    "kind": _record.kind,
    "outcome": _OUTCOME,
    "waste": _record.waste,
    "month": _record.month,
    "day": _record.ended - _record.ended % literal_column(str(DAY_MS)),
    "currency": _record.currency,
    "started": _record.started.is_not(None),
    "processors": _record.processors,
    "benchmark": _record.benchmark,
    "benchmark_value": _record.benchmark_value,
}
"""What sums can be split by."""
FILTERS: Mapping[str, Any] = {
    name: DIMENSIONS[name]
    for name in ("owner", "group", "project", "application", "site", "kind", "outcome", "waste", "started")
}


def _sum(column: Any) -> Any:
    return func.sum(column)


def _first(column: Any) -> Any:
    """Return a sum over the records of attempts alone, without corrections."""
    return func.sum(case((column, literal_column("1")), else_=literal_column("0")))


_ORIGINAL = _record.serial == literal_column("0")
_WASTED = _record.waste != literal_column("''")
MEASURES: Mapping[str, Any] = {
    "jobs": _first(and_(_ORIGINAL, _record.number == literal_column("1"))),
    "attempts": _first(_ORIGINAL),
    **{
        name: _sum(_record[name])
        for name in SUMMED
    },
    "wasted_core_ms": _sum(case((_WASTED, _record.core_ms), else_=literal_column("0"))),
    "wasted_energy_mwh": _sum(case((_WASTED, _record.energy_mwh))),
    "wasted_co2e_ug": _sum(case((_WASTED, _record.co2e_ug))),
    "peak_memory": func.max(_record.peak_memory),
    "earliest_end": func.min(_record.ended),
    "latest_end": func.max(_record.ended),
}  # fmt: skip
"""What is summed up, but for the peak of memory and the ends."""


@lru_cache(256)
def sums_query(
    by: tuple[str, ...],
    filters: tuple[tuple[str, int], ...],
    limit: bool = False,
    measures: tuple[str, ...] = tuple(MEASURES),
    whole_months: bool = False,
) -> Query:
    """Return the statement of sums: a group for each combination of dimensions.

    Parameters
    ----------
    filters
        Names of `FILTERS`, each with the number of values that are allowed.
    measures
        What is summed up: each costs time for each record.
    whole_months
        Whether all records of the months count: their instants are not looked at, and the groups come in any order.
    """
    dimensions = [DIMENSIONS[name].label(f"by_{name}") for name in by]
    terms = [_record.month >= p("since_month"), _record.month <= p("until_month")]
    if not whole_months:
        terms += [_record.ended >= p("since"), _record.ended < p("until")]
    for name, count in filters:
        terms.append(FILTERS[name].in_([p(f"{name}_{index}") for index in range(count)]))
    statement = select(*dimensions, *(MEASURES[name] for name in measures)).where(*terms)
    if dimensions:
        labels: list[Any] = [literal_column(f"by_{name}") for name in by]
        statement = statement.group_by(*labels)
        if not whole_months:
            statement = statement.order_by(*labels)
    return Query(statement.limit(p("page", required=True)) if limit else statement)


class Sum(NamedTuple):
    """A sum of records.

    The values that it is split by, and the `MEASURES` by name.
    """

    key: tuple[Any, ...]
    values: Mapping[str, int | None]


class MonthState(NamedTuple):
    """How many records a month has, and the instant of the latest."""

    records: int
    latest: int


class Publication(NamedTuple):
    """What was last published of a month to a target."""

    target: str
    month: int
    records: int
    latest: int
    digest: str
    published: int


def record_values(record: UsageRecord) -> dict[str, Any]:
    """Return a record as parameters of its insertion."""
    return dict(zip(_VALUES, record, strict=True))


def record_of(row: Row) -> UsageRecord:
    """Return the record of `RECORD_COLUMNS`."""
    return UsageRecord._make(row)


def put_record(tx: Transaction, record: UsageRecord) -> None:
    """Insert a record within a transaction."""
    tx.change(INSERT_RECORD, record_values(record))


def records_of(tx: Transaction, month: int, job_id: str, number: int) -> list[UsageRecord]:
    """Return the records of an attempt within a transaction, the corrections last."""
    return [record_of(row) for row in tx.rows(OF_ATTEMPT, {"in_month": month, "of_job": job_id, "of_number": number})]


class UsageStore:
    """The usage records of all attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def month(self, month: int, page: int = 1000) -> AsyncIterator[list[UsageRecord]]:
        """Yield pages of a month's records, by attempt, each followed by its corrections."""
        last: dict[str, Any] = {"last_id": "", "last_number": 0, "last_serial": 0}
        while True:
            rows = await self._database.read(PAGE, {"in_month": month, "page": page, **last})
            records = [record_of(row) for row in rows]
            if records:
                yield records
            if len(records) < page:
                return
            final = records[-1]
            last = {"last_id": final.job_id, "last_number": final.number, "last_serial": final.serial}

    async def of_job(self, job_id: str, since_month: int, until_month: int) -> list[UsageRecord]:
        """Return the records of a job that ended in these months, by attempt."""
        params = {"of_job": job_id, "since": since_month, "until": until_month}
        return [record_of(row) for row in await self._database.read(OF_JOB, params)]

    async def sums(
        self,
        by: Sequence[str],
        *,
        months: tuple[int, int],
        instants: tuple[int, int],
        filters: Mapping[str, Sequence[Any]] | None = None,
        limit: int | None = None,
    ) -> list[Sum]:
        """Return sums over records that ended in [since, until), split by `DIMENSIONS`; see `sums_query`."""
        params: dict[str, Any] = {
            "since_month": months[0], "until_month": months[1], "since": instants[0], "until": instants[1],
        }  # fmt: skip
        kinds = []
        for name, values in (filters or {}).items():
            kinds.append((name, len(values)))
            params |= {f"{name}_{index}": value for index, value in enumerate(values)}
        if limit is not None:
            params["page"] = limit
        query = sums_query(tuple(by), tuple(kinds), limit is not None)
        return [_sum_of(row, len(by), MEASURES) for row in await self._database.read(query, params)]

    async def month_sums(self, month: int, by: Sequence[str], measures: Sequence[str]) -> AsyncIterator[list[Sum]]:
        """Yield pages of sums over a month's attempts that have started, split by `DIMENSIONS`, in any order."""
        query = sums_query(tuple(by), (("started", 1),), measures=tuple(measures), whole_months=True)
        params = {"since_month": month, "until_month": month, "started_0": True}
        async for rows in self._database.pages(query, params, SUMS_PAGE):
            yield [_sum_of(row, len(by), measures) for row in rows]

    async def months(self) -> list[int]:
        """Return the months that have records, in order."""
        months: list[int] = []
        while rows := await self._database.read(MONTHS, {"after": months[-1] if months else 0}):
            months.append(rows[0][0])
        return months

    async def state(self, month: int) -> MonthState:
        """Return how many records a month has now, and the instant of the latest."""
        count, latest = (await self._database.read(MONTH_STATE, {"in_month": month}))[0]
        return MonthState(int(count), int(latest or 0))

    async def declare_methods(self, methods: Mapping[str, str]) -> None:
        """Store how energy is estimated from now on, by the ids that records have (N-009)."""
        if methods:

            def operation(tx: Transaction) -> None:
                for name, content in sorted(methods.items()):
                    tx.change(INSERT_METHOD, {"v_id": name, "v_content": content})

            await self._database.write(operation)

    async def methods(self) -> dict[str, str]:
        """Return the JSON of methods by id."""
        return {row[0]: row[1] for row in await self._database.read(METHODS, {})}

    async def publications(self, target: str) -> dict[int, Publication]:
        """Return what was last published to a target, by month."""
        rows = await self._database.read(PUBLICATIONS, {"of_target": target})
        return {row[1]: Publication(*row) for row in rows}

    async def put_publication(self, publication: Publication) -> None:
        """Remember what was published of a month (ACC-044)."""
        values = {f"v_{name}": value for name, value in publication._asdict().items()}
        await self._change(PUT_PUBLICATION, values)

    # --- retention ------------------------------------------------------------------------------------------------

    async def hide_owners(self, month: int, hidden: Callable[[str], str]) -> int:
        """Replace the owners in a month's records by what hides them; return the number of changed records."""
        owners = [row[0] for row in await self._database.read(OWNERS, {"in_month": month})]
        pairs = [(owner, hidden(owner)) for owner in owners if owner and hidden(owner) != owner]
        changed = 0
        for owner, replacement in pairs:
            changed += await self._change(HIDE_OWNERS, {"in_month": month, "before": owner, "hidden": replacement})
        return changed

    async def delete_month(self, month: int) -> int:
        """Delete a month's records; return their number."""
        return await self._change(DELETE_MONTH, {"in_month": month})

    async def _change(self, query: Query, params: Mapping[str, Any]) -> int:
        return await self._database.write(lambda tx: tx.change(query, params))

    async def prepare_partitions(self, month: int, count: int = 3) -> None:
        """Make the partitions of a month and those after it; only PostgreSQL has any.

        Records of a month without one go to the partition ``usage_record_other``.
        """
        if isinstance(self._database, SQLite):
            return
        for _ in range(count):
            await self._database.write(partial(_make_partition, month))
            month = next_month(month)


_PARTITION = Query(text("SELECT to_regclass(:name) IS NOT NULL"), text("SELECT to_regclass(:name) IS NOT NULL"))
_STRAYS = Query(text("SELECT count(*) FROM usage_record WHERE month = :in_month"))


def _make_partition(month: int, tx: Transaction) -> None:
    """Make a month's partition unless it is there, or records of the month lie elsewhere already."""
    name = f"usage_record_{month}"
    if tx.rows(_PARTITION, {"name": name})[0][0] or tx.rows(_STRAYS, {"in_month": month})[0][0]:
        return
    month_text(month)  # refuses what is no month: the name below stands in the statement
    tx.change(Query(text("SELECT pg_advisory_xact_lock(875311)")), {})
    bounds = f"FROM ({int(month)}) TO ({int(next_month(month))})"
    tx.change(Query(text(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF usage_record FOR VALUES {bounds}")), {})


def _sum_of(row: Row, size: int, measures: Iterable[str]) -> Sum:
    figures = dict(zip(measures, row[size:], strict=True))
    return Sum(tuple(row[:size]), {name: None if value is None else int(value) for name, value in figures.items()})
