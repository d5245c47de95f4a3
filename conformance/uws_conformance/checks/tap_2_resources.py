"""TAP 1.1 §2.4 to §2.6 and VOSI 1.1 §3.3: capabilities, tables and examples of a TAP service."""

from __future__ import annotations

import re
from urllib.parse import quote

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.dali_vosi import capabilities, root
from uws_conformance.http import Reply
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check

AT, TABLES = "TAP 1.1 §2.4", "TAP 1.1 §2.5"
TAP = "ivo://ivoa.net/std/tap"
REGEXT = "ivo://ivoa.net/std/tapregext#"
TYPE = f"{{{documents.XSI}}}type"
TABLESET = "{http://www.ivoa.net/xml/VOSITables/v1.0}tableset"
TABLE = "{http://www.ivoa.net/xml/VOSITables/v1.0}table"


def declared(see: Bench) -> list[etree._Element]:
    """The capabilities of TAP."""
    return [
        one for one in root(capabilities(see)).findall("capability") if (one.get("standardID") or "").lower() == TAP
    ]


def capability(see: Bench) -> etree._Element:
    found = declared(see)
    if not found:
        raise Skipped("the capabilities name no TAP")
    return found[0]


def interface(see: Bench) -> etree._Element:
    for one in capability(see).findall("interface"):
        if one.get("role") == "std":
            return one
    raise Skipped('the TAP capability has no interface of the role "std"')


@check("T-002", "MUST", AT, "Exactly one capability has the standardID ivo://ivoa.net/std/TAP.")
def one_tap_capability(see: Bench) -> str:
    found = declared(see)
    expect(len(found) == 1, f"{len(found)} capabilities of TAP")
    return "one"


@check("T-002", "MUST", AT, 'Its interface is a vs:ParamHTTP of the role "std".')
def tap_interface(see: Bench) -> str:
    found = [(one.get(TYPE) or "", one.get("role")) for one in capability(see).findall("interface")]
    fit = [kind for kind, role in found if role == "std" and kind.rpartition(":")[2] == "ParamHTTP"]
    expect(fit, f"interfaces are {found}")
    return fit[0]


@check("T-002", "MUST", AT, 'Its interface has version="1.1".', "Without it clients take you for TAP 1.0.")
def tap_version(see: Bench) -> str:
    found = interface(see).get("version")
    expect(found in ("1.1", "1.2"), f"version is {found!r}")
    return str(found)


@check("T-002", "MUST", AT, "Its accessURL is the base URL, without /sync or /async.")
def tap_access_url(see: Bench) -> str:
    found = [(one.text or "").strip().rstrip("/") for one in interface(see).findall("accessURL")]
    expect(see.base in found, f"accessURLs are {found}, asked was {see.base}")
    return see.base


@check("T-002", "TRAP", AT, 'The accessURL has use="base".', "With use=full pyvo sends /async without credentials.")
def tap_access_use(see: Bench) -> str:
    found = [one.get("use") for one in interface(see).findall("accessURL")]
    expect("base" in found, f"use is {found}")
    return "base"


@check("T-003", "SHOULD", AT, "The TAP capability is a tr:TableAccess.")
def table_access(see: Bench) -> str:
    found = capability(see).get(TYPE) or ""
    expect(found.rpartition(":")[2] == "TableAccess", f"its xsi:type is {found!r}")
    return found


@check("T-003", "SHOULD", AT, "It names a language with its versions, and an output format.")
def languages(see: Bench) -> str:
    names = [one.findtext("name") or "" for one in capability(see).findall("language") if one.findall("version")]
    formats = [one.findtext("mime") or "" for one in capability(see).findall("outputFormat")]
    expect(names and all(names), f"languages with versions are {names}")
    expect(formats and all(formats), f"formats are {formats}")
    return f"{', '.join(names)}; {', '.join(formats)}"


@check(
    "T-004",
    "MUST",
    AT,
    "ADQL is declared with an IVOID of the standard.",
    "Such as ivo://ivoa.net/std/ADQL#v2.1.",
)
def adql_ids(see: Bench) -> str:
    found = [
        (one.get("ivo-id") or "").lower()
        for language in capability(see).findall("language")
        for one in language.findall("version")
        if (language.findtext("name") or "").upper() == "ADQL"
    ]
    fit = [one for one in found if re.fullmatch(r"ivo://ivoa\.net/std/adql#v?2\.[01]", one)]
    expect(fit, f"versions of ADQL are {found}")
    return ", ".join(fit)


@check("T-004", "MUST", AT, "If uploads are taken, inline and http are declared.")
def upload_ids(see: Bench) -> str:
    found = {(one.get("ivo-id") or "").lower() for one in capability(see).findall("uploadMethod")}
    if not found:
        raise Unsupported("no uploads")
    missing = {f"{REGEXT}upload-inline", f"{REGEXT}upload-http"} - found
    expect(not missing, f"missing are {', '.join(sorted(missing))}")
    return ", ".join(sorted(found))


@check("T-004", "MUST", AT, "Sets of language features have the IVOIDs of TAPRegExt.")
def feature_ids(see: Bench) -> str:
    found = [(one.get("type") or "").lower() for one in capability(see).iter("languageFeatures")]
    strange = [one for one in found if "ivoa.net/std/tapregext" in one and not one.startswith(f"{REGEXT}features-")]
    expect(all(found) and not strange, f"types are {found}")
    return f"{len(found)} sets"


def tables(see: Bench) -> Reply:
    return see.share("tables", lambda: see.get(f"{see.base}/tables"))


def tableset(see: Bench) -> etree._Element:
    reply = tables(see)
    if reply.status != 200:
        raise Skipped(str(reply))
    return documents.parse(reply.body, reply.url)


@check("T-001", "MUST", "TAP 1.1 §2", "sync is there: it answers a query.")
def sync_there(see: Bench) -> str:
    reply = see.sync(see.kind("short"), "POST")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("T-001", "SHOULD", TABLES, "tables answers 200.", "404 says that there is none; clients then read TAP_SCHEMA.")
def tables_answers(see: Bench) -> str:
    reply = tables(see)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-030", "MUST", TABLES, "The document element of tables is tableset of VOSI.")
def tables_root(see: Bench) -> str:
    tag = tableset(see).tag
    expect(tag == TABLESET, f"the root is {tag}")
    return str(tag)


@check("V-030", "MUST", TABLES, "Schemas and tables are unqualified and have a name.")
def tables_names(see: Bench) -> str:
    schemas = tableset(see).findall("schema")
    expect(schemas, "no unqualified schema")
    names = [one.findtext("name") for schema in schemas for one in [schema, *schema.findall("table")]]
    expect(all(names), "a schema or table without name")
    return f"{len(schemas)} schemas, {len(names) - len(schemas)} tables"


@check("V-030", "MUST", TABLES, "Columns, where they are given, have a name.")
def tables_columns(see: Bench) -> str:
    found = list(tableset(see).iter("column"))
    expect(all(one.findtext("name") for one in found), "a column without name")
    return f"{len(found)} columns"


@check("V-031", "MUST", TABLES, "tables/<name> gives one table with its columns.", "Quotes of the name are escaped.")
def single_table(see: Bench) -> str:
    names = [one.findtext("name") or "" for one in tableset(see).iter("table")]
    if not names:
        raise Skipped("no table is listed")
    reply = see.get(f"{see.base}/tables/{quote(names[0], safe='')}")
    expect(reply.status == 200, str(reply))
    one = documents.parse(reply.body, reply.url)
    expect(one.tag == TABLE, f"the root is {one.tag}")
    expect(one.findtext("name") == names[0], f"asked for {names[0]}, got {one.findtext('name')}")
    expect(one.findall("column"), f"{names[0]} has no columns")
    return f"{names[0]}: {len(one.findall('column'))} columns"


@check("V-031", "MUST", TABLES, "tables?detail=min and detail=max answer 200.", "They are hints only.")
def tables_detail(see: Bench) -> str:
    tableset(see)
    for detail in ("min", "max"):
        reply = see.get(f"{see.base}/tables?detail={detail}")
        expect(reply.status == 200, str(reply))
    return "200"


@check("V-031", "MUST", TABLES, "A table that is not there answers 404.")
def unknown_table(see: Bench) -> str:
    tableset(see)
    reply = see.get(f"{see.base}/tables/no_such_table_5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-030", "MUST", "TAP 1.1 §2.6", "Each example has one query.", 'An element with property="query".')
def example_queries(see: Bench) -> str:
    reply = see.get(f"{see.base}/examples")
    if reply.status == 404:
        raise Unsupported(str(reply))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        page = etree.fromstring(reply.body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except etree.XMLSyntaxError as error:
        raise Skipped(f"{reply}: {error}") from error
    found = page.findall(".//*[@typeof='example']")
    counts = [len(one.findall(".//*[@property='query']")) for one in found]
    expect(all(count == 1 for count in counts), f"queries in the examples: {counts}")
    return f"{len(found)} examples"


@check("T-030", "SHOULD", "TAP 1.1 §2.6", "examples is application/xhtml+xml or text/html.")
def example_type(see: Bench) -> str:
    reply = see.get(f"{see.base}/examples")
    if reply.status == 404:
        raise Unsupported(str(reply))
    expect(reply.media_type in ("application/xhtml+xml", "text/html"), f"Content-Type {reply.media_type!r}")
    return reply.media_type
