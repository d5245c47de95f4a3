"""TAP 1.1 §2.4 to §2.6, VOSI 1.1 §3.3: TAP resources."""

from __future__ import annotations

import re
from urllib.parse import quote

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.dali_vosi import capabilities, document_root
from uws_conformance.http import Reply
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check

CAPABILITIES_SECTION, TABLES_SECTION = "TAP 1.1 §2.4", "TAP 1.1 §2.5"
TAP_ID = "ivo://ivoa.net/std/tap"
TAPREGEXT = "ivo://ivoa.net/std/tapregext#"
TYPE_ATTRIBUTE = f"{{{documents.XSI}}}type"
TABLESET_TAG = "{http://www.ivoa.net/xml/VOSITables/v1.0}tableset"
TABLE_TAG = "{http://www.ivoa.net/xml/VOSITables/v1.0}table"


def tap_capabilities(bench: Bench) -> list[etree._Element]:
    """Return all capabilities of TAP."""
    return [
        element
        for element in document_root(capabilities(bench)).findall("capability")
        if (element.get("standardID") or "").lower() == TAP_ID
    ]


def tap_capability(bench: Bench) -> etree._Element:
    """Return the first capability of TAP."""
    elements = tap_capabilities(bench)
    if not elements:
        raise Skipped("the capabilities name no TAP")
    return elements[0]


def std_interface(bench: Bench) -> etree._Element:
    """Return its interface with the role "std"."""
    for interface in tap_capability(bench).findall("interface"):
        if interface.get("role") == "std":
            return interface
    raise Skipped('the TAP capability has no interface of the role "std"')


@check("T-002", "MUST", CAPABILITIES_SECTION, "Exactly one capability has the standardID ivo://ivoa.net/std/TAP.")
def one_tap_capability(bench: Bench) -> str:
    elements = tap_capabilities(bench)
    expect(len(elements) == 1, f"{len(elements)} capabilities of TAP")
    return "one"


@check("T-002", "MUST", CAPABILITIES_SECTION, 'Its interface is a vs:ParamHTTP of the role "std".')
def tap_interface(bench: Bench) -> str:
    interfaces = [
        (interface.get(TYPE_ATTRIBUTE) or "", interface.get("role"))
        for interface in tap_capability(bench).findall("interface")
    ]
    suitable = [kind for kind, role in interfaces if role == "std" and kind.rpartition(":")[2] == "ParamHTTP"]
    expect(suitable, f"interfaces are {interfaces}")
    return suitable[0]


@check(
    "T-002",
    "MUST",
    CAPABILITIES_SECTION,
    'Its interface has version="1.1".',
    "Without it clients treat the server as TAP 1.0.",
)
def tap_version(bench: Bench) -> str:
    version = std_interface(bench).get("version")
    expect(version in ("1.1", "1.2"), f"version is {version!r}")
    return str(version)


@check("T-002", "MUST", CAPABILITIES_SECTION, "Its accessURL is the base URL, without /sync or /async.")
def tap_access_url(bench: Bench) -> str:
    urls = [(element.text or "").strip().rstrip("/") for element in std_interface(bench).findall("accessURL")]
    expect(bench.base_url in urls, f"accessURLs are {urls}, asked was {bench.base_url}")
    return bench.base_url


@check(
    "T-002",
    "TRAP",
    CAPABILITIES_SECTION,
    'The accessURL has use="base".',
    "With use=full pyvo sends /async without credentials.",
)
def tap_access_use(bench: Bench) -> str:
    uses = [element.get("use") for element in std_interface(bench).findall("accessURL")]
    expect("base" in uses, f"use is {uses}")
    return "base"


@check("T-003", "SHOULD", CAPABILITIES_SECTION, "The TAP capability is a tr:TableAccess.")
def table_access(bench: Bench) -> str:
    type_name = tap_capability(bench).get(TYPE_ATTRIBUTE) or ""
    expect(type_name.rpartition(":")[2] == "TableAccess", f"its xsi:type is {type_name!r}")
    return type_name


@check("T-003", "SHOULD", CAPABILITIES_SECTION, "It names a language with its versions, and an output format.")
def languages(bench: Bench) -> str:
    names = [
        element.findtext("name") or ""
        for element in tap_capability(bench).findall("language")
        if element.findall("version")
    ]
    formats = [element.findtext("mime") or "" for element in tap_capability(bench).findall("outputFormat")]
    expect(names and all(names), f"languages with versions are {names}")
    expect(formats and all(formats), f"formats are {formats}")
    return f"{', '.join(names)}; {', '.join(formats)}"


@check(
    "T-004",
    "MUST",
    CAPABILITIES_SECTION,
    "ADQL is declared with an IVOID of the standard.",
    "Such as ivo://ivoa.net/std/ADQL#v2.1.",
)
def adql_ids(bench: Bench) -> str:
    version_ids = [
        (version_id.get("ivo-id") or "").lower()
        for language in tap_capability(bench).findall("language")
        for version_id in language.findall("version")
        if (language.findtext("name") or "").upper() == "ADQL"
    ]
    suitable = [
        version_id for version_id in version_ids if re.fullmatch(r"ivo://ivoa\.net/std/adql#v?2\.[01]", version_id)
    ]
    expect(suitable, f"versions of ADQL are {version_ids}")
    return ", ".join(suitable)


@check("T-004", "MUST", CAPABILITIES_SECTION, "If uploads are taken, inline and http are declared.")
def upload_ids(bench: Bench) -> str:
    method_ids = {(element.get("ivo-id") or "").lower() for element in tap_capability(bench).findall("uploadMethod")}
    if not method_ids:
        raise Unsupported("no uploads")
    missing = {f"{TAPREGEXT}upload-inline", f"{TAPREGEXT}upload-http"} - method_ids
    expect(not missing, f"missing are {', '.join(sorted(missing))}")
    return ", ".join(sorted(method_ids))


@check("T-004", "MUST", CAPABILITIES_SECTION, "Sets of language features have the IVOIDs of TAPRegExt.")
def feature_ids(bench: Bench) -> str:
    types = [(features.get("type") or "").lower() for features in tap_capability(bench).iter("languageFeatures")]
    unknown = [
        name for name in types if "ivoa.net/std/tapregext" in name and not name.startswith(f"{TAPREGEXT}features-")
    ]
    expect(all(types) and not unknown, f"types are {types}")
    return f"{len(types)} sets"


def tables_reply(bench: Bench) -> Reply:
    """Return the reply of tables, requested once."""
    return bench.share("tables", lambda: bench.get(f"{bench.base_url}/tables"))


def tableset(bench: Bench) -> etree._Element:
    """Return the root of the tables document."""
    reply = tables_reply(bench)
    if reply.status != 200:
        raise Skipped(str(reply))
    return documents.parse(reply.body, reply.url)


@check("T-001", "MUST", "TAP 1.1 §2", "sync exists and answers a query.")
def sync_there(bench: Bench) -> str:
    reply = bench.sync(bench.job_form("short"), "POST")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check(
    "T-001",
    "SHOULD",
    TABLES_SECTION,
    "tables answers 200.",
    "404 says that there is none; clients then read TAP_SCHEMA.",
)
def tables_answers(bench: Bench) -> str:
    reply = tables_reply(bench)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-030", "MUST", TABLES_SECTION, "The document element of tables is tableset of VOSI.")
def tables_root(bench: Bench) -> str:
    tag = tableset(bench).tag
    expect(tag == TABLESET_TAG, f"the root is {tag}")
    return str(tag)


@check("V-030", "MUST", TABLES_SECTION, "Schemas and tables are unqualified and have a name.")
def tables_names(bench: Bench) -> str:
    schemas = tableset(bench).findall("schema")
    expect(schemas, "no unqualified schema")
    names = [element.findtext("name") for schema in schemas for element in [schema, *schema.findall("table")]]
    expect(all(names), "a schema or table without name")
    return f"{len(schemas)} schemas, {len(names) - len(schemas)} tables"


@check("V-030", "MUST", TABLES_SECTION, "Columns, where they are given, have a name.")
def tables_columns(bench: Bench) -> str:
    elements = list(tableset(bench).iter("column"))
    expect(all(column.findtext("name") for column in elements), "a column without name")
    return f"{len(elements)} columns"


@check(
    "V-031",
    "MUST",
    TABLES_SECTION,
    "tables/<name> gives one table with its columns.",
    "Quotes of the name are escaped.",
)
def single_table(bench: Bench) -> str:
    names = [table.findtext("name") or "" for table in tableset(bench).iter("table")]
    if not names:
        raise Skipped("no table is listed")
    reply = bench.get(f"{bench.base_url}/tables/{quote(names[0], safe='')}")
    expect(reply.status == 200, str(reply))
    table = documents.parse(reply.body, reply.url)
    expect(table.tag == TABLE_TAG, f"the root is {table.tag}")
    expect(table.findtext("name") == names[0], f"asked for {names[0]}, got {table.findtext('name')}")
    expect(table.findall("column"), f"{names[0]} has no columns")
    return f"{names[0]}: {len(table.findall('column'))} columns"


@check("V-031", "MUST", TABLES_SECTION, "tables?detail=min and detail=max answer 200.", "They are hints only.")
def tables_detail(bench: Bench) -> str:
    tableset(bench)
    for detail in ("min", "max"):
        reply = bench.get(f"{bench.base_url}/tables?detail={detail}")
        expect(reply.status == 200, str(reply))
    return "200"


@check("V-031", "MUST", TABLES_SECTION, "A table that does not exist answers 404.")
def unknown_table(bench: Bench) -> str:
    tableset(bench)
    reply = bench.get(f"{bench.base_url}/tables/no_such_table_5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-030", "MUST", "TAP 1.1 §2.6", "Each example has one query.", 'An element with property="query".')
def example_queries(bench: Bench) -> str:
    reply = bench.get(f"{bench.base_url}/examples")
    if reply.status == 404:
        raise Unsupported(str(reply))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        page = etree.fromstring(reply.body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except etree.XMLSyntaxError as error:
        raise Skipped(f"{reply}: {error}") from error
    examples = page.findall(".//*[@typeof='example']")
    counts = [len(example.findall(".//*[@property='query']")) for example in examples]
    expect(all(count == 1 for count in counts), f"queries in the examples: {counts}")
    return f"{len(examples)} examples"


@check("T-030", "SHOULD", "TAP 1.1 §2.6", "examples is application/xhtml+xml or text/html.")
def example_type(bench: Bench) -> str:
    reply = bench.get(f"{bench.base_url}/examples")
    if reply.status == 404:
        raise Unsupported(str(reply))
    expect(reply.media_type in ("application/xhtml+xml", "text/html"), f"Content-Type {reply.media_type!r}")
    return reply.media_type
