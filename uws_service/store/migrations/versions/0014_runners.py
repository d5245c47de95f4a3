"""Sites that only call out: their runners, and the attempts there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "site_runner",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("runner", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("bound", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("contact", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("announced", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "remote_attempt",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("order", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("launch", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("absent", sa.Boolean(), nullable=False),
        sa.Column("log_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "job_id", "number"),
    )
    op.create_index(
        "remote_attempt_orders",
        "remote_attempt",
        ["site", "order"],
        unique=False,
        sqlite_where=sa.text("done IS 0"),
        postgresql_where=sa.text("NOT done"),
    )


def downgrade() -> None:
    op.drop_table("remote_attempt")
    op.drop_table("site_runner")
