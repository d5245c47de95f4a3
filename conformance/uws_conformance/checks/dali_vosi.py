"""DALI 1.1 §2 and §3.4, VOSI 1.1: sibling resources."""

from __future__ import annotations

import re

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.http import Reply
from uws_conformance.outcomes import Broken, Skipped, Unsupported, expect
from uws_conformance.registry import check

CAPABILITIES = "{http://www.ivoa.net/xml/VOSICapabilities/v1.0}capabilities"
AVAILABILITY = "{http://www.ivoa.net/xml/VOSIAvailability/v1.0}availability"
XML_TYPES = ("text/xml", "application/xml")


def capabilities(bench: Bench) -> Reply:
    """Return the reply of capabilities, requested once."""
    return bench.share("capabilities", lambda: bench.get(f"{bench.base_url}/capabilities"))


def availability(bench: Bench) -> Reply:
    """Return the reply of availability, requested once."""
    return bench.share("availability", lambda: bench.get(f"{bench.base_url}/availability"))


def document_root(reply: Reply) -> etree._Element:
    """Parse a reply, or skip if it is not 200."""
    if reply.status != 200:
        raise Skipped(str(reply))
    return documents.parse(reply.body, reply.url)


@check("D-002", "MUST", "DALI 1.1 §2", "capabilities answers 200 beside the job list.")
def capabilities_answers(bench: Bench) -> str:
    reply = capabilities(bench)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check(
    "D-002",
    "SHOULD",
    "DALI 1.1 §2",
    "availability answers 200 beside the job list.",
    "DALI 1.1 requires it, 1.2 no longer; it may lie elsewhere.",
)
def availability_answers(bench: Bench) -> str:
    reply = availability(bench)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-010", "MUST", "VOSI 1.1 §3.1", "The document element of capabilities is capabilities of VOSI.")
def capabilities_root(bench: Bench) -> str:
    tag = document_root(capabilities(bench)).tag
    expect(tag == CAPABILITIES, f"the root is {tag}")
    return str(tag)


@check(
    "V-010", "MUST", "VOSI 1.1 §3.1", "There is at least one capability, unqualified.", "No namespace on capability."
)
def capability_elements(bench: Bench) -> str:
    elements = document_root(capabilities(bench)).findall("capability")
    expect(elements, "no unqualified capability")
    return f"{len(elements)} capabilities"


@check("V-012", "MUST", "VOSI 1.1 §2", "capabilities is text/xml or application/xml.")
def capabilities_type(bench: Bench) -> str:
    reply = capabilities(bench)
    document_root(reply)
    expect(reply.media_type in XML_TYPES, f"Content-Type {reply.media_type!r}")
    return reply.media_type


@check("V-013", "SHOULD", "VOSI 1.1 §3.1", "capabilities names itself: ivo://ivoa.net/std/VOSI#capabilities.")
def names_itself(bench: Bench) -> str:
    standard_ids = [
        element.get("standardID") or "" for element in document_root(capabilities(bench)).findall("capability")
    ]
    expect("ivo://ivoa.net/std/vosi#capabilities" in map(str.lower, standard_ids), f"standardIDs are {standard_ids}")
    return ", ".join(standard_ids)


@check("V-010", "MUST", "VOSI 1.1 §3.1", "Each interface has an absolute accessURL.")
def access_urls(bench: Bench) -> str:
    urls = [
        (interface.findtext("accessURL") or "").strip()
        for interface in document_root(capabilities(bench)).iter("interface")
    ]
    expect(urls, "no interface")
    expect(all(url.startswith(("http://", "https://")) for url in urls), f"accessURLs are {urls}")
    return f"{len(urls)} interfaces"


@check("U-170", "MAY", "UWS 1.1 §2.2.1.1", "A UWS capability, if there is one, names the job list.")
def uws_capability(bench: Bench) -> str:
    for element in document_root(capabilities(bench)).findall("capability"):
        if (element.get("standardID") or "").lower().startswith("ivo://ivoa.net/std/uws"):
            access_urls = [(url.text or "").strip().rstrip("/") for url in element.iter("accessURL")]
            expect(bench.list_url in access_urls, f"accessURLs are {access_urls}, the list is {bench.list_url}")
            return bench.list_url
    raise Unsupported("no capability of UWS")


@check("V-020", "MUST", "VOSI 1.1 §4", "The document element of availability is availability of VOSI.")
def availability_root(bench: Bench) -> str:
    tag = document_root(availability(bench)).tag
    expect(tag == AVAILABILITY, f"the root is {tag}")
    return str(tag)


@check("V-020", "MUST", "VOSI 1.1 §4", "The availability document is valid against its schema.")
def availability_valid(bench: Bench) -> str:
    documents.valid(document_root(availability(bench)), "vosi-availability.xsd", "availability")
    return "valid"


@check("V-020", "MUST", "VOSI 1.1 §4", "available is a boolean.")
def available(bench: Bench) -> str:
    value = document_root(availability(bench)).findtext("{*}available")
    expect((value or "").strip() in ("true", "false", "0", "1"), f"available is {value!r}")
    return str(value)


@check("V-001", "SHOULD", "VOSI 1.1 §2", "HEAD of capabilities works.", "TOPCAT probes it for challenges.")
def capabilities_head(bench: Bench) -> str:
    reply = bench.client.send("HEAD", f"{bench.base_url}/capabilities")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-001", "SHOULD", "VOSI 1.1 §2", "POST to capabilities is refused.")
def capabilities_post(bench: Bench) -> str:
    reply = bench.post(f"{bench.base_url}/capabilities", ("A", "1"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("V-002", "MUST", "VOSI 1.1 §4", "capabilities can be read without credentials.")
def capabilities_anonymous(bench: Bench) -> str:
    reply = bench.send_anonymously("GET", f"{bench.base_url}/capabilities")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("D-005", "MUST", "DALI 1.1 §2", "A resource that does not exist answers 404.")
def nothing_there(bench: Bench) -> str:
    reply = bench.get(f"{bench.base_url}/no-such-resource-5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


def examples(bench: Bench) -> etree._Element:
    """Return the root of the examples document.

    It may have a document type declaration; entities are not expanded.
    """
    reply = bench.share("examples", lambda: bench.get(f"{bench.base_url}/examples"))
    if reply.status == 404:
        raise Unsupported(str(reply))
    expect(reply.status == 200, str(reply))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(reply.body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Broken(f"{reply}: {error}") from error


@check("D-017", "MUST", "DALI 1.1 §2.3", "examples is well-formed XML, or does not exist (404).")
def examples_xml(bench: Bench) -> str:
    return str(examples(bench).tag)


@check("D-017", "SHOULD", "DALI 1.1 §2.3", "examples is an XHTML page.")
def examples_page(bench: Bench) -> str:
    tag = str(examples(bench).tag)
    expect(tag.rpartition("}")[2] == "html", f"the root is {tag}")
    return tag


@check("D-017", "MUST", "DALI 1.1 §2.3", "Each example has an id, itself as resource, and one name.")
def examples_parts(bench: Bench) -> str:
    elements = examples(bench).findall(".//*[@typeof='example']")
    for element in elements:
        label = f"the example {element.get('id')!r}"
        expect(
            element.get("id") and element.get("resource") == f"#{element.get('id')}",
            f"{label} has resource {element.get('resource')}",
        )
        names = element.findall(".//*[@property='name']")
        expect(len(names) == 1, f"{label} has {len(names)} names")
    return f"{len(elements)} examples"


def add_sync_check(method: str) -> None:
    """Register the check of sync for a method."""

    @check(
        "D-015",
        "MUST",
        "DALI 1.1 §2.2",
        f"{method} to sync ends in 200 with the result.",
        name=f"sync-{method.lower()}",
    )
    def answers(bench: Bench) -> str:
        reply = bench.sync(bench.job_form("short"), method)
        expect(reply.status == 200, str(reply))
        return str(reply)


add_sync_check("GET")
add_sync_check("POST")


@check(
    "D-045", "SHOULD", "DALI 1.1 §4.2", "A request to sync that fails answers 4xx or 5xx, with a text that says why."
)
def sync_error(bench: Bench) -> str:
    reply = bench.sync(bench.job_form("failing"))
    queries = "TAP 1.1" in bench.profile.chapters  # TAP allows 200 with an error document
    expect(reply.status >= 400 or (queries and b"ERROR" in reply.body), str(reply))
    expect(reply.body.strip(), f"{reply} without a text")
    return str(reply)


SIBLING_STANDARD = re.compile(r"ivo://ivoa\.net/std/(vosi#(capabilities|tables)|uws#|dali#examples|soda#|tap$)", re.I)


@check("D-003", "MUST", "DALI 1.1 §2", "All resources are siblings under one base URL; availability may lie elsewhere.")
def siblings(bench: Bench) -> str:
    folders = {}
    for element in document_root(capabilities(bench)).findall("capability"):
        standard, url = (
            element.get("standardID") or "",
            (element.findtext("interface/accessURL") or "").strip().rstrip("/"),
        )
        if SIBLING_STANDARD.match(standard) and url:
            folders[standard] = url if standard.lower().endswith("/tap") else url.rpartition("/")[0]
    expect(len(set(folders.values())) <= 1, f"the folders are {folders}")
    return ", ".join(set(folders.values())) or "no resource is named"


@check("V-011", "SHOULD", "VOSI 1.1 §3.1", "Last-Modified tells when capabilities last changed.")
def last_modified(bench: Bench) -> str:
    date = capabilities(bench).headers.get("last-modified")
    document_root(capabilities(bench))
    expect(date, "no Last-Modified")
    return str(date)


@check("V-014", "TRAP", "Clients §pyvo", "Types of capabilities and interfaces are written xsi:type.")
def xsi_type(bench: Bench) -> str:
    text = capabilities(bench).text
    prefix = re.search(r'xmlns:([\w.-]+)=["\']http://www.w3.org/2001/XMLSchema-instance["\']', text)
    expect(prefix, "no type is given")
    expect(prefix and f"{prefix[1]}:type=" in text and prefix[1] == "xsi", f"the prefix is {prefix and prefix[1]}")
    return "xsi:type"
