"""XML from untrusted servers: parsing, validation, access.

Documents are parsed without entities and without network.
"""

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
FINAL_PHASES = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
VALIDATION_LOCK = threading.Lock()
PACKAGE = Path(__file__).resolve().parent


def parse(body: bytes, subject: str) -> etree._Element:
    """Return the root element of a document.

    A document type declaration is refused, so that no entity is expanded.
    """
    message = f"{subject} has a document type declaration; it was not read"
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise Broken(message)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)  # noqa: TID251 -- without entities, network and DTDs
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Broken(f"{subject} is not well-formed XML: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:  # its encoding may hide it from the search above
        raise Broken(message)
    return root


@cache
def schema(file_name: str) -> etree.XMLSchema:
    """Return a compiled schema.

    An installed package holds the files; a checkout has them at its root.
    """
    packaged = PACKAGE / "schemas" / file_name
    return etree.XMLSchema(file=str(packaged if packaged.exists() else PACKAGE.parents[1] / "schemas" / file_name))


def valid(root: etree._Element, file_name: str, subject: str) -> None:
    """Validate a document against a schema."""
    with VALIDATION_LOCK:  # a compiled schema stores the errors of its last validation
        compiled = schema(file_name)
        is_valid = compiled.validate(root)
        first_error = None if is_valid else next(iter(compiled.error_log))  # type: ignore[call-overload]  # not in the stubs
    if first_error is not None:
        raise Broken(f"{subject} is not valid: line {first_error.line}: {first_error.message}")


def child(root: etree._Element, name: str) -> etree._Element | None:
    """Return a child in the UWS namespace."""
    return root.find(f"{{{UWS}}}{name}")


def value(root: etree._Element, name: str) -> str | None:
    """Return the text of a child.

    The value is None if the child is missing or nil.
    """
    element = child(root, name)
    if element is None or element.get(f"{{{XSI}}}nil") in ("true", "1"):
        return None
    return element.text or ""


def instant(text: str) -> datetime:
    """Parse an instant in the format of UWS."""
    if not INSTANT.fullmatch(text):
        raise Broken(f"{text!r} is no ISO 8601 instant with T and Z")
    seconds, _, fraction = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction + '000000')[:6]}").replace(tzinfo=UTC)
    except ValueError as error:
        raise Broken(f"{text!r} is no instant: {error}") from error
