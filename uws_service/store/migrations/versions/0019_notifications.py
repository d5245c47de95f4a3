"""Who wants to be told of events, and what is still to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subscription",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("id", "kind", "owner", "job_id")),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("target", "events", "phases", "applications", "base")
        ),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("locked", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("previous_until", sa.BigInteger(), nullable=False),
        sa.Column("delay", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("disabled", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("subscription_owner", "subscription", ["owner", "job_id"])
    op.create_index("subscription_job", "subscription", ["job_id"])
    op.create_table(
        "delivery",
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "number"),
    )
    op.create_index("delivery_due", "delivery", ["due"])
    op.create_index("delivery_turn", "delivery", ["subscription_id", "due", "number"])


def downgrade() -> None:
    op.drop_table("delivery")
    op.drop_table("subscription")
