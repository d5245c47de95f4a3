"""XML documents checked against the schemas in ``schemas/``, without a network.

All schemas are loaded as one set, so that jobInfo's own elements are checked inside a job too, and the types that
``xsi:type`` names are known.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
NAMESPACES = {
    "http://www.ivoa.net/xml/UWS/v1.0": "uws-1.1.xsd",
    "http://www.ivoa.net/xml/VOSIAvailability/v1.0": "vosi-availability.xsd",
    "http://www.ivoa.net/xml/VOSICapabilities/v1.0": "vosi-capabilities.xsd",
    "http://www.ivoa.net/xml/VOResource/v1.0": "voresource.xsd",
    "http://www.ivoa.net/xml/VODataService/v1.1": "vodataservice.xsd",
    "http://www.w3.org/1999/xlink": "xlink.xsd",
    "urn:uws-service:jobinfo:1": "jobinfo.xsd",
}
XS = "http://www.w3.org/2001/XMLSchema"


@cache
def _schema() -> etree.XMLSchema:
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{name}"/>' for namespace, name in NAMESPACES.items()
    )
    driver = f'<xs:schema xmlns:xs="{XS}">{imports}</xs:schema>'
    parser = etree.XMLParser(no_network=True)
    return etree.XMLSchema(etree.fromstring(driver, parser, base_url=(FOLDER / "all.xsd").as_uri()))


def validate(document: bytes) -> None:
    """Raise `AssertionError` with all faults, if the document is not valid or its root is of no known namespace."""
    schema = _schema()
    try:
        parsed = etree.fromstring(document, etree.XMLParser(no_network=True, resolve_entities=False, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise AssertionError(f"not XML: {error}") from error
    if not schema.validate(parsed):
        faults = "\n".join(f"line {entry.line}: {entry.message}" for entry in schema.error_log)  # type: ignore[attr-defined]
        raise AssertionError(f"not valid:\n{faults}")
