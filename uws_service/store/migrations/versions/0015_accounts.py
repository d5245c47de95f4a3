"""Usage records of attempts, their publications, budgets."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SQLITE = {
    "month": "CAST(strftime('%Y%m', ended / 1000, 'unixepoch') AS INTEGER)",
    "processors": "max(1, CAST(cpu_requested AS INTEGER) + (cpu_requested > CAST(cpu_requested AS INTEGER)))",
}
POSTGRESQL = {
    "month": "CAST(to_char(to_timestamp(ended / 1000) AT TIME ZONE 'UTC', 'YYYYMM') AS INTEGER)",
    "processors": "greatest(1, CAST(ceil(cpu_requested) AS INTEGER))",
}
WASTE = """CASE WHEN reason IS NULL THEN ''
    WHEN reason = 'Aborted' THEN 'aborted' WHEN reason IN ('AgentLost', 'Evicted',
    'NodeLost', 'Deleted', 'SiteLost', 'Image', 'Refused', 'Unschedulable', 'Command') THEN 'infrastructure'
    ELSE 'failed' END"""


def upgrade() -> None:
    op.add_column("attempt", sa.Column("gpus", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("attempt", sa.Column("bytes_moved", sa.BigInteger(), nullable=False, server_default="0"))
    _create_records()
    op.create_table(
        "usage_method",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "publication",
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("target", "month"),
    )
    op.create_table(
        "budget",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "budget_hold",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("budget", sa.String(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "budget"),
    )
    _record_earlier_attempts()


def _create_records() -> None:
    big, text = sa.BigInteger, sa.String
    op.create_table(
        "usage_record",
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("job_id", text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("recorded", big(), nullable=False),
        *(
            sa.Column(name, text(), nullable=False)
            for name in ("site", "kind", "application", "project", "group", "owner")
        ),
        sa.Column("created", big(), nullable=False),
        sa.Column("submitted", big(), nullable=True),
        sa.Column("started", big(), nullable=True),
        sa.Column("ended", big(), nullable=False),
        sa.Column("reason", text(), nullable=False),
        sa.Column("waste", text(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("cores", sa.Float(), nullable=False),
        sa.Column("processors", sa.Integer(), nullable=False),
        sa.Column("memory", big(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        *(
            sa.Column(name, big(), nullable=False)
            for name in (
                "wall_ms", "cpu_ms", "gpu_ms", "core_ms", "memory_mib_s", "wall_s", "cpu_s", "peak_memory", "bytes_in",
                "bytes_out", "bytes_moved",
            )
        ),
        *(sa.Column(name, big(), nullable=True) for name in ("energy_mwh", "co2e_ug", "embodied_ug")),
        sa.Column("method", text(), nullable=False),
        sa.Column("benchmark", text(), nullable=False),
        sa.Column("benchmark_value", sa.Float(), nullable=False),
        sa.Column("price", big(), nullable=True),
        sa.Column("currency", text(), nullable=False),
        sa.PrimaryKeyConstraint("month", "job_id", "number", "serial"),
        postgresql_partition_by="RANGE (month)",
    )  # fmt: skip
    op.create_index("usage_record_owner", "usage_record", ["owner", "month"])
    op.create_index("usage_record_group", "usage_record", ["group", "month"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("CREATE TABLE usage_record_other PARTITION OF usage_record DEFAULT"))
        now = datetime.now(UTC)
        month = now.year * 100 + now.month
        after = month + 1 if month % 100 < 12 else month + 89
        for first in (month, after):
            end = first + 1 if first % 100 < 12 else first + 89
            op.execute(
                sa.text(
                    f"CREATE TABLE usage_record_{first} PARTITION OF usage_record FOR VALUES FROM ({first}) TO ({end})"
                )
            )


def _record_earlier_attempts() -> None:
    """Make the records of attempts that ended before there were any; what was not measured then is missing."""
    sql = POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE
    wall, cpu = "CAST(round(wall * 1000) AS BIGINT)", "CAST(round(cpu * 1000) AS BIGINT)"
    op.execute(
        sa.text(f"""
        INSERT INTO usage_record (month, job_id, number, serial, recorded, site, kind, application, project, "group",
            owner, created, submitted, started, ended, reason, waste, exit_code, cores, processors, memory, gpus,
            wall_ms, cpu_ms, gpu_ms, core_ms, memory_mib_s, wall_s, cpu_s, peak_memory, bytes_in, bytes_out,
            bytes_moved, method, benchmark, benchmark_value, currency)
        SELECT {sql["month"]}, job_id, number, 0, ended, site, '', application, '', "group",
            owner, created, submitted, started, ended, coalesce(reason, ''), {WASTE}, exit_code, cpu_requested,
            {sql["processors"]}, memory_requested, 0, {wall}, {cpu}, 0,
            CAST(round(wall * 1000 * cpu_requested) AS BIGINT),
            CAST(round(wall * memory_requested / 1048576) AS BIGINT),
            ({wall} + 500) / 1000, ({cpu} + 500) / 1000, peak_memory, bytes_in, bytes_out, 0, '', '', 0, ''
        FROM attempt WHERE state = 'CLOSED' AND ended IS NOT NULL
        """)
    )


def downgrade() -> None:
    for name in ("budget_hold", "budget", "publication", "usage_method", "usage_record"):
        op.drop_table(name)
    op.drop_column("attempt", "bytes_moved")
    op.drop_column("attempt", "gpus")
