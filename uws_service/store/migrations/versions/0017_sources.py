"""Jobs whose results are inputs of other jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_source",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "job_id"),
    )
    op.create_index("job_source_job", "job_source", ["job_id"])


def downgrade() -> None:
    op.drop_table("job_source")
