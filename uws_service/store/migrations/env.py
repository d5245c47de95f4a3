"""Alembic's environment: runs the migrations on the connection that `uws_service.store.schema` gives."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import uws_service.store.tables  # noqa: F401 -- fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
