"""The migration that adds issuers to groups, on both databases, with rows in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from tests import databases
from uws_service.store.schema import _config, _engine


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'uws.db'}" if request.param == "sqlite" else databases.new_postgresql()


MEMBERS = {
    "alice@iam.example.org": ("/team", "/team@iam.example.org"),
    "a@b.org@sso.example.org/realms/x": ("/team", "/team@sso.example.org/realms/x"),
    "carol@iam.example.org": ("/x@other.example.org", "/x@other.example.org@iam.example.org"),
    "bob@iam.example.org": ("", ""),
    "proxied": ("/team", "/team"),
}
"""Owner or sharer → the group before and after."""


def test_there_and_back(url: str) -> None:
    """Every group gets the issuer of its member and none of it is lost on the way back."""
    engine, config = _engine(url), _config()

    def migrate(function: object, target: str) -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            function(config, target)  # type: ignore[operator]

    migrate(command.upgrade, "0006")
    metadata = sa.MetaData()
    metadata.reflect(engine)
    attempt, share = metadata.tables["attempt"], metadata.tables["share"]

    def filler(table: sa.Table) -> dict[str, object]:
        required = [column for column in table.columns if not column.nullable]
        return {column.name: "x" if column.type.python_type is str else 0 for column in required}

    with engine.begin() as connection:
        for number, (member, (before, _)) in enumerate(MEMBERS.items()):
            key = {"job_id": str(number), "group": before}
            row = {**filler(attempt), **key, "owner": member, "wanted": False}
            connection.execute(sa.insert(attempt).values(row))
            connection.execute(sa.insert(share).values({**filler(share), **key, "id": str(number), "actor": member}))
        link = {**filler(share), "job_id": "link", "id": "link", "actor": "alice@iam.example.org", "group": None}
        connection.execute(sa.insert(share).values(link))

    def groups(table: sa.Table, member: str) -> dict[str, str]:
        with engine.begin() as connection:
            rows = connection.execute(sa.select(table.c[member], table.c.group).where(table.c.job_id != "link"))
            return {row[0]: row[1] for row in rows}

    for _ in range(2):
        migrate(command.upgrade, "head")
        upgraded = {member: pair[1] for member, pair in MEMBERS.items()}
        assert groups(attempt, "owner") == upgraded
        assert groups(share, "actor") == upgraded
        migrate(command.downgrade, "0006")
        downgraded = {member: pair[0] for member, pair in MEMBERS.items()}
        assert groups(attempt, "owner") == downgraded
        assert groups(share, "actor") == downgraded
    engine.dispose()
