"""Versions of the schema: Alembic migrations.

Alembic itself is imported where something is to be migrated: a start with a current schema does without.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy.exc import DBAPIError

from uws_service.domain.errors import ConfigurationError, ServiceUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

SQLITE_PREFIX = "sqlite:///"
MIGRATIONS = Path(__file__).parent / "migrations"


def is_postgresql(url: str) -> bool:
    """Return whether a URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def _engine(url: str) -> sqlalchemy.Engine:
    if is_postgresql(url):
        url = "postgresql+psycopg://" + url.partition("://")[2]
    elif url.startswith(SQLITE_PREFIX):
        Path(url.removeprefix(SQLITE_PREFIX)).parent.mkdir(parents=True, exist_ok=True)
    else:
        raise ConfigurationError(f"database: {url.split(':')[0]!r} is not known; use sqlite:////… or postgresql://…")
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def head() -> str:
    """Return the version that this code needs.

    The migrations are numbered in their order.
    """
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def migrate(url: str) -> tuple[str | None, str]:
    """Migrate the schema.

    Return the versions before and after.

    A schema that is newer than this code stays as it is.
    """
    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.util import CommandError

    engine = _engine(url)
    before = None
    try:
        with engine.begin() as connection:
            if is_postgresql(url):  # several replicas may start at once
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(875309)")
            before = MigrationContext.configure(connection).get_current_revision()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            after = MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as error:
        raise _unreachable(error) from error
    except CommandError as error:
        raise ConfigurationError(
            f"The database's schema {before} is unknown to this version of the service."
        ) from error
    finally:
        engine.dispose()
    return before, str(after)


def _unreachable(error: DBAPIError) -> ServiceUnavailable:
    return ServiceUnavailable(f"The database can't be used: {error.orig}.", retry_after=5)


def _revision(url: str) -> str | None:
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return None
            revision = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            return str(revision) if revision is not None else None
    except DBAPIError as error:
        raise _unreachable(error) from error
    finally:
        engine.dispose()


async def prepare(url: str, *, upgrade: bool) -> None:
    """Check that the schema is current, after an upgrade if desired.

    Raises `ConfigurationError` if it is not.
    """
    revision = await asyncio.to_thread(_revision, url)
    if upgrade and revision != head():
        revision = (await asyncio.to_thread(migrate, url))[1]
    if revision != head():
        raise ConfigurationError(
            f"The database's schema is {revision or 'empty'}, this version wants {head()}; run `uws-service migrate`."
        )
