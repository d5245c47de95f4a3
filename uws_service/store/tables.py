"""The tables: the schema's only truth, from which statements and migrations are made.

A job is one row; what belongs to it alone (parameters, results, error, notes) is JSON text in that row, so that a
job is read by one look-up and changed by one compare-and-set. Instants are milliseconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, false, text
from sqlmodel import Field, SQLModel


def _instant(*, nullable: bool = False) -> Column[int]:
    return Column(BigInteger, nullable=nullable)


class JobRow(SQLModel, table=True):
    """A UWS job."""

    __tablename__ = "job"
    __table_args__ = (
        # Lists of one owner, newest first, with and without a phase; the first column makes one index of NULLs too.
        Index(
            "job_list",
            "application",
            "owner_key",
            "created",
            "id",
            sqlite_where=text("listed IS 1"),
            postgresql_where=text("listed IS true"),
        ),
        Index(
            "job_list_phase",
            "application",
            "owner_key",
            "phase",
            "created",
            "id",
            sqlite_where=text("listed IS 1"),
            postgresql_where=text("listed IS true"),
        ),
        Index(
            "job_destruction",
            "destruction",
            sqlite_where=text("destruction IS NOT NULL AND phase != 'ARCHIVED'"),
            postgresql_where=text("destruction IS NOT NULL AND phase != 'ARCHIVED'"),
        ),
        Index("job_phases", "application", "phase"),
        # What has ended, the latest first.
        Index(
            "job_ended",
            "owner_key",
            "ended",
            "id",
            sqlite_where=text("ended IS NOT NULL"),
            postgresql_where=text("ended IS NOT NULL"),
        ),
        # Lists of one owner over all applications.
        Index(
            "job_all",
            "owner_key",
            "created",
            "id",
            sqlite_where=text("listed IS 1"),
            postgresql_where=text("listed IS true"),
        ),
        # The same, of one phase.
        Index(
            "job_all_phase",
            "owner_key",
            "phase",
            "created",
            "id",
            sqlite_where=text("listed IS 1"),
            postgresql_where=text("listed IS true"),
        ),
        # The jobs of one RUNID.
        Index(
            "job_run",
            "owner_key",
            "run_id",
            "created",
            "id",
            sqlite_where=text("run_id IS NOT NULL"),
            postgresql_where=text("run_id IS NOT NULL"),
        ),
        # What one owner has, for quotas, from the index alone.
        Index("job_owner", "owner_key", "phase", "stored"),
        Index(
            "job_idempotency",
            "application",
            "owner_key",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    application: str
    owner: str | None = None
    owner_key: str
    """The owner, or the empty string for anonymous jobs: NULLs are not equal to each other in an index."""
    phase: str
    version: int
    run_id: str | None = None
    created: int = Field(sa_column=_instant())
    queued: int | None = Field(default=None, sa_column=_instant(nullable=True))
    started: int | None = Field(default=None, sa_column=_instant(nullable=True))
    ended: int | None = Field(default=None, sa_column=_instant(nullable=True))
    quote: int | None = Field(default=None, sa_column=_instant(nullable=True))
    destruction: int | None = Field(default=None, sa_column=_instant(nullable=True))
    duration: int
    parameters: str = Field(sa_column=Column(Text, nullable=False))
    results: str = Field(sa_column=Column(Text, nullable=False))
    error: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    info: str = Field(sa_column=Column(Text, nullable=False))
    listed: bool
    idempotency_key: str | None = None
    fingerprint: str | None = None
    stored: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """Bytes of its uploads and results."""


class AttemptRow(SQLModel, table=True):
    """An attempt of a job at a site.

    The accounts need it after the job.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index(
            "attempt_waiting",
            "site",
            "lot",
            "created",
            "job_id",
            sqlite_where=text("state = 'WAITING'"),
            postgresql_where=text("state = 'WAITING'"),
        ),
        Index(
            "attempt_open",
            "site",
            "owner",
            sqlite_where=text("state IN ('SUBMITTED', 'RUNNING')"),
            postgresql_where=text("state IN ('SUBMITTED', 'RUNNING')"),
        ),
        Index(
            "attempt_unwanted",
            "site",
            sqlite_where=text("wanted IS 0 AND state != 'CLOSED'"),
            postgresql_where=text("wanted IS false AND state != 'CLOSED'"),
        ),
        Index(
            "attempt_ended", "ended", sqlite_where=text("state = 'CLOSED'"), postgresql_where=text("state = 'CLOSED'")
        ),
    )

    job_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    site: str
    application: str
    owner: str
    group: str
    wanted: bool
    state: str
    created: int = Field(sa_column=_instant())
    submitted: int | None = Field(default=None, sa_column=_instant(nullable=True))
    started: int | None = Field(default=None, sa_column=_instant(nullable=True))
    ended: int | None = Field(default=None, sa_column=_instant(nullable=True))
    not_before: int = Field(sa_column=_instant())
    exit_code: int | None = None
    reason: str | None = None
    message: str = Field(sa_column=Column(Text, nullable=False))
    cpu_requested: float
    memory_requested: int = Field(sa_column=_instant())
    wall: float
    cpu: float
    peak_memory: int = Field(sa_column=_instant())
    bytes_in: int = Field(sa_column=_instant())
    bytes_out: int = Field(sa_column=_instant())
    claimed: str
    report: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    owner_slots: int | None = None
    """How many attempts of its owner may run at once."""
    handle: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """The site's own id of it."""
    launch: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """What it runs, as JSON; empty once it is closed."""
    network: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    """Whether it waits for any site of the network; ``site`` is empty then."""
    lot: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    """What it has in common with others that are taken in the order of their age."""
    wish: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """What it needs of a site, as JSON; empty once it is closed."""
    size_class: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    """What it has in common with others that wait alike."""
    gpus: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    bytes_moved: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """Of its data sets, from other places to its site."""
    alive_until: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """When its agent is to be heard again at the latest, if that runs the command itself."""


class UseRow(SQLModel, table=True):
    """What the jobs of an owner in a group have used, in seconds of cores, as it counted at an instant."""

    __tablename__ = "fair_use"

    group: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    amount: float
    at: int = Field(sa_column=_instant())


class EventRow(SQLModel, table=True):
    """An event of a job.

    The growing number makes the table a feed.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index("event_job", "job_id", "seq"),
        Index("event_owner", "owner_key", "seq"),
        Index("event_at", "at"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    job_id: str
    at: int = Field(sa_column=_instant())
    kind: str
    phase: str
    version: int
    actor: str
    origin: str
    detail: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    application: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    owner_key: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    """Those of the job, which is no longer there when its deletion is told."""


class GarbageRow(SQLModel, table=True):
    """A job whose files are to be removed."""

    __tablename__ = "garbage"

    job_id: str = Field(primary_key=True)
    since: int = Field(sa_column=_instant())


class LeaseRow(SQLModel, table=True):
    """A lease; the fencing number grows with each new holder."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    until: int = Field(sa_column=_instant())
    fencing: int = Field(sa_column=_instant())


class SiteRow(SQLModel, table=True):
    """The last known state of a site."""

    __tablename__ = "site"

    name: str = Field(primary_key=True)
    reachable: bool
    since: int = Field(sa_column=_instant())
    """The instant from which it has been so."""
    message: str = Field(sa_column=Column(Text, nullable=False))
    updated: int = Field(sa_column=_instant())


class DrainRow(SQLModel, table=True):
    """A site at which an operator lets no new jobs start."""

    __tablename__ = "site_drain"

    name: str = Field(primary_key=True)
    reason: str = Field(sa_column=Column(Text, nullable=False))
    since: int = Field(sa_column=_instant())


class MetaRow(SQLModel, table=True):
    """A value of the database itself, by name."""

    __tablename__ = "meta"

    name: str = Field(primary_key=True)
    value: str


class SessionRow(SQLModel, table=True):
    """A session (kind ``session``) or a login in progress (``login``), by the hash of its secret."""

    __tablename__ = "session"
    __table_args__ = (Index("session_expires", "expires"), Index("session_owner", "owner"))

    key: str = Field(primary_key=True)
    kind: str
    content: str = Field(sa_column=Column(Text, nullable=False))
    created: int = Field(sa_column=_instant())
    expires: int = Field(sa_column=_instant())
    owner: str | None = None


class ShareRow(SQLModel, table=True):
    """A share of a job, for a link's secret or for a group."""

    __tablename__ = "share"
    __table_args__ = (Index("share_job", "job_id"), Index("share_expires", "expires"))

    id: str = Field(primary_key=True)
    job_id: str
    key: str | None = None
    group: str | None = None
    actor: str
    created: int = Field(sa_column=_instant())
    expires: int = Field(sa_column=_instant())


class GrantRow(SQLModel, table=True):
    """An encrypted token with which a job fetches data."""

    __tablename__ = "data_grant"
    __table_args__ = (Index("data_grant_renew", "renew"),)

    job_id: str = Field(primary_key=True)
    target: str = Field(primary_key=True)
    locked: str = Field(sa_column=Column(Text, nullable=False))
    expires: int = Field(sa_column=_instant())
    renew: int = Field(sa_column=_instant())
    busy: int = Field(sa_column=_instant())


class SourceRow(SQLModel, table=True):
    """A job that names a result of another one, the source, among its inputs."""

    __tablename__ = "job_source"
    __table_args__ = (Index("job_source_job", "job_id"),)

    source: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True)


class LookupRow(SQLModel, table=True):
    """A waiting attempt whose data sets are to be looked up."""

    __tablename__ = "lookup"
    __table_args__ = (Index("lookup_due", "due"),)

    job_id: str = Field(primary_key=True)
    number: int
    owner: str
    due: int = Field(sa_column=_instant())
    """When to look, or to look again."""
    tries: int
    site: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    """The site to which the data are brought; empty: they are only looked up."""
    since: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    """From when on they are brought."""


class SubscriptionRow(SQLModel, table=True):
    """Who wants to be told of which events, and how; lists are words between commas, empty ones mean all."""

    __tablename__ = "subscription"
    __table_args__ = (Index("subscription_owner", "owner", "job_id"), Index("subscription_job", "job_id"))

    id: str = Field(primary_key=True)
    kind: str
    owner: str
    job_id: str
    target: str = Field(sa_column=Column(Text, nullable=False))
    events: str = Field(sa_column=Column(Text, nullable=False))
    phases: str = Field(sa_column=Column(Text, nullable=False))
    applications: str = Field(sa_column=Column(Text, nullable=False))
    base: str = Field(sa_column=Column(Text, nullable=False))
    created: int = Field(sa_column=_instant())
    locked: str = Field(sa_column=Column(Text, nullable=False))
    previous: str = Field(sa_column=Column(Text, nullable=False))
    previous_until: int = Field(sa_column=_instant())
    delay: int = Field(sa_column=_instant())
    failing_since: int | None = Field(default=None, sa_column=_instant(nullable=True))
    disabled: int | None = Field(default=None, sa_column=_instant(nullable=True))
    message: str = Field(sa_column=Column(Text, nullable=False))


class DeliveryRow(SQLModel, table=True):
    """A notice that is to be sent, written in the transaction of its event."""

    __tablename__ = "delivery"
    __table_args__ = (Index("delivery_due", "due"), Index("delivery_turn", "subscription_id", "due", "number"))

    subscription_id: str = Field(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    payload: str = Field(sa_column=Column(Text, nullable=False))
    due: int = Field(sa_column=_instant())
    tries: int
    created: int = Field(sa_column=_instant())


class RunnerRow(SQLModel, table=True):
    """A site that only calls out, with the session of the runner that speaks for it."""

    __tablename__ = "site_runner"

    site: str = Field(primary_key=True)
    runner: str
    """The id of the runner's folder; empty: there was none yet."""
    host: str
    """Where it runs, in its own words."""
    bound: bool
    """Whether its jobs belong to its machine, so that no other runner can go on with them."""
    epoch: int = Field(sa_column=_instant())
    """Grows with each session: an earlier one is refused."""
    sequence: int = Field(sa_column=_instant())
    """Number of the session's last report."""
    orders: int = Field(sa_column=_instant())
    """Number of the last order."""
    stamp: int = Field(sa_column=_instant())
    """Grows with each report that changes anything."""
    contact: int = Field(sa_column=_instant())
    """When it last called."""
    until: int = Field(sa_column=_instant())
    """The end of its lease."""
    complete: bool
    """Whether this session has reported everything that is at the site."""
    problem: str = Field(sa_column=Column(Text, nullable=False))
    """Why the runner can't see its site now."""
    announced: str = Field(sa_column=Column(Text, nullable=False))
    """What it says of itself, as JSON."""


class RemoteAttemptRow(SQLModel, table=True):
    """An attempt at a site that only calls out: what its runner is to do, and what that has reported."""

    __tablename__ = "remote_attempt"
    __table_args__ = (
        Index(
            "remote_attempt_orders", "site", "order", sqlite_where=text("done IS 0"), postgresql_where=text("NOT done")
        ),
    )

    site: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    verb: str
    order: int = Field(sa_column=_instant())
    done: bool
    launch: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """What it runs, as JSON; empty once it is to be forgotten."""
    report: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """What the runner last said of it, as JSON."""
    absent: bool
    """Whether the runner has carried out an order and sees nothing of the attempt."""
    log_until: int = Field(sa_column=_instant())
    """Somebody reads its log until then."""


METADATA = SQLModel.metadata
"""All tables."""
JOB_TABLE: Table = JobRow.__table__  # type: ignore[attr-defined]
ATTEMPT_TABLE: Table = AttemptRow.__table__  # type: ignore[attr-defined]
USE_TABLE: Table = UseRow.__table__  # type: ignore[attr-defined]
EVENT_TABLE: Table = EventRow.__table__  # type: ignore[attr-defined]
GARBAGE_TABLE: Table = GarbageRow.__table__  # type: ignore[attr-defined]
LEASE_TABLE: Table = LeaseRow.__table__  # type: ignore[attr-defined]
SITE_TABLE: Table = SiteRow.__table__  # type: ignore[attr-defined]
DRAIN_TABLE: Table = DrainRow.__table__  # type: ignore[attr-defined]
META_TABLE: Table = MetaRow.__table__  # type: ignore[attr-defined]
SESSION_TABLE: Table = SessionRow.__table__  # type: ignore[attr-defined]
SHARE_TABLE: Table = ShareRow.__table__  # type: ignore[attr-defined]
GRANT_TABLE: Table = GrantRow.__table__  # type: ignore[attr-defined]
SOURCE_TABLE: Table = SourceRow.__table__  # type: ignore[attr-defined]
LOOKUP_TABLE: Table = LookupRow.__table__  # type: ignore[attr-defined]
SUBSCRIPTION_TABLE: Table = SubscriptionRow.__table__  # type: ignore[attr-defined]
DELIVERY_TABLE: Table = DeliveryRow.__table__  # type: ignore[attr-defined]
RUNNER_TABLE: Table = RunnerRow.__table__  # type: ignore[attr-defined]
REMOTE_ATTEMPT_TABLE: Table = RemoteAttemptRow.__table__  # type: ignore[attr-defined]
