"""Who may do what: sessions of browsers, shared jobs, and what an owner has in the store."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE = 1000


def upgrade() -> None:
    # The default stays: during an upgrade, processes of the version before make jobs without this column.
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("stored", sa.BigInteger(), nullable=False, server_default="0"))
    _count_stored()
    op.create_index("job_owner", "job", ["owner_key", "phase", "stored"], unique=False)
    op.create_table(
        "session",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("session_expires", "session", ["expires"], unique=False)
    op.create_table(
        "share",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("group", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("share_job", "share", ["job_id"], unique=False)
    op.create_index("share_expires", "share", ["expires"], unique=False)


def _count_stored() -> None:
    """Set the stored bytes of existing jobs, from the sizes in their rows."""
    job = sa.table(
        "job", sa.column("id"), sa.column("parameters", sa.Text), sa.column("results", sa.Text), sa.column("stored")
    )
    connection = op.get_bind()
    last = ""
    while True:
        query = sa.select(job.c.id, job.c.parameters, job.c.results).where(job.c.id > last).order_by(job.c.id)
        rows = connection.execute(query.limit(PAGE)).fetchall()
        for job_id, parameters, results in rows:
            stored = sum((one[4] or 0) for one in json.loads(parameters)) + sum(one[3] for one in json.loads(results))
            if stored:
                connection.execute(sa.update(job).where(job.c.id == job_id).values(stored=stored))
        if len(rows) < PAGE:
            return
        last = rows[-1][0]


def downgrade() -> None:
    op.drop_table("share")
    op.drop_table("session")
    op.drop_index("job_owner", table_name="job")
    with op.batch_alter_table("job") as job:
        job.drop_column("stored")
