"""TAP 1.1 §2.7: parameters of queries and what comes back; asked of the synchronous face, which is quick."""

from __future__ import annotations

from typing import Any

from uws_conformance import votable
from uws_conformance.bench import PART, VOTABLE, Bench
from uws_conformance.checks.tap_2_resources import capability
from uws_conformance.http import Reply
from uws_conformance.outcomes import Broken, Unsupported, expect
from uws_conformance.registry import check
from uws_conformance.votable import Votable

LANG, QUERY, MAXREC, FORMAT, UPLOAD = (f"TAP 1.1 §2.7.{n}" for n in (1, 2, 4, 3, 5))
FROM = "FROM TAP_SCHEMA.columns"  # it describes itself: there are more than five rows
TEXT = "application/x-votable+xml;serialization=TABLEDATA"


def ask(see: Bench, query: str, *more: tuple[str, str], lang: str = "ADQL", **options: Any) -> Reply:
    form = (("LANG", lang), ("QUERY", query), *more)
    return see.sync(tuple(pair for pair in form if pair[1]), "POST", **options)


def table(see: Bench, query: str, *more: tuple[str, str], **options: Any) -> Votable:
    """The answer of a query that succeeds, with its rows as text if the server can."""
    reply = ask(see, query, *more, ("RESPONSEFORMAT", TEXT), **options)
    if reply.status >= 400 and not options:
        reply = ask(see, query, *more)
    expect(reply.status == 200, f"{reply}: {reply.text[:200]}")
    return votable.read(reply.body, reply.url)


def fails(reply: Reply) -> str:
    """An error as TAP allows it: 4xx, or an error document with 200."""
    if 400 <= reply.status < 500:
        return str(reply)
    expect(reply.status == 200, str(reply))
    try:
        states = votable.read(reply.body, reply.url).states
    except Broken as error:
        raise Broken(f"{reply} without an error") from error
    expect("ERROR" in states, f"{reply}, QUERY_STATUS is {states}")
    return f"{reply}, ERROR"


@check("T-010", "MUST", LANG, "LANG=ADQL with a QUERY answers 200 with a VOTable.")
def adql(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 column_name {FROM}")
    expect("ERROR" not in found.states, f"QUERY_STATUS is {found.states}: {found.message}")
    return f"{len(found.fields)} columns"


@check("T-010", "MUST", LANG, "An unknown LANG is an error.")
def unknown_language(see: Bench) -> str:
    return fails(ask(see, f"SELECT TOP 1 column_name {FROM}", lang="nonsense"))


@check("T-010", "MUST", LANG, "A QUERY that is none is an error.")
def no_query(see: Bench) -> str:
    return fails(ask(see, "DUFF QUERY"))


@check("D-048", "MUST", "TAP 1.1 §3.3", "An error document that is a VOTable has QUERY_STATUS ERROR first or last.")
def error_status(see: Bench) -> str:
    reply = ask(see, "DUFF QUERY")
    if b"VOTABLE" not in reply.body[:2000]:
        raise Unsupported(f"the error is {reply.media_type}")
    found = votable.read(reply.body, reply.url).states
    expect(found and "ERROR" in (found[0], found[-1]), f"QUERY_STATUS is {found}")
    return "ERROR"


@check("D-050", "TRAP", "TAP 1.1 §3.3", "An error VOTable has no prefix and its text in the INFO.")
def error_for_topcat(see: Bench) -> str:
    reply = ask(see, "DUFF QUERY")
    if b"VOTABLE" not in reply.body[:2000]:
        raise Broken(f"the error is {reply.media_type}: TOPCAT cannot tell its text")
    found = votable.read(reply.body, reply.url)
    expect(not found.prefixed, "its elements have a prefix")
    expect(found.message, "the INFO has no text")
    return found.message[:80]


@check("T-011", "MUST", FORMAT, "The default is VOTable.")
def default_format(see: Bench) -> str:
    reply = ask(see, f"SELECT TOP 1 column_name {FROM}")
    expect(reply.media_type in ("application/x-votable+xml", "text/xml"), f"{reply}, {reply.media_type!r}")
    votable.read(reply.body, reply.url)
    return reply.media_type


def formats(name: str, value: str, level: str, types: tuple[str, ...]) -> None:
    @check("T-011", level, FORMAT, f"{name}={value} gives {types[0]}.", name=f"{name}-{value}".lower())
    def given(see: Bench) -> str:
        reply = ask(see, f"SELECT TOP 1 column_name {FROM}", (name, value))
        expect(reply.status == 200, f"{reply}: {reply.text[:200]}")
        expect(reply.media_type in types, f"Content-Type {reply.media_type!r}")
        return reply.media_type


XML = ("application/x-votable+xml", "text/xml")
formats("RESPONSEFORMAT", "votable", "MUST", XML)
formats("FORMAT", "votable", "MUST", XML)
formats("RESPONSEFORMAT", "csv", "SHOULD", ("text/csv",))
formats("RESPONSEFORMAT", "tsv", "SHOULD", ("text/tab-separated-values",))


@check("D-024", "MUST", FORMAT, "RESPONSEFORMAT=text/xml gives just that media type.")
def media_type_kept(see: Bench) -> str:
    reply = ask(see, f"SELECT TOP 1 column_name {FROM}", ("RESPONSEFORMAT", "text/xml"))
    expect(reply.media_type == "text/xml", f"{reply}, Content-Type {reply.media_type!r}")
    return reply.media_type


@check("D-024", "SHOULD", FORMAT, "A RESPONSEFORMAT that is not supported is an error.")
def unknown_format(see: Bench) -> str:
    return fails(ask(see, f"SELECT TOP 1 column_name {FROM}", ("RESPONSEFORMAT", "no/such-format")))


@check("D-025", "MUST", MAXREC, "MAXREC=0 gives no row, the columns, and the overflow mark.")
def maxrec_zero(see: Bench) -> str:
    found = table(see, f"SELECT TOP 3 column_name {FROM}", ("MAXREC", "0"))
    expect(found.fields, "no columns")
    expect("OVERFLOW" in found.states, f"QUERY_STATUS is {found.states}")
    expect(not found.rows, f"{len(found.rows)} rows")
    return "no row"


def malformed(value: str) -> None:
    @check("D-025", "MUST", MAXREC, f"MAXREC={value} is an error.", name=f"maxrec-{value}")
    def refused(see: Bench) -> str:
        return fails(ask(see, f"SELECT TOP 3 column_name {FROM}", ("MAXREC", value)))


malformed("-1")
malformed("abc")


@check("D-021", "MUST", MAXREC, "MAXREC given twice is an error: it has one value.")
def maxrec_twice(see: Bench) -> str:
    return fails(ask(see, f"SELECT TOP 3 column_name {FROM}", ("MAXREC", "1"), ("MAXREC", "2")))


def limits(top: int, maxrec: int, rows: int, marked: bool) -> None:
    wanted = f"{rows} rows, {'with' if marked else 'without'} the overflow mark"

    @check(
        "T-012", "MUST", MAXREC, f"TOP {top} with MAXREC={maxrec} gives {wanted}.", name=f"top-{top}-maxrec-{maxrec}"
    )
    def cut(see: Bench) -> str:
        found = table(see, f"SELECT TOP {top} column_name {FROM}", ("MAXREC", str(maxrec)))
        expect(len(found.rows) == rows, f"{len(found.rows)} rows")
        expect(("OVERFLOW" in found.states) == marked, f"QUERY_STATUS is {found.states}")
        return wanted


limits(3, 5, 3, False)
limits(5, 3, 3, True)
limits(3, 3, 3, False)


@check("D-047", "MUST", MAXREC, "The overflow mark stands first, or after the table.")
def overflow_place(see: Bench) -> str:
    found = table(see, f"SELECT TOP 5 column_name {FROM}", ("MAXREC", "2"))
    after = [value for name, value, _ in found.after if name == "QUERY_STATUS"]
    expect(found.states[:1] == ["OVERFLOW"] or after == ["OVERFLOW"], f"QUERY_STATUS is {found.states}")
    return "after the table" if after else "first"


@check("D-046", "MUST", "TAP 1.1 §3", "A VOTable has QUERY_STATUS before its TABLE and the version 1.2 or newer.")
def query_status(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 column_name {FROM}")
    before = [value for name, value, _ in found.before if name == "QUERY_STATUS"]
    expect(before and before[0] in ("OK", "OVERFLOW"), f"before the TABLE QUERY_STATUS is {before}")
    expect(found.version >= "1.2", f"version is {found.version!r}")
    return f"{before[0]}, {found.version}"


@check("D-049", "SHOULD", "TAP 1.1 §3", "Further INFOs tell where the table comes from, such as the query.")
def further_infos(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 column_name {FROM}")
    names = [name for name, _, _ in found.before + found.after if name != "QUERY_STATUS"]
    expect(names, "no INFO beside QUERY_STATUS")
    return ", ".join(names)


@check("T-023", "MUST", "TAP 1.1 §3.2", "Columns come in number, order and with the names of the SELECT.")
def columns(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 datatype, column_name AS other, table_name {FROM}").fields
    expect([one.lower() for one in found] == ["datatype", "other", "table_name"], f"columns are {list(found)}")
    return ", ".join(found)


@check("T-023", "MUST", "TAP 1.1 §3.2", "Names of columns are unique, generated ones too.")
def unique_columns(see: Bench) -> str:
    found = table(see, f"SELECT COUNT(*), MAX(column_name), MIN(column_name) {FROM}").fields
    expect(len(set(map(str.lower, found))) == 3, f"columns are {list(found)}")
    return ", ".join(found)


@check("D-023", "TRAP", "TAP 1.1 §2.7.1", "REQUEST=doQuery is tolerated.", "pyvo and TOPCAT still send it.")
def request_tolerated(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 column_name {FROM}", ("REQUEST", "doQuery"))
    expect("ERROR" not in found.states, f"QUERY_STATUS is {found.states}")
    return "tolerated"


@check("D-022", "SHOULD", "TAP 1.1 §2.7", "A query with an unknown parameter is answered.")
def unknown_ignored(see: Bench) -> str:
    found = table(see, f"SELECT TOP 1 column_name {FROM}", ("ZZZ_UNKNOWN", "1"))
    expect("ERROR" not in found.states, f"QUERY_STATUS is {found.states}")
    return "ignored"


@check("D-020", "MUST", "TAP 1.1 §2.7", "Parameter names of queries are case-insensitive: mAxReC limits.")
def maxrec_case(see: Bench) -> str:
    found = table(see, f"SELECT TOP 5 column_name {FROM}", ("mAxReC", "2"))
    expect(len(found.rows) < 5, f"{len(found.rows)} rows with mAxReC=2")
    return "limited"


def uploads(see: Bench) -> None:
    if not capability(see).findall("uploadMethod"):
        raise Unsupported("no upload method is declared")


def uploaded(see: Bench, value: str, query: str) -> Votable:
    uploads(see)
    files = {PART: ("table.vot", VOTABLE, "application/x-votable+xml")}
    return table(see, query, ("UPLOAD", value), files=files)


@check("T-014", "MUST", UPLOAD, "A VOTable of the form is TAP_UPLOAD.name; its values come back.")
def upload_values(see: Bench) -> str:
    found = uploaded(see, f"mine,param:{PART}", "SELECT ra, label FROM TAP_UPLOAD.mine ORDER BY ra")
    expect([one[1:] for one in found.rows] == [("one",), ("a < b",)], f"rows are {found.rows}")
    expect([float(one[0]) for one in found.rows] == [10.5, 11.5], f"rows are {found.rows}")
    return "2 rows"


@check("D-026", "MUST", UPLOAD, "The name of an upload that is no identifier is an error.")
def upload_bad_name(see: Bench) -> str:
    uploads(see)
    files = {PART: ("table.vot", VOTABLE, "application/x-votable+xml")}
    form = ("UPLOAD", f"1 bad,param:{PART}")
    return fails(ask(see, f"SELECT TOP 1 column_name {FROM}", form, files=files))


@check("D-026", "MUST", UPLOAD, "UPLOAD of a part that is not there is an error.")
def upload_no_part(see: Bench) -> str:
    uploads(see)
    return fails(ask(see, "SELECT * FROM TAP_UPLOAD.mine", ("UPLOAD", "mine,param:no_such_part"), files={}))


@check("D-026", "TRAP", UPLOAD, "Two uploads in one value, joined by a semicolon, are two tables.", "pyvo joins them.")
def uploads_joined(see: Bench) -> str:
    value = f"one,param:{PART};two,param:{PART}"
    found = uploaded(see, value, "SELECT o.ra FROM TAP_UPLOAD.one AS o JOIN TAP_UPLOAD.two AS t ON o.ra=t.ra")
    expect(len(found.rows) == 2, f"{len(found.rows)} rows")
    return "2 rows"
