"""What an attempt runs, from RUN to its end, and the site's own id of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("launch", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("handle", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "handle")
    op.drop_column("attempt", "launch")
