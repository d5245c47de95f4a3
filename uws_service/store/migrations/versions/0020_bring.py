"""Look-ups that wait until the data lake has brought the data to a site; attempts that wait alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("size_class", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("lookup", sa.Column("site", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("lookup", sa.Column("since", sa.BigInteger(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    # An older version looks the data up once more, and lets their jobs go.
    op.drop_column("lookup", "since")
    op.drop_column("lookup", "site")
    op.drop_column("attempt", "size_class")
