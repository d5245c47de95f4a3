"""Tokens with which jobs fetch data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_grant",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("locked", sa.Text(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("renew", sa.BigInteger(), nullable=False),
        sa.Column("busy", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "target"),
    )
    op.create_index("data_grant_renew", "data_grant", ["renew"], unique=False)


def downgrade() -> None:
    op.drop_table("data_grant")
