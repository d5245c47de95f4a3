"""Until when the agent of an attempt counts as alive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("alive_until", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("attempt", "alive_until")
