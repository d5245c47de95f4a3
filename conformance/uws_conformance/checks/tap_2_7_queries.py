"""TAP 1.1 §2.7: query parameters and answers.

The checks use sync, which is quick.
"""

from __future__ import annotations

from typing import Any

from uws_conformance import votable
from uws_conformance.bench import PART_NAME, VOTABLE, Bench
from uws_conformance.checks.tap_2_resources import tap_capability
from uws_conformance.http import Reply
from uws_conformance.outcomes import Broken, Unsupported, expect
from uws_conformance.registry import check
from uws_conformance.votable import Votable

LANG_SECTION, QUERY_SECTION, MAXREC_SECTION, FORMAT_SECTION, UPLOAD_SECTION = (
    f"TAP 1.1 §2.7.{n}" for n in (1, 2, 4, 3, 5)
)
FROM_COLUMNS = "FROM TAP_SCHEMA.columns"  # describes itself, so it has more than five rows
TEXT_VOTABLE = "application/x-votable+xml;serialization=TABLEDATA"


def send_query(bench: Bench, query: str, *extra: tuple[str, str], lang: str = "ADQL", **options: Any) -> Reply:
    """Send a query to sync."""
    form = (("LANG", lang), ("QUERY", query), *extra)
    return bench.sync(tuple(pair for pair in form if pair[1]), "POST", **options)


def query_table(bench: Bench, query: str, *extra: tuple[str, str], **options: Any) -> Votable:
    """Return the table of a successful query.

    Its rows are text if the server can write them so.
    """
    reply = send_query(bench, query, *extra, ("RESPONSEFORMAT", TEXT_VOTABLE), **options)
    if reply.status >= 400 and not options:
        reply = send_query(bench, query, *extra)
    expect(reply.status == 200, f"{reply}: {reply.text[:200]}")
    return votable.read(reply.body, reply.url)


def expect_error(reply: Reply) -> str:
    """Expect an error as TAP allows it.

    That is 4xx, or an error document with 200.
    """
    if 400 <= reply.status < 500:
        return str(reply)
    expect(reply.status == 200, str(reply))
    try:
        states = votable.read(reply.body, reply.url).states
    except Broken as error:
        raise Broken(f"{reply} without an error") from error
    expect("ERROR" in states, f"{reply}, QUERY_STATUS is {states}")
    return f"{reply}, ERROR"


@check("T-010", "MUST", LANG_SECTION, "LANG=ADQL with a QUERY answers 200 with a VOTable.")
def adql(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}")
    expect("ERROR" not in document.states, f"QUERY_STATUS is {document.states}: {document.message}")
    return f"{len(document.fields)} columns"


@check("T-010", "MUST", LANG_SECTION, "An unknown LANG is an error.")
def unknown_language(bench: Bench) -> str:
    return expect_error(send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", lang="nonsense"))


@check("T-010", "MUST", LANG_SECTION, "A malformed QUERY is an error.")
def no_query(bench: Bench) -> str:
    return expect_error(send_query(bench, "DUFF QUERY"))


@check("D-048", "MUST", "TAP 1.1 §3.3", "An error document that is a VOTable has QUERY_STATUS ERROR first or last.")
def error_status(bench: Bench) -> str:
    reply = send_query(bench, "DUFF QUERY")
    if b"VOTABLE" not in reply.body[:2000]:
        raise Unsupported(f"the error is {reply.media_type}")
    states = votable.read(reply.body, reply.url).states
    expect(states and "ERROR" in (states[0], states[-1]), f"QUERY_STATUS is {states}")
    return "ERROR"


@check("D-050", "TRAP", "TAP 1.1 §3.3", "An error VOTable has no prefix and its text in the INFO.")
def error_for_topcat(bench: Bench) -> str:
    reply = send_query(bench, "DUFF QUERY")
    if b"VOTABLE" not in reply.body[:2000]:
        raise Broken(f"the error is {reply.media_type}: TOPCAT cannot tell its text")
    document = votable.read(reply.body, reply.url)
    expect(not document.prefixed, "its elements have a prefix")
    expect(document.message, "the INFO has no text")
    return document.message[:80]


@check("T-011", "MUST", FORMAT_SECTION, "The default is VOTable.")
def default_format(bench: Bench) -> str:
    reply = send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}")
    expect(reply.media_type in ("application/x-votable+xml", "text/xml"), f"{reply}, {reply.media_type!r}")
    votable.read(reply.body, reply.url)
    return reply.media_type


def add_format_check(name: str, value: str, level: str, types: tuple[str, ...]) -> None:
    """Register the check of an output format."""

    @check("T-011", level, FORMAT_SECTION, f"{name}={value} gives {types[0]}.", name=f"{name}-{value}".lower())
    def has_type(bench: Bench) -> str:
        reply = send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", (name, value))
        expect(reply.status == 200, f"{reply}: {reply.text[:200]}")
        expect(reply.media_type in types, f"Content-Type {reply.media_type!r}")
        return reply.media_type


VOTABLE_TYPES = ("application/x-votable+xml", "text/xml")
add_format_check("RESPONSEFORMAT", "votable", "MUST", VOTABLE_TYPES)
add_format_check("FORMAT", "votable", "MUST", VOTABLE_TYPES)
add_format_check("RESPONSEFORMAT", "csv", "SHOULD", ("text/csv",))
add_format_check("RESPONSEFORMAT", "tsv", "SHOULD", ("text/tab-separated-values",))


@check("D-024", "MUST", FORMAT_SECTION, "RESPONSEFORMAT=text/xml gives just that media type.")
def media_type_kept(bench: Bench) -> str:
    reply = send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", ("RESPONSEFORMAT", "text/xml"))
    expect(reply.media_type == "text/xml", f"{reply}, Content-Type {reply.media_type!r}")
    return reply.media_type


@check("D-024", "SHOULD", FORMAT_SECTION, "A RESPONSEFORMAT that is not supported is an error.")
def unknown_format(bench: Bench) -> str:
    return expect_error(
        send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", ("RESPONSEFORMAT", "no/such-format"))
    )


@check("D-025", "MUST", MAXREC_SECTION, "MAXREC=0 gives no row, the columns, and the overflow mark.")
def maxrec_zero(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 3 column_name {FROM_COLUMNS}", ("MAXREC", "0"))
    expect(document.fields, "no columns")
    expect("OVERFLOW" in document.states, f"QUERY_STATUS is {document.states}")
    expect(not document.rows, f"{len(document.rows)} rows")
    return "no row"


def add_malformed_maxrec_check(value: str) -> None:
    """Register the check of a malformed MAXREC."""

    @check("D-025", "MUST", MAXREC_SECTION, f"MAXREC={value} is an error.", name=f"maxrec-{value}")
    def refuses_maxrec(bench: Bench) -> str:
        return expect_error(send_query(bench, f"SELECT TOP 3 column_name {FROM_COLUMNS}", ("MAXREC", value)))


add_malformed_maxrec_check("-1")
add_malformed_maxrec_check("abc")


@check("D-021", "MUST", MAXREC_SECTION, "MAXREC given twice is an error: it has one value.")
def maxrec_twice(bench: Bench) -> str:
    return expect_error(send_query(bench, f"SELECT TOP 3 column_name {FROM_COLUMNS}", ("MAXREC", "1"), ("MAXREC", "2")))


def add_limit_check(top: int, maxrec: int, rows: int, marked: bool) -> None:
    """Register the check of TOP with MAXREC."""
    description = f"{rows} rows, {'with' if marked else 'without'} the overflow mark"

    @check(
        "T-012",
        "MUST",
        MAXREC_SECTION,
        f"TOP {top} with MAXREC={maxrec} gives {description}.",
        name=f"top-{top}-maxrec-{maxrec}",
    )
    def has_rows_and_mark(bench: Bench) -> str:
        document = query_table(bench, f"SELECT TOP {top} column_name {FROM_COLUMNS}", ("MAXREC", str(maxrec)))
        expect(len(document.rows) == rows, f"{len(document.rows)} rows")
        expect(("OVERFLOW" in document.states) == marked, f"QUERY_STATUS is {document.states}")
        return description


add_limit_check(3, 5, 3, False)
add_limit_check(5, 3, 3, True)
add_limit_check(3, 3, 3, False)


@check("D-047", "MUST", MAXREC_SECTION, "The overflow mark stands first, or after the table.")
def overflow_place(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 5 column_name {FROM_COLUMNS}", ("MAXREC", "2"))
    states_after = [value for name, value, _ in document.after if name == "QUERY_STATUS"]
    expect(document.states[:1] == ["OVERFLOW"] or states_after == ["OVERFLOW"], f"QUERY_STATUS is {document.states}")
    return "after the table" if states_after else "first"


@check("D-046", "MUST", "TAP 1.1 §3", "A VOTable has QUERY_STATUS before its TABLE and the version 1.2 or newer.")
def query_status(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}")
    states_before = [value for name, value, _ in document.before if name == "QUERY_STATUS"]
    expect(
        states_before and states_before[0] in ("OK", "OVERFLOW"), f"before the TABLE QUERY_STATUS is {states_before}"
    )
    expect(document.version >= "1.2", f"version is {document.version!r}")
    return f"{states_before[0]}, {document.version}"


@check("D-049", "SHOULD", "TAP 1.1 §3", "Further INFOs describe the origin of the table, such as the query.")
def further_infos(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}")
    names = [name for name, _, _ in document.before + document.after if name != "QUERY_STATUS"]
    expect(names, "no INFO beside QUERY_STATUS")
    return ", ".join(names)


@check("T-023", "MUST", "TAP 1.1 §3.2", "Columns come in number, order and with the names of the SELECT.")
def columns(bench: Bench) -> str:
    names = query_table(bench, f"SELECT TOP 1 datatype, column_name AS other, table_name {FROM_COLUMNS}").fields
    expect([name.lower() for name in names] == ["datatype", "other", "table_name"], f"columns are {list(names)}")
    return ", ".join(names)


@check("T-023", "MUST", "TAP 1.1 §3.2", "Column names are unique, generated ones too.")
def unique_columns(bench: Bench) -> str:
    names = query_table(bench, f"SELECT COUNT(*), MAX(column_name), MIN(column_name) {FROM_COLUMNS}").fields
    expect(len(set(map(str.lower, names))) == 3, f"columns are {list(names)}")
    return ", ".join(names)


@check("D-023", "TRAP", "TAP 1.1 §2.7.1", "REQUEST=doQuery is tolerated.", "pyvo and TOPCAT still send it.")
def request_tolerated(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", ("REQUEST", "doQuery"))
    expect("ERROR" not in document.states, f"QUERY_STATUS is {document.states}")
    return "tolerated"


@check("D-022", "SHOULD", "TAP 1.1 §2.7", "A query with an unknown parameter is answered.")
def unknown_ignored(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", ("ZZZ_UNKNOWN", "1"))
    expect("ERROR" not in document.states, f"QUERY_STATUS is {document.states}")
    return "ignored"


@check("D-020", "MUST", "TAP 1.1 §2.7", "Parameter names of queries are case-insensitive: mAxReC limits.")
def maxrec_case(bench: Bench) -> str:
    document = query_table(bench, f"SELECT TOP 5 column_name {FROM_COLUMNS}", ("mAxReC", "2"))
    expect(len(document.rows) < 5, f"{len(document.rows)} rows with mAxReC=2")
    return "limited"


def require_uploads(bench: Bench) -> None:
    """Skip the check unless uploads are declared."""
    if not tap_capability(bench).findall("uploadMethod"):
        raise Unsupported("no upload method is declared")


def query_upload(bench: Bench, value: str, query: str) -> Votable:
    """Return the table of a query with our upload."""
    require_uploads(bench)
    files = {PART_NAME: ("table.vot", VOTABLE, "application/x-votable+xml")}
    return query_table(bench, query, ("UPLOAD", value), files=files)


@check("T-014", "MUST", UPLOAD_SECTION, "A VOTable of the form is TAP_UPLOAD.name; its values come back.")
def upload_values(bench: Bench) -> str:
    document = query_upload(bench, f"mine,param:{PART_NAME}", "SELECT ra, label FROM TAP_UPLOAD.mine ORDER BY ra")
    expect([row[1:] for row in document.rows] == [("one",), ("a < b",)], f"rows are {document.rows}")
    expect([float(row[0]) for row in document.rows] == [10.5, 11.5], f"rows are {document.rows}")
    return "2 rows"


@check("D-026", "MUST", UPLOAD_SECTION, "The name of an upload that is no identifier is an error.")
def upload_bad_name(bench: Bench) -> str:
    require_uploads(bench)
    files = {PART_NAME: ("table.vot", VOTABLE, "application/x-votable+xml")}
    form = ("UPLOAD", f"1 bad,param:{PART_NAME}")
    return expect_error(send_query(bench, f"SELECT TOP 1 column_name {FROM_COLUMNS}", form, files=files))


@check("D-026", "MUST", UPLOAD_SECTION, "UPLOAD of a missing part is an error.")
def upload_no_part(bench: Bench) -> str:
    require_uploads(bench)
    return expect_error(
        send_query(bench, "SELECT * FROM TAP_UPLOAD.mine", ("UPLOAD", "mine,param:no_such_part"), files={})
    )


@check(
    "D-026",
    "TRAP",
    UPLOAD_SECTION,
    "Two uploads in one value, joined by a semicolon, are two tables.",
    "pyvo joins them.",
)
def uploads_joined(bench: Bench) -> str:
    value = f"one,param:{PART_NAME};two,param:{PART_NAME}"
    document = query_upload(bench, value, "SELECT o.ra FROM TAP_UPLOAD.one AS o JOIN TAP_UPLOAD.two AS t ON o.ra=t.ra")
    expect(len(document.rows) == 2, f"{len(document.rows)} rows")
    return "2 rows"
