"""The first schema: jobs, attempts, events, garbage, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("application", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("submitted", sa.BigInteger(), nullable=True),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("cpu_requested", sa.Float(), nullable=False),
        sa.Column("memory_requested", sa.BigInteger(), nullable=False),
        sa.Column("wall", sa.Float(), nullable=False),
        sa.Column("cpu", sa.Float(), nullable=False),
        sa.Column("peak_memory", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number"),
    )
    op.create_index(
        "attempt_ended",
        "attempt",
        ["ended"],
        unique=False,
        sqlite_where=sa.text("state = 'CLOSED'"),
        postgresql_where=sa.text("state = 'CLOSED'"),
    )
    op.create_index(
        "attempt_open",
        "attempt",
        ["site", "owner"],
        unique=False,
        sqlite_where=sa.text("state IN ('SUBMITTED', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('SUBMITTED', 'RUNNING')"),
    )
    op.create_index(
        "attempt_unwanted",
        "attempt",
        ["site"],
        unique=False,
        sqlite_where=sa.text("wanted IS 0 AND state != 'CLOSED'"),
        postgresql_where=sa.text("wanted IS false AND state != 'CLOSED'"),
    )
    op.create_index(
        "attempt_waiting",
        "attempt",
        ["site", "owner", "created", "job_id"],
        unique=False,
        sqlite_where=sa.text("state = 'WAITING'"),
        postgresql_where=sa.text("state = 'WAITING'"),
    )

    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("event_at", "event", ["at"], unique=False)
    op.create_index("event_job", "event", ["job_id", "seq"], unique=False)

    op.create_table(
        "garbage",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("application", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("owner_key", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=True),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("quote", sa.BigInteger(), nullable=True),
        sa.Column("destruction", sa.BigInteger(), nullable=True),
        sa.Column("duration", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("results", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("info", sa.Text(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "job_destruction",
        "job",
        ["destruction"],
        unique=False,
        sqlite_where=sa.text("destruction IS NOT NULL AND phase != 'ARCHIVED'"),
        postgresql_where=sa.text("destruction IS NOT NULL AND phase != 'ARCHIVED'"),
    )
    op.create_index(
        "job_idempotency",
        "job",
        ["application", "owner_key", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "job_list",
        "job",
        ["application", "owner_key", "created", "id"],
        unique=False,
        sqlite_where=sa.text("listed IS 1"),
        postgresql_where=sa.text("listed IS true"),
    )
    op.create_index(
        "job_list_phase",
        "job",
        ["application", "owner_key", "phase", "created", "id"],
        unique=False,
        sqlite_where=sa.text("listed IS 1"),
        postgresql_where=sa.text("listed IS true"),
    )
    op.create_index("job_phases", "job", ["application", "phase"], unique=False)

    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("fencing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("lease")

    op.drop_table("job")
    op.drop_table("garbage")

    op.drop_table("event")

    op.drop_table("attempt")
