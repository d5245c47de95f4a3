"""Values by name: what a database gets once and keeps, and what was read last elsewhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Query, Transaction
from uws_service.store.tables import META_TABLE

p = bindparam
meta: Any = META_TABLE.c

GET_META = Query(select(meta.value).where(meta.name == p("name")))


def _insert_meta(kind: Any) -> Any:
    return kind.insert(META_TABLE).values(name=p("name"), value=p("value")).on_conflict_do_nothing()


def _upsert_meta(kind: Any) -> Any:
    statement = kind.insert(META_TABLE).values(name=p("name"), value=p("value"))
    return statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})


UPSERT_META = Query(_upsert_meta(sqlite), _upsert_meta(postgresql))
INSERT_META = Query(_insert_meta(sqlite), _insert_meta(postgresql))


def get_or_set(tx: Transaction, name: str, value: str) -> str:
    """Return the value of a name.

    Set it first if it has none.
    """
    tx.change(INSERT_META, {"name": name, "value": value})
    return str(tx.rows(GET_META, {"name": name})[0][0])
