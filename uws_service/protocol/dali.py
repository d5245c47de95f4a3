"""DALI documents: errors (DALI 1.1 §4.2, §4.4.2), examples (§2.3)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lxml import etree

from uws_service.applications import Application, Example
from uws_service.protocol.uws import xml_text

VOTABLE_NS = "http://www.ivoa.net/xml/VOTable/v1.3"
XHTML_NS = "http://www.w3.org/1999/xhtml"
VOCABULARY = "http://www.ivoa.net/rdf/examples#"

_VOTABLE_NSMAP: Any = {None: VOTABLE_NS}
_XHTML_NSMAP: Any = {None: XHTML_NS}


def error_votable(message: str, detail: str = "") -> bytes:
    """Return a VOTable that says ERROR (D-046, D-048).

    It has one RESOURCE with the message in INFO QUERY_STATUS.

    The namespace is the default one: TOPCAT looks for the elements without regard to namespaces (D-050).
    """
    root = etree.Element(f"{{{VOTABLE_NS}}}VOTABLE", {"version": "1.4"}, nsmap=_VOTABLE_NSMAP)
    resource = etree.SubElement(root, f"{{{VOTABLE_NS}}}RESOURCE", {"type": "results"})
    attributes = {"name": "QUERY_STATUS", "value": "ERROR"}
    etree.SubElement(resource, f"{{{VOTABLE_NS}}}INFO", attributes).text = xml_text(message)
    if detail:
        attributes = {"name": "DETAIL", "value": "see text"}
        etree.SubElement(resource, f"{{{VOTABLE_NS}}}INFO", attributes).text = xml_text(detail)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")


def error_text(message: str, detail: str = "") -> str:
    """Return an error as plain text."""
    return f"{message}\n\n{detail}" if detail else message


def _button(parent: etree._Element, example: Example, url: str) -> None:
    """Add a form that runs an example as a job."""

    def element(above: etree._Element, tag: str, **attributes: str) -> etree._Element:
        return etree.SubElement(above, f"{{{XHTML_NS}}}{tag}", attributes)

    line = element(element(parent, "form", method="post", action=url), "p")
    for key, value in example.parameters.items():
        element(line, "input", type="hidden", name=key, value=xml_text(str(value)))
    element(line, "button", type="submit", name="PHASE", value="RUN").text = "Run this query"


def examples_xhtml(
    application: Application, base: str, *, query: str = "", presets: Collection[str] = (), with_buttons: bool = False
) -> bytes:
    """Return the application's examples (D-017).

    They are XHTML with RDFa attributes alone, of one vocabulary.

    Parameters
    ----------
    query
        The parameter that is a query: it has a property of its own (T-030).
    presets
        Names, in upper case, of parameters that go without saying.
    with_buttons
        Whether an example that needs no more than its query has a button that runs it.
    """

    def element(parent: etree._Element, name: str, text: str = "", **attributes: str) -> etree._Element:
        child = etree.SubElement(parent, f"{{{XHTML_NS}}}{name}", attributes)
        child.text = xml_text(text) or None
        return child

    root = etree.Element(f"{{{XHTML_NS}}}html", nsmap=_XHTML_NSMAP)
    title = f"Examples of {application.title}"
    element(element(root, "head"), "title", title)
    body = element(root, "body", vocab=VOCABULARY)
    element(body, "h1", title)
    for number, example in enumerate(application.examples, 1):
        division = element(body, "div", typeof="example", id=f"example-{number}", resource=f"#example-{number}")
        element(division, "h2", example.name, property="name")
        element(division, "p", example.description)
        if query in example.parameters:
            element(division, "pre", str(example.parameters[query]), property="query")
        listed = element(division, "ul")
        for key, value in example.parameters.items():
            for single in value if isinstance(value, (list, tuple)) else (value,):
                if key.upper() == query or key.upper() in presets:
                    continue
                pair = element(listed, "li", property="generic-parameter", typeof="keyval")
                element(pair, "span", key, property="key")
                element(pair, "span", str(single), property="value")
        if not len(listed):
            division.remove(listed)
            if with_buttons:
                _button(division, example, f"{base}/async")
        element(division, "p", f"Send it to {base}/sync, or to {base}/async with PHASE=RUN.")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")
