"""XML that comes from a stranger: parsed without entities or network, held against schemas, read by name."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from lxml import etree

from uws_conformance.outcomes import Broken

UWS = "http://www.ivoa.net/xml/UWS/v1.0"
XLINK = "http://www.w3.org/1999/xlink"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
PHASES = "PENDING QUEUED EXECUTING COMPLETED ERROR ABORTED UNKNOWN HELD SUSPENDED ARCHIVED".split()
FINAL = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
JUDGING = threading.Lock()
HERE = Path(__file__).resolve().parent


def parse(body: bytes, what: str) -> etree._Element:
    """The root element, or what is wrong; a document type declaration is refused, so that no entity is expanded."""
    refusal = f"{what} has a document type declaration; it was not read"
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise Broken(refusal)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Broken(f"{what} is not well-formed XML: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:  # in an encoding that hides it from the search above
        raise Broken(refusal)
    return root


@cache
def schema(file: str) -> etree.XMLSchema:
    """A compiled schema; an installed package holds the files, a checkout has them at its root."""
    inside = HERE / "schemas" / file
    return etree.XMLSchema(file=str(inside if inside.exists() else HERE.parents[1] / "schemas" / file))


def valid(root: etree._Element, file: str, what: str) -> None:
    """Hold a document against a schema."""
    with JUDGING:  # a compiled schema keeps its log of errors in itself
        judge = schema(file)
        fine = judge.validate(root)
        first = None if fine else next(iter(judge.error_log))  # type: ignore[call-overload]  # the stubs lack it
    if first is not None:
        raise Broken(f"{what} is not valid: line {first.line}: {first.message}")


def child(root: etree._Element, name: str) -> etree._Element | None:
    """A child in the UWS namespace."""
    return root.find(f"{{{UWS}}}{name}")


def value(root: etree._Element, name: str) -> str | None:
    """The text of a child; None if it is not there or nil."""
    found = child(root, name)
    if found is None or found.get(f"{{{XSI}}}nil") in ("true", "1"):
        return None
    return found.text or ""


def instant(text: str) -> datetime:
    """An instant as the rules write it."""
    if not INSTANT.fullmatch(text):
        raise Broken(f"{text!r} is no ISO 8601 instant with T and Z")
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}").replace(tzinfo=UTC)
    except ValueError as error:
        raise Broken(f"{text!r} is no instant: {error}") from error
