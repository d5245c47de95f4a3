"""Validation of documents against the schemas of this repository, by the root element's namespace; no network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
BY_NAMESPACE = {
    "http://www.ivoa.net/xml/UWS/v1.0": "uws-1.1.xsd",
    "http://www.ivoa.net/xml/VOSIAvailability/v1.0": "vosi-availability.xsd",
    "http://www.ivoa.net/xml/VOSICapabilities/v1.0": "vosi-capabilities.xsd",
}


@cache
def schema(name: str) -> etree.XMLSchema:
    """A schema, read once."""
    return etree.XMLSchema(etree.parse(SCHEMAS / name))


def validate(document: bytes) -> None:
    """Raise unless the document is valid; one of an unknown namespace is an error too."""
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    namespace = etree.QName(root).namespace
    if namespace not in BY_NAMESPACE:
        raise AssertionError(f"no schema for the namespace {namespace!r}")
    schema(BY_NAMESPACE[namespace]).assertValid(root)
