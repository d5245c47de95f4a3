"""Migrations and tables declare the same schema."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.databases import PARTITIONS, is_declared
from uws_service.domain.errors import ConfigurationError, ServiceUnavailable
from uws_service.store import Store, head, migrate
from uws_service.store.schema import SQLITE_PREFIX, _engine, is_postgresql
from uws_service.store.tables import METADATA

pytestmark = pytest.mark.anyio
COMPARED = {"compare_type": True, "compare_server_default": True, "include_name": is_declared}


def shape(connection: sqlalchemy.Connection) -> dict[str, object]:
    """Return columns and indexes as the database has them."""
    inspector = sqlalchemy.inspect(connection)
    if connection.dialect.name == "sqlite":
        statement = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        statement = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
            "AND tablename NOT LIKE 'usage\\_record\\_%%'"
        )
    indexes = {name: " ".join(text.split()) for name, text in connection.exec_driver_sql(statement).all()}
    indexes.pop("alembic_version_pkc", None)
    columns = {
        table: sorted((field["name"], str(field["type"]), field["nullable"]) for field in inspector.get_columns(table))
        for table in inspector.get_table_names()
        if table != "alembic_version" and not table.startswith(PARTITIONS)
    }
    keys = {table: inspector.get_pk_constraint(table)["constrained_columns"] for table in columns}
    return {"columns": columns, "keys": keys, "indexes": indexes}


def test_migrations_make_what_the_tables_say(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Migrations and metadata give the same database."""
    assert migrate(url) == (None, head())
    engine = _engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=COMPARED)
        assert compare_metadata(context, METADATA) == []
        migrated = shape(connection)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        METADATA.drop_all(connection)
        assert shape(connection) == {"columns": {}, "keys": {}, "indexes": {}}
        METADATA.create_all(connection)
        assert shape(connection) == migrated
    engine.dispose()


def test_a_second_time_changes_nothing(url: str) -> None:
    """Several processes may migrate at once."""
    if is_postgresql(url):
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(migrate, [url] * 4))
        assert sorted(results, key=lambda field: field[0] or "") == [(None, head()), *[(head(), head())] * 3]
    else:
        assert migrate(url) == (None, head())
    assert migrate(url) == (head(), head())


async def test_an_empty_database_is_not_used(url: str) -> None:
    """The error says what to do."""
    with pytest.raises(ConfigurationError, match=r"schema is empty.*run `uws-service migrate`"):
        await Store.open(url)


async def test_a_newer_schema_is_not_used(url: str) -> None:
    """An older service refuses a newer schema."""
    migrate(url)
    newer = "UPDATE alembic_version SET version_num = '9999'"
    if is_postgresql(url):
        with psycopg.connect(url) as connection:
            connection.execute(newer)
    else:
        lite = sqlite3.connect(url.removeprefix(SQLITE_PREFIX))
        lite.execute(newer)
        lite.commit()
        lite.close()
    with pytest.raises(ConfigurationError, match=r"schema is 9999, this version wants"):
        await Store.open(url)
    with pytest.raises(ConfigurationError, match=r"9999"):
        await Store.open(url, create=True)


async def test_no_server(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An unreachable database is reported with its cause."""
    if is_postgresql(url):
        url = "postgresql://postgres@127.0.0.1:1/nothing"
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('folder')}"  # a folder is no database
    for create in (False, True):
        with pytest.raises(ServiceUnavailable, match=r"can't be used"):
            await Store.open(url, create=create)
