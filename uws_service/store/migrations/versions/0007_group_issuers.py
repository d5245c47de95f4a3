"""Groups carry their issuer: those of attempts the owner's, those of shares that of whoever shared the job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ATTEMPT = sa.table("attempt", sa.column("owner", sa.String), sa.column("group", sa.String))
SHARE = sa.table("share", sa.column("actor", sa.String), sa.column("group", sa.String))
MEMBERS = ((ATTEMPT, ATTEMPT.c.owner), (SHARE, SHARE.c.actor))


def _host(member: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Return what follows the last @ of ``subject@issuer``."""
    if op.get_bind().dialect.name == "postgresql":
        return sa.func.substring(member, "[^@]*$")
    before = sa.func.rtrim(member, sa.func.replace(member, "@", ""))
    return sa.func.substr(member, sa.func.length(before) + 1)


def upgrade() -> None:
    for table, member in MEMBERS:
        condition = sa.and_(table.c.group != "", member.contains("@"))
        op.execute(sa.update(table).where(condition).values(group=table.c.group + "@" + _host(member)))


def downgrade() -> None:
    for table, member in MEMBERS:
        suffix = sa.literal("@") + _host(member)
        length = sa.func.length(table.c.group) - sa.func.length(suffix)
        condition = sa.and_(
            table.c.group != "", member.contains("@"), sa.func.substr(table.c.group, length + 1) == suffix
        )
        op.execute(sa.update(table).where(condition).values(group=sa.func.substr(table.c.group, 1, length)))
