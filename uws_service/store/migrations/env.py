"""Alembic's environment: runs the migrations on the connection that `uws_service.store.schema` gives."""

from __future__ import annotations

from alembic import context

import uws_service.store.account_tables  # noqa: F401 -- fills the metadata
from uws_service.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
