"""Whose job an event is of, and the list of an owner's jobs over all applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("application", "owner_key"):
        op.add_column("event", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
    # Clients that follow jobs go on over the upgrade; events of deleted jobs are nobody's.
    op.execute(
        "UPDATE event SET application = (SELECT job.application FROM job WHERE job.id = event.job_id), "
        "owner_key = (SELECT job.owner_key FROM job WHERE job.id = event.job_id) "
        "WHERE job_id IN (SELECT id FROM job)"
    )
    op.create_index("event_owner", "event", ["owner_key", "seq"])
    op.create_index(
        "job_all",
        "job",
        ["owner_key", "created", "id"],
        sqlite_where=sa.text("listed IS 1"),
        postgresql_where=sa.text("listed IS true"),
    )
    op.create_index(
        "job_all_phase",
        "job",
        ["owner_key", "phase", "created", "id"],
        sqlite_where=sa.text("listed IS 1"),
        postgresql_where=sa.text("listed IS true"),
    )
    op.drop_index("job_run", table_name="job")
    run = sa.text("run_id IS NOT NULL")
    op.create_index("job_run", "job", ["owner_key", "run_id", "created", "id"], sqlite_where=run, postgresql_where=run)
    ended = sa.text("ended IS NOT NULL")
    op.create_index("job_ended", "job", ["owner_key", "ended", "id"], sqlite_where=ended, postgresql_where=ended)


def downgrade() -> None:
    op.drop_index("job_run", table_name="job")
    run = sa.text("run_id IS NOT NULL")
    columns = ["application", "owner_key", "run_id", "created", "id"]
    op.create_index("job_run", "job", columns, sqlite_where=run, postgresql_where=run)
    op.drop_index("job_all_phase", table_name="job")
    op.drop_index("job_ended", table_name="job")
    op.drop_index("job_all", table_name="job")
    op.drop_index("event_owner", table_name="event")
    op.drop_column("event", "owner_key")
    op.drop_column("event", "application")
