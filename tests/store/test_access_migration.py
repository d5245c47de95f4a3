"""The migration to sessions, shares and stored bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests import databases
from tests.databases import is_declared
from uws_service.store.schema import _config, _engine
from uws_service.store.tables import METADATA


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'uws.db'}" if request.param == "sqlite" else databases.new_postgresql()


def test_there_and_back(url: str) -> None:
    """Bytes of existing jobs are counted."""
    engine = _engine(url)
    config = _config()

    def go(function: object, target: str) -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            function(config, target)  # type: ignore[operator]

    go(command.upgrade, "0002")
    results = json.dumps([["result", "key", "text/plain", 700, "0"], ["log", "key", "text/plain", 11, "0"]])
    parameters = json.dumps([["A", "1", None, None, None], ["F", "f", "key", "text/csv", 300]])
    texts = {"application": "a", "owner": "o", "owner_key": "o", "phase": "COMPLETED", "info": "{}"}
    numbers = {"version": 1, "created": 1, "duration": 0, "listed": True}
    row = {"id": "one", **texts, **numbers, "parameters": parameters, "results": results}
    job = sa.table("job", *[sa.column(name) for name in (*row, "stored")])
    with engine.begin() as connection:
        connection.execute(sa.insert(job).values([row, {**row, "id": "two", "parameters": "[]", "results": "[]"}]))
    for _ in range(2):
        go(command.upgrade, "head")
        with engine.begin() as connection:
            rows = connection.execute(sa.select(job.c.id, job.c.stored).order_by(job.c.id)).fetchall()
            assert [tuple(item) for item in rows] == [("one", 1011), ("two", 0)]
            differences = compare_metadata(
                MigrationContext.configure(connection, opts={"include_name": is_declared}), METADATA
            )
            assert not [
                item for item in differences if item[0] in ("add_table", "remove_table", "add_column", "remove_column")
            ]
            indexes = {item["name"]: item for item in sa.inspect(connection).get_indexes("job")}
            assert "job_owner" in indexes
            for name in ("job_list", "job_list_phase", "job_destruction", "job_idempotency"):
                options = indexes[name]["dialect_options"]
                assert options.get(f"{engine.dialect.name}_where") is not None, name
        go(command.downgrade, "0002")
    engine.dispose()
