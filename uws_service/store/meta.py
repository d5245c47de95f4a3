"""Values that a database gets once and keeps."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Query, Transaction
from uws_service.store.tables import MetaRow

p = bindparam
meta: Any = MetaRow.__table__.c  # type: ignore[attr-defined]

GET_META = Query(select(meta.value).where(meta.name == p("name")))


def _insert_meta(kind: Any) -> Any:
    return kind.insert(MetaRow).values(name=p("name"), value=p("value")).on_conflict_do_nothing()


INSERT_META = Query(_insert_meta(sqlite), _insert_meta(postgresql))


def get_or_set(tx: Transaction, name: str, value: str) -> str:
    """Return the value of a name; set it first if it has none."""
    tx.change(INSERT_META, {"name": name, "value": value})
    return str(tx.rows(GET_META, {"name": name})[0][0])
