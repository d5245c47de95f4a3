"""Tables of the accounts: usage records, methods, publications, budgets."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Text
from sqlmodel import Field, SQLModel


def _big(*, nullable: bool = False) -> Column[int]:
    return Column(BigInteger, nullable=nullable)


class UsageRecordRow(SQLModel, table=True):
    """What an attempt used, or a correction of that; on PostgreSQL there is a partition for each month.

    See `uws_service.domain.usage_record.UsageRecord`.
    """

    __tablename__ = "usage_record"
    __table_args__ = (
        Index("usage_record_owner", "owner", "month"),
        Index("usage_record_group", "group", "month"),
        {"postgresql_partition_by": "RANGE (month)"},
    )

    month: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    job_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    serial: int = Field(primary_key=True)
    recorded: int = Field(sa_column=_big())
    site: str
    kind: str
    application: str
    project: str
    group: str
    owner: str
    created: int = Field(sa_column=_big())
    submitted: int | None = Field(default=None, sa_column=_big(nullable=True))
    started: int | None = Field(default=None, sa_column=_big(nullable=True))
    ended: int = Field(sa_column=_big())
    reason: str
    waste: str
    exit_code: int | None = None
    cores: float
    processors: int
    memory: int = Field(sa_column=_big())
    gpus: int
    wall_ms: int = Field(sa_column=_big())
    cpu_ms: int = Field(sa_column=_big())
    gpu_ms: int = Field(sa_column=_big())
    core_ms: int = Field(sa_column=_big())
    memory_mib_s: int = Field(sa_column=_big())
    wall_s: int = Field(sa_column=_big())
    cpu_s: int = Field(sa_column=_big())
    peak_memory: int = Field(sa_column=_big())
    bytes_in: int = Field(sa_column=_big())
    bytes_out: int = Field(sa_column=_big())
    bytes_moved: int = Field(sa_column=_big())
    energy_mwh: int | None = Field(default=None, sa_column=_big(nullable=True))
    co2e_ug: int | None = Field(default=None, sa_column=_big(nullable=True))
    embodied_ug: int | None = Field(default=None, sa_column=_big(nullable=True))
    method: str
    benchmark: str
    benchmark_value: float
    price: int | None = Field(default=None, sa_column=_big(nullable=True))
    currency: str


class UsageMethodRow(SQLModel, table=True):
    """How the energy of records was estimated.

    The method with its inputs, as JSON.
    """

    __tablename__ = "usage_method"

    id: str = Field(primary_key=True)
    content: str = Field(sa_column=Column(Text, nullable=False))


class PublicationRow(SQLModel, table=True):
    """What was last published of a month to a target."""

    __tablename__ = "publication"

    target: str = Field(primary_key=True)
    month: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    records: int = Field(sa_column=_big())
    latest: int = Field(sa_column=_big())
    """The instant of the latest record in it."""
    digest: str
    published: int = Field(sa_column=_big())


class BudgetRow(SQLModel, table=True):
    """A budget of one period.

    What was spent and what is held, in millionths of the currency.
    """

    __tablename__ = "budget"

    name: str = Field(primary_key=True)
    spent: int = Field(sa_column=_big())
    held: int = Field(sa_column=_big())


class HoldRow(SQLModel, table=True):
    """An amount that is held in a budget for a job that runs."""

    __tablename__ = "budget_hold"

    job_id: str = Field(primary_key=True)
    budget: str = Field(primary_key=True)
    amount: int = Field(sa_column=_big())
