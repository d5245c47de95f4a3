"""Sites that are elsewhere: who speaks for an attempt, what it said, how the sites are, and a name for the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("attempt") as attempt:
        attempt.add_column(sa.Column("claimed", sa.String(), nullable=False, server_default=""))
        attempt.add_column(sa.Column("report", sa.Text(), nullable=True))
    with op.batch_alter_table("attempt") as attempt:
        attempt.alter_column("claimed", server_default=None)
    op.create_table(
        "site",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("meta")
    op.drop_table("site")
    with op.batch_alter_table("attempt") as attempt:
        attempt.drop_column("report")
        attempt.drop_column("claimed")
