"""How many attempts of an owner may run at once, with each attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("owner_slots", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "owner_slots")
