"""Pages around tables: the query page, a catalogue's tables, a result.

Pure functions from values to text, as in `uws_service.web.pages`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from uws_service.adql.model import Column, Table
from uws_service.adql.names import needs_quotes
from uws_service.applications import Application
from uws_service.domain.errors import UwsError
from uws_service.domain.search import Row
from uws_service.tap.catalogue import Published, schemas_of
from uws_service.tap.plot import plot_svg
from uws_service.tap.tap_schema import DESCRIPTIONS, with_tap_schema
from uws_service.web import pages
from uws_service.web.pages import Account

SAMP_HUBS = "http://localhost:21012 http://127.0.0.1:21012"
"""Where a hub of SAMP's Web Profile listens on the reader's own machine (SAMP 1.3 §5.2.1)."""
HEADERS: Mapping[str, str] = {
    **pages.HEADERS,
    "content-security-policy": (
        f"default-src 'none'; script-src 'self'; connect-src 'self' {SAMP_HUBS}; style-src 'self'; img-src 'self' "
        "data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
"""As those of other pages; scripts of this service alone may run, and they may talk to it and to a hub of SAMP."""
MAX_TREE_COLUMNS = 4000
"""Columns that the query page lists; of larger catalogues it lists the tables alone."""
MAGNITUDES = frozenset({"mag", "mag(ab)", "mag(vega)"})


@dataclass(frozen=True, slots=True)
class Entries:
    """What stands in the fields of the query page."""

    query: str = ""
    maxrec: str = ""
    x: str = ""
    y: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryState:
    """What the query page shows beside its form: a result, or what is wrong."""

    entries: Entries
    overview: Mapping[str, Any] | None = None
    error: UwsError | None = None


class Past(NamedTuple):
    """An earlier query that was a job."""

    row: Row
    query: str


class TableEntry(NamedTuple):
    """A table in a tree: its name as a query writes it, its columns with theirs."""

    table: Table
    rows: int | None
    written: str
    columns: tuple[tuple[Column, str], ...]


def written(name: str) -> str:
    """Return a name as a query must write it."""
    return f'"{name.replace(chr(34), chr(34) * 2)}"' if needs_quotes(name) else name


def tree(published: Sequence[Published]) -> list[tuple[str, str, list[TableEntry]]]:
    """Return schemas with their descriptions and tables, TAP_SCHEMA last."""
    tables = with_tap_schema([item.table for item in published])
    rows = {item.table.full_name: item.rows for item in published}
    return [
        (name, DESCRIPTIONS.get(name, ""), [entry(table, rows.get(table.full_name)) for table in tables
                                             if table.schema == name])
        for name in schemas_of(tables)
    ]  # fmt: skip


def entry(table: Table, rows: int | None) -> TableEntry:
    """Return a table for a page."""
    name = f"{written(table.schema)}.{written(table.name)}"
    return TableEntry(table, rows, name, tuple((column, written(column.name)) for column in table.columns))


def find(published: Sequence[Published], name: str) -> TableEntry:
    """Return a table by its full name in any case; it is there."""
    rows = {item.table.full_name: item.rows for item in published}
    tables = with_tap_schema([item.table for item in published])
    table = next(table for table in tables if table.full_name.lower() == name.lower())
    return entry(table, rows.get(table.full_name))


def tables_json(published: Sequence[Published]) -> list[dict[str, Any]]:
    """Return all tables for programs and editors."""
    return [
        {
            "name": table.table.full_name,
            "description": table.table.description,
            "rows": table.rows,
            "columns": [
                {"name": column.name, "datatype": column.datatype, "arraysize": column.arraysize, "unit": column.unit,
                 "ucd": column.ucd, "description": column.description}
                for column, _ in table.columns
            ],
        }
        for _, _, tables in tree(published) for table in tables
    ]  # fmt: skip


def tables_page(
    application: Application, published: Sequence[Published], base: str, account: Account | None = None
) -> str:
    """Return the page of all tables of a TAP service."""
    return pages.render(
        "tables.html",
        base,
        account,
        f"/{application.name}/tables",
        application=application,
        url=f"{base}/{application.name}",
        schemas=tree(published),
        query_url=lambda query: query_url(base, application.name, query),
        sample_query=sample_query,
    )


def table_page(
    application: Application,
    table: TableEntry,
    overview: Mapping[str, Any] | None,
    base: str,
    account: Account | None = None,
) -> str:
    """Return the page of one table: its columns, and some rows if they could be read."""
    return pages.render(
        "table.html",
        base,
        account,
        f"/{application.name}/tables/{table.table.full_name}",
        application=application,
        url=f"{base}/{application.name}",
        entry=table,
        overview=overview,
        query_url=lambda query: query_url(base, application.name, query),
        sample_query=sample_query,
        cone_query=cone_query(table),
    )


def cone_query(table: TableEntry) -> str:
    """Return a query for a cone, if the table has positions."""
    if table.table.position is None:
        return ""
    lon, lat = map(written, table.table.position)
    return f"SELECT TOP 100 *\nFROM {table.written}\nWHERE 1 = CONTAINS(POINT({lon}, {lat}), CIRCLE(10.68, 41.27, 1.0))"


def sample_query(table: TableEntry, rows: int = 100) -> str:
    """Return a query for the first rows of a table."""
    return f"SELECT TOP {rows} *\nFROM {table.written}"


def query_url(base: str, application: str, query: str) -> str:
    """Return the query page with a query in its editor."""
    return f"{base}/{application}/query?{urlencode({'QUERY': query})}"


def query_page(
    application: Application,
    schemas: Sequence[tuple[str, str, Sequence[TableEntry]]],
    state: QueryState,
    history: Sequence[Past],
    base: str,
    account: Account | None = None,
) -> str:
    """Return the page on which one writes queries."""
    examples = [
        (example, str(example.parameters["QUERY"]))
        for example in application.examples
        if isinstance(example.parameters.get("QUERY"), str) and "UPLOAD" not in example.parameters
    ]
    columns = sum(len(table.columns) for _, _, tables in schemas for table in tables)
    url = f"{base}/{application.name}"
    view = result_view(state.overview, state.entries) if state.overview is not None else None
    return pages.render(
        "query.html",
        base,
        account,
        f"/{application.name}/query",
        application=application,
        url=url,
        schemas=schemas,
        with_columns=columns <= MAX_TREE_COLUMNS,
        state=state,
        entries=state.entries,
        view=view,
        place=place_of(state.error),
        history=history,
        examples=examples,
        query_url=lambda query: query_url(base, application.name, query),
        sample_query=sample_query,
        sync_url=f"{url}/sync?{urlencode({'LANG': 'ADQL', 'QUERY': state.entries.query})}",
        formats=next((result.formats for result in application.results if result.formats), {}),
    )


def place_of(error: UwsError | None) -> tuple[int, int] | None:
    """Return line and column of a query's error."""
    import re

    match = re.match(r"Line (\d{1,6}), column (\d{1,6}): ", error.message) if error is not None else None
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class ResultView:
    """A table as a page shows it: some rows, and pictures of all of them."""

    columns: Sequence[Mapping[str, Any]]
    rows: Sequence[Sequence[str | None]]
    count: int
    overflow: bool
    sky: Markup
    sky_words: str
    plot: Markup
    plot_words: str
    numeric: Sequence[tuple[int, str]]
    x: int | None
    y: int | None
    sample: str
    notes: Sequence[str] = ()
    seconds: float | None = None


def result_view(overview: Mapping[str, Any], entries: Entries) -> ResultView:
    """Return an overview (`uws_service.tap.overview`) for a page.

    It comes from a process of this service; its texts are what a table holds, and are escaped.
    """
    columns, numeric = overview["columns"], overview["numeric"]
    x, y = axes(columns, numeric, entries.x, entries.y)
    plot, plot_words = _plot(overview, x, y)
    return ResultView(
        columns=columns,
        rows=overview["rows"],
        count=overview["count"],
        overflow=overview.get("overflow", False),
        sky=Markup(overview["sky"]),
        sky_words=sky_words(overview),
        plot=plot,
        plot_words=plot_words,
        numeric=[(number, columns[number]["name"]) for number in numeric],
        x=x,
        y=y,
        sample=json.dumps(plot_data(overview)) if numeric else "",
        notes=overview.get("notes", ()),
        seconds=overview.get("seconds"),
    )


def sky_words(overview: Mapping[str, Any]) -> str:
    """Return how many positions the picture of the sky has, of how many."""
    located, cells, count = overview["located"], overview["cells"], overview["count"]
    rows = f"; {count - located:,} rows have none" if count > located else ""
    if cells:
        return f"All {located:,} positions, counted in {cells:,} HEALPix cells (ICRS); darker is denser{rows}."
    return f"All {located:,} positions (ICRS){rows}."


def plot_data(overview: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a script needs to plot any two columns."""
    columns = overview["columns"]
    return {
        "labels": [label(columns[number]) for number in overview["numeric"]],
        "names": [columns[number]["name"] for number in overview["numeric"]],
        "magnitudes": [is_magnitude(columns[number]) for number in overview["numeric"]],
        "columns": overview["sample"],
        "count": overview["count"],
    }


def axes(columns: Sequence[Mapping[str, Any]], numeric: Sequence[int], x: str, y: str) -> tuple[int | None, int | None]:
    """Return the numbers of the columns to plot: those that are asked for, else two that are no identifiers."""
    if not numeric:
        return None, None
    by_name = {columns[number]["name"]: number for number in numeric}
    preferred = sorted(numeric, key=lambda number: _dullness(columns[number]))
    usual = sorted(preferred[:2])
    first = by_name.get(x, usual[0])
    return first, by_name.get(y, next((number for number in reversed(usual) if number != first), usual[-1]))


def _dullness(column: Mapping[str, Any]) -> int:
    """Return how little a column tells in a plot: floating values with units come first."""
    floating = column["datatype"] in ("float", "double")
    identifier = (column["ucd"] or "").startswith(("meta.", "pos.eq."))
    return (0 if floating else 2) + (0 if column["unit"] else 1) + (3 if identifier else 0)


def label(column: Mapping[str, Any]) -> str:
    """Return a column's name with its unit."""
    return f"{column['name']} ({column['unit']})" if column["unit"] else str(column["name"])


def is_magnitude(column: Mapping[str, Any]) -> bool:
    """Return whether smaller values are drawn above."""
    return (
        (column["unit"] or "").lower() in MAGNITUDES
        and (column["ucd"] or "").startswith(("phot.mag", ""))
        and ("err" not in (column["ucd"] or ""))
    )


def _plot(overview: Mapping[str, Any], x: int | None, y: int | None) -> tuple[Markup, str]:
    if x is None or y is None:
        return Markup(), ""
    columns, sample = overview["columns"], dict(zip(overview["numeric"], overview["sample"], strict=True))
    picture, points = plot_svg(
        sample[x], sample[y], label(columns[x]), label(columns[y]), upside_down=is_magnitude(columns[y])
    )
    count, drawn = overview["count"], len(sample[x])
    if drawn < count:
        words = f"{points:,} points: those of {drawn:,} rows that were drawn at random from all {count:,}."
    else:
        words = f"{points:,} points of {count:,} rows."
    return Markup(picture), words if picture else "No row has both values."


def column_words(columns: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what a column's head says on hover."""
    return ["; ".join(filter(None, (column["description"], column["ucd"]))) for column in columns]
