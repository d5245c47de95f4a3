"""DALI 1.1 §2 and §3.4, VOSI 1.1: the resources beside the job list."""

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
XML = ("text/xml", "application/xml")


def capabilities(see: Bench) -> Reply:
    return see.share("capabilities", lambda: see.get(f"{see.base}/capabilities"))


def availability(see: Bench) -> Reply:
    return see.share("availability", lambda: see.get(f"{see.base}/availability"))


def root(reply: Reply) -> etree._Element:
    if reply.status != 200:
        raise Skipped(str(reply))
    return documents.parse(reply.body, reply.url)


@check("D-002", "MUST", "DALI 1.1 §2", "capabilities answers 200 beside the job list.")
def capabilities_answers(see: Bench) -> str:
    reply = capabilities(see)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check(
    "D-002",
    "SHOULD",
    "DALI 1.1 §2",
    "availability answers 200 beside the job list.",
    "DALI 1.1 requires it, 1.2 no longer; it may lie elsewhere.",
)
def availability_answers(see: Bench) -> str:
    reply = availability(see)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-010", "MUST", "VOSI 1.1 §3.1", "The document element of capabilities is capabilities of VOSI.")
def capabilities_root(see: Bench) -> str:
    tag = root(capabilities(see)).tag
    expect(tag == CAPABILITIES, f"the root is {tag}")
    return str(tag)


@check(
    "V-010", "MUST", "VOSI 1.1 §3.1", "There is at least one capability, unqualified.", "No namespace on capability."
)
def capability_elements(see: Bench) -> str:
    found = root(capabilities(see)).findall("capability")
    expect(found, "no unqualified capability")
    return f"{len(found)} capabilities"


@check("V-012", "MUST", "VOSI 1.1 §2", "capabilities is text/xml or application/xml.")
def capabilities_type(see: Bench) -> str:
    found = capabilities(see)
    root(found)
    expect(found.media_type in XML, f"Content-Type {found.media_type!r}")
    return found.media_type


@check("V-013", "SHOULD", "VOSI 1.1 §3.1", "capabilities names itself: ivo://ivoa.net/std/VOSI#capabilities.")
def names_itself(see: Bench) -> str:
    found = [one.get("standardID") or "" for one in root(capabilities(see)).findall("capability")]
    expect("ivo://ivoa.net/std/vosi#capabilities" in map(str.lower, found), f"standardIDs are {found}")
    return ", ".join(found)


@check("V-010", "MUST", "VOSI 1.1 §3.1", "Each interface has an absolute accessURL.")
def access_urls(see: Bench) -> str:
    found = [(one.findtext("accessURL") or "").strip() for one in root(capabilities(see)).iter("interface")]
    expect(found, "no interface")
    expect(all(url.startswith(("http://", "https://")) for url in found), f"accessURLs are {found}")
    return f"{len(found)} interfaces"


@check("U-170", "MAY", "UWS 1.1 §2.2.1.1", "A UWS capability, if there is one, names the job list.")
def uws_capability(see: Bench) -> str:
    for one in root(capabilities(see)).findall("capability"):
        if (one.get("standardID") or "").lower().startswith("ivo://ivoa.net/std/uws"):
            found = [(url.text or "").strip().rstrip("/") for url in one.iter("accessURL")]
            expect(see.jobs in found, f"accessURLs are {found}, the list is {see.jobs}")
            return see.jobs
    raise Unsupported("no capability of UWS")


@check("V-020", "MUST", "VOSI 1.1 §4", "The document element of availability is availability of VOSI.")
def availability_root(see: Bench) -> str:
    tag = root(availability(see)).tag
    expect(tag == AVAILABILITY, f"the root is {tag}")
    return str(tag)


@check("V-020", "MUST", "VOSI 1.1 §4", "The availability document is valid against its schema.")
def availability_valid(see: Bench) -> str:
    documents.valid(root(availability(see)), "vosi-availability.xsd", "availability")
    return "valid"


@check("V-020", "MUST", "VOSI 1.1 §4", "available is a boolean.")
def available(see: Bench) -> str:
    found = root(availability(see)).findtext("{*}available")
    expect((found or "").strip() in ("true", "false", "0", "1"), f"available is {found!r}")
    return str(found)


@check("V-001", "SHOULD", "VOSI 1.1 §2", "HEAD of capabilities works.", "TOPCAT probes it for challenges.")
def capabilities_head(see: Bench) -> str:
    reply = see.client.send("HEAD", f"{see.base}/capabilities")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("V-001", "SHOULD", "VOSI 1.1 §2", "POST to capabilities is refused.")
def capabilities_post(see: Bench) -> str:
    reply = see.post(f"{see.base}/capabilities", ("A", "1"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("V-002", "MUST", "VOSI 1.1 §4", "capabilities can be read without credentials.")
def capabilities_anonymous(see: Bench) -> str:
    reply = see.anonymous("GET", f"{see.base}/capabilities")
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("D-005", "MUST", "DALI 1.1 §2", "A resource that is not there answers 404.")
def nothing_there(see: Bench) -> str:
    reply = see.get(f"{see.base}/no-such-resource-5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


def examples(see: Bench) -> etree._Element:
    """The document of examples; a document type is allowed here, its entities are not read."""
    reply = see.share("examples", lambda: see.get(f"{see.base}/examples"))
    if reply.status == 404:
        raise Unsupported(str(reply))
    expect(reply.status == 200, str(reply))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(reply.body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Broken(f"{reply}: {error}") from error


@check("D-017", "MUST", "DALI 1.1 §2.3", "examples is well-formed XML, or is not there (404).")
def examples_xml(see: Bench) -> str:
    return str(examples(see).tag)


@check("D-017", "SHOULD", "DALI 1.1 §2.3", "examples is an XHTML page.")
def examples_page(see: Bench) -> str:
    tag = str(examples(see).tag)
    expect(tag.rpartition("}")[2] == "html", f"the root is {tag}")
    return tag


@check("D-017", "MUST", "DALI 1.1 §2.3", "Each example has an id, itself as resource, and one name.")
def examples_parts(see: Bench) -> str:
    found = examples(see).findall(".//*[@typeof='example']")
    for one in found:
        where = f"the example {one.get('id')!r}"
        expect(
            one.get("id") and one.get("resource") == f"#{one.get('id')}", f"{where} has resource {one.get('resource')}"
        )
        names = one.findall(".//*[@property='name']")
        expect(len(names) == 1, f"{where} has {len(names)} names")
    return f"{len(found)} examples"


def sync_by(method: str) -> None:
    @check(
        "D-015",
        "MUST",
        "DALI 1.1 §2.2",
        f"{method} to sync ends in 200 with the result.",
        name=f"sync-{method.lower()}",
    )
    def answers(see: Bench) -> str:
        reply = see.sync(see.kind("short"), method)
        expect(reply.status == 200, str(reply))
        return str(reply)


sync_by("GET")
sync_by("POST")


@check(
    "D-045", "SHOULD", "DALI 1.1 §4.2", "A request to sync that fails answers 4xx or 5xx, with a text that says why."
)
def sync_error(see: Bench) -> str:
    reply = see.sync(see.kind("failing"))
    queries = "TAP 1.1" in see.profile.chapters  # TAP allows 200 with an error document
    expect(reply.status >= 400 or (queries and b"ERROR" in reply.body), str(reply))
    expect(reply.body.strip(), f"{reply} without a text")
    return str(reply)


SIBLINGS = re.compile(r"ivo://ivoa\.net/std/(vosi#(capabilities|tables)|uws#|dali#examples|soda#|tap$)", re.I)


@check("D-003", "MUST", "DALI 1.1 §2", "All resources are siblings under one base URL; availability may lie elsewhere.")
def siblings(see: Bench) -> str:
    found = {}
    for one in root(capabilities(see)).findall("capability"):
        standard, url = one.get("standardID") or "", (one.findtext("interface/accessURL") or "").strip().rstrip("/")
        if SIBLINGS.match(standard) and url:
            found[standard] = url if standard.lower().endswith("/tap") else url.rpartition("/")[0]
    expect(len(set(found.values())) <= 1, f"the folders are {found}")
    return ", ".join(set(found.values())) or "no resource is named"


@check("V-011", "SHOULD", "VOSI 1.1 §3.1", "Last-Modified of capabilities tells when they last changed.")
def last_modified(see: Bench) -> str:
    found = capabilities(see).headers.get("last-modified")
    root(capabilities(see))
    expect(found, "no Last-Modified")
    return str(found)


@check("V-014", "TRAP", "Clients §pyvo", "Types of capabilities and interfaces are written xsi:type.")
def xsi_type(see: Bench) -> str:
    text = capabilities(see).text
    prefix = re.search(r'xmlns:([\w.-]+)=["\']http://www.w3.org/2001/XMLSchema-instance["\']', text)
    expect(prefix, "no type is given")
    expect(prefix and f"{prefix[1]}:type=" in text and prefix[1] == "xsi", f"the prefix is {prefix and prefix[1]}")
    return "xsi:type"
