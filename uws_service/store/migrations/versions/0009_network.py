"""Attempts that wait for any site of the network, in lots, and what groups and owners have used."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'WAITING'")


def upgrade() -> None:
    op.add_column("attempt", sa.Column("network", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("attempt", sa.Column("lot", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("attempt", sa.Column("wish", sa.Text(), nullable=True))
    op.create_table(
        "fair_use",
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group", "owner"),
    )
    attempt = sa.table("attempt", sa.column("group"), sa.column("owner"), sa.column("lot"), sa.column("state"))
    present = sa.select(attempt.c.group, attempt.c.owner).where(attempt.c.state == "WAITING").distinct()
    for group, owner in op.get_bind().execute(present).all():
        op.execute(
            attempt.update()
            .where(attempt.c.state == "WAITING", attempt.c.group == group, attempt.c.owner == owner)
            .values(lot=json.dumps(["", group, owner, 0], ensure_ascii=False, separators=(",", ":")))
        )
    op.drop_index("attempt_waiting", table_name="attempt")
    columns = ["site", "lot", "created", "job_id"]
    op.create_index("attempt_waiting", "attempt", columns, sqlite_where=WAITING, postgresql_where=WAITING)


def downgrade() -> None:
    # An older version knows no network: what waits for it goes to one of the sites.
    op.execute(sa.text("UPDATE attempt SET site = (SELECT min(name) FROM site) WHERE network AND state = 'WAITING'"))
    op.drop_index("attempt_waiting", table_name="attempt")
    columns = ["site", "owner", "created", "job_id"]
    op.create_index("attempt_waiting", "attempt", columns, sqlite_where=WAITING, postgresql_where=WAITING)
    op.drop_table("fair_use")
    op.drop_column("attempt", "wish")
    op.drop_column("attempt", "lot")
    op.drop_column("attempt", "network")
