"""Metadata of results, and safety of the SQL.

No text of a user gets into the SQL but as a value or a name.
"""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from typing import Any, get_args

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from tests.adql.sky import TABLES, UPLOAD
from tests.adql.test_corpus import CORPUS
from uws_service.adql import AdqlError, Dialect, translate

DIALECTS = get_args(Dialect)
ALL = [*TABLES, UPLOAD]


def _columns(query: str) -> list[tuple[Any, ...]]:
    result = translate(query, ALL, "duckdb").columns
    return [(c.name, c.datatype, c.arraysize, c.xtype, c.unit, c.ucd) for c in result]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT ra FROM stars", [("ra", "double", None, None, "deg", "pos.eq.ra;meta.main")]),
        ("SELECT RA AS Lon FROM stars", [("Lon", "double", None, None, "deg", "pos.eq.ra;meta.main")]),
        ("SELECT s.x FROM (SELECT mag AS x FROM stars) s", [("x", "float", None, None, "mag", "phot.mag")]),
        ("SELECT seen FROM stars", [("seen", "char", "*", "timestamp", None, None)]),
        ('SELECT "size" FROM stars', [("size", "short", None, None, None, None)]),
        ("SELECT centre FROM fields", [("centre", "double", "2", "point", None, None)]),
        ("SELECT spectrum FROM fields", [("spectrum", "float", "*", None, None, None)]),
        ("SELECT COUNT(*) FROM stars", [("count", "long", None, None, None, None)]),
        ("SELECT MAX(mag) FROM stars", [("max", "float", None, None, "mag", "phot.mag")]),
        ("SELECT AVG(mag) FROM stars", [("avg", "double", None, None, "mag", None)]),
        ("SELECT ra + dec, ra * dec FROM stars", [
            ("column_1", "double", None, None, "deg", None), ("column_2", "double", None, None, None, None),
        ]),
        ("SELECT DISTANCE(ra, dec, 0, 0) AS d FROM stars", [("d", "double", None, None, "deg", None)]),
        ("SELECT AREA(beam) FROM fields", [("area", "double", None, None, "deg**2", None)]),
        ("SELECT POINT(ra, dec) FROM stars", [("point", "double", "2", "point", None, None)]),
        ("SELECT CIRCLE(1, 2, 3)", [("circle", "double", "3", "circle", None, None)]),
        ("SELECT BOX(1, 2, 3, 4)", [("box", "double", "*", "polygon", None, None)]),
        ("SELECT IN_UNIT(mag, 'mmag') AS a FROM stars", [("a", "double", None, None, "mmag", "phot.mag")]),
        ("SELECT CAST(id AS VARCHAR(5)) AS t FROM stars", [("t", "char", "*", None, None, None)]),
        ("SELECT 'Ω' AS o", [("o", "unicodeChar", "*", None, None, None)]),
        ("SELECT NULL AS n", [("n", "char", "*", None, None, None)]),
        ("SELECT id FROM stars UNION SELECT 1.5", [("id", "double", None, None, None, "meta.id;meta.main")]),
        ("SELECT ra, ra, dec AS ra FROM stars", [
            ("ra", "double", None, None, "deg", "pos.eq.ra;meta.main"),
            ("ra_2", "double", None, None, "deg", "pos.eq.ra;meta.main"),
            ("ra_3", "double", None, None, "deg", "pos.eq.dec;meta.main"),
        ]),
        ("SELECT a, A_2 FROM (SELECT 1 AS a, 2 AS A, 3 AS a_2) AS x", "a_2"),
    ],
)  # fmt: skip
def test_columns_of_results(query: str, columns: list[tuple[Any, ...]] | str) -> None:
    if isinstance(columns, str):  # a generated name made way for a given one
        assert len({name.lower() for name, *_ in _columns(query)}) == 2
    else:
        assert _columns(query) == columns


def test_tables_and_limit() -> None:
    query = (
        "SELECT TOP 7 s.id FROM stars s WHERE s.id IN (SELECT gid FROM galaxies) AND s.id > (SELECT MIN(id) FROM stars)"
    )
    translation = translate(query, ALL, "postgresql")
    assert translation.tables == ("obs.stars", "obs.galaxies")
    assert translation.limit == 7 and translation.sql.endswith(" LIMIT 7")
    without = translate("SELECT id FROM (SELECT TOP 3 id FROM stars) AS x ORDER BY id OFFSET 1", ALL, "postgresql")
    assert without.limit is None and not without.sql.endswith("LIMIT 3")


_PUBLISHED = {("obs", "stars"), ("obs", "galaxies"), ("obs", "fields"), ("", "tap_upload.mine")}
# Every word that may stand before a bracket: functions of ours and of the engines, and SQL's own.
_FUNCTIONS = set(
    """
    ADQL_CONTAINS ADQL_INTERSECTS ADQL_AREA ADQL_CENTROID ADQL_CELLS ERROR UNNEST ISFINITE ISINF RANDOM
    ABS ACOS ASIN ATAN ATAN2 AVG CAST CEIL COALESCE COS COUNT DEGREES EXP FLOOR GREATEST LEAST LEFT LN LOG LOG10 LOWER
    MAX MIN MOD NULLIF PI POWER RADIANS REPLACE SIN SQRT SUM TAN TRUNC UPPER
    AREA SCIRCLE SPOINT STRING_AGG GENERATE_SERIES ARRAY_LENGTH Q3C_RADIAL_QUERY Q3C_JOIN
    SELECT FROM AS ON IN AND OR NOT EXISTS WHERE HAVING BY THEN WHEN ELSE UNION ALL EXCEPT INTERSECT JOIN BETWEEN
    DISTINCT LIKE ILIKE OFFSET
    """.split()
)


def _check_output(sql: str, dialect: str) -> None:
    """Check with another parser that the SQL is a safe SELECT.

    It may read published tables and call known functions only.
    """
    assert "\0" not in sql
    statements = sqlglot.parse(sql, dialect="duckdb" if dialect == "duckdb" else "postgres")
    assert len(statements) == 1 and isinstance(statements[0], exp.Query)
    tree = statements[0]
    common = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not table.name or isinstance(table.this, exp.Func):
            continue
        assert table.name in common or (table.db, table.name) in _PUBLISHED, sql
    tokens = sqlglot.tokenize(sql, dialect="duckdb" if dialect == "duckdb" else "postgres")
    for word, bracket in pairwise(tokens):
        if bracket.text == "(" and word.text[:1].isalpha() and not sql[word.start : word.end + 1].startswith('"'):
            assert word.text.upper().split()[-1] in _FUNCTIONS, (word.text, sql)
    for column in tree.find_all(exp.Column):
        assert not column.db and not column.catalog


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_corpus_becomes(dialect: Dialect) -> None:
    checked = 0
    for entries in CORPUS.values():
        for entry in entries:
            try:
                sql = translate(entry["query"], ALL, dialect).sql
            except AdqlError:
                continue
            _check_output(sql, dialect)
            checked += 1
    assert checked > 350


_WORDS = sorted({word for entries in CORPUS.values() for e in entries for word in re.findall(r"\w+|\W", e["query"])})


@settings(max_examples=600)
@given(st.lists(st.sampled_from(_WORDS) | st.text(max_size=5), max_size=30), st.sampled_from(DIALECTS))
def test_any_text_is_answered_or_refused_with_its_place(words: list[str], dialect: Dialect) -> None:
    text = " ".join(["SELECT", *words])
    try:
        sql = translate(text, ALL, dialect).sql
    except AdqlError as error:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
    else:
        _check_output(sql, dialect)


@settings(max_examples=300)
@given(st.text(max_size=40).filter(lambda t: "\0" not in t))
def test_strings_and_names_stay_what_they_are(text: str) -> None:
    quoted, delimited = text.replace("'", "''"), text.replace('"', '""')
    for dialect in ("duckdb", "postgresql"):
        alias = f'"{delimited}"' if text else "x"
        translation = translate(f"SELECT '{quoted}' AS {alias}", ALL, dialect)
        assert translation.columns[0].name == (text or "x")
        (tree,) = sqlglot.parse(translation.sql, dialect="duckdb" if dialect == "duckdb" else "postgres")
        assert tree is not None and [e.alias for e in tree.selects] == ["c1"]  # type: ignore[attr-defined]
        literal = tree.find(exp.Literal)
        assert literal is not None and literal.this == text


@pytest.mark.parametrize(
    "query",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "-" * 1 + " - " * 3000 + "1",
        "SELECT " + "NOT " * 3000 + "1 FROM stars",
        "SELECT id FROM stars WHERE " + "NOT " * 3000 + "id = 1",
        "SELECT 1" + " + 1" * 5000,
        "SELECT id FROM stars WHERE id = 1" + " OR id = 1" * 4000,
        "SELECT " + "ABS(" * 3000 + "1" + ")" * 3000,
        "SELECT " + "DISTANCE(ra, dec, 1, " * 30 + "1" + ")" * 30 + " FROM stars",
        "SELECT " + "POWER(" * 40 + "ra" + ", 2)" * 40 + " FROM stars",
        "SELECT id FROM " + "(SELECT id FROM " * 500 + "stars" + ") AS x" * 500,
        "SELECT 1" + " UNION SELECT 1" * 3000,
        "SELECT id FROM stars a" + "".join(f" JOIN stars b{n} ON a.id = b{n}.id" for n in range(1000)),
        "SELECT id FROM stars WHERE id IN (" + "1, " * 20000 + "1)",
        "SELECT id FROM " + "(" * 2000 + "stars" + ")" * 2000,
        "SELECT " + "id, " * 5000 + "id FROM stars",
        "SELECT '" + "a" * 300_000 + "'",
    ],
)
@pytest.mark.parametrize("dialect", ["duckdb", "postgresql"])
def test_large_and_deep_queries_are_bounded(query: str, dialect: Dialect) -> None:
    limit = sys.getrecursionlimit()
    try:
        translation = translate(query, ALL, dialect)
    except AdqlError:
        pass
    else:
        assert len(translation.sql) < 3_000_000
    assert sys.getrecursionlimit() == limit


def test_the_number_of_tokens_is_bounded() -> None:
    with pytest.raises(AdqlError, match="the query has 150001 words and marks"):
        translate("SELECT" + ";" * 150_000, ALL, "duckdb")


@pytest.mark.parametrize("query", ["{}", "SELECT {}", "SELECT {}(1)", "SELECT id FROM {}", "SELECT CAST(1 AS {})"])
def test_errors_are_short(query: str) -> None:
    """A message repeats the beginning of a long word, not all of it."""
    with pytest.raises(AdqlError) as caught:
        translate(query.format("x" * 50_000), ALL, "duckdb")
    assert len(caught.value.message) < 500 and "xxxx…" in caught.value.message
