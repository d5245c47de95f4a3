"""Sessions by their owner, who can end all of them."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("owner", sa.String(), nullable=True))
    op.create_index("session_owner", "session", ["owner"])
    session = sa.table("session", sa.column("key"), sa.column("kind"), sa.column("content"), sa.column("owner"))
    connection = op.get_bind()
    for key, content in connection.execute(
        sa.select(session.c.key, session.c.content).where(session.c.kind == "session")
    ).all():
        owner = json.loads(content).get("owner")
        connection.execute(sa.update(session).where(session.c.key == key).values(owner=owner))


def downgrade() -> None:
    op.drop_index("session_owner", "session")
    op.drop_column("session", "owner")
