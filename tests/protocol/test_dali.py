"""Error documents and examples."""

from __future__ import annotations

import warnings
from io import BytesIO

from astropy.io import votable
from hypothesis import given
from lxml import etree

from tests.protocol.samples import texts
from uws_service.applications import Application
from uws_service.applications.model import Example
from uws_service.protocol.dali import VOCABULARY, VOTABLE_NS, XHTML_NS, error_text, error_votable, examples_xhtml
from uws_service.protocol.uws import xml_text

V = f"{{{VOTABLE_NS}}}"
X = f"{{{XHTML_NS}}}"
APPLICATION = Application(
    "cone",
    "Cone & more",
    "…",
    ("true",),
    examples=(
        Example("First <one>", "Around a point.", {"POS": "12.3 45.6", "POL": ("I", "Q"), "MAXREC": 5}),
        Example("Second", "", {}),
    ),
)


def test_error_document_is_read_by_astropy() -> None:
    """D-046, D-048: a strict reader finds the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = votable.parse(BytesIO(error_votable("Radius <2> & more", "line 1\nline 2")), verify="exception")
    [resource] = table.resources
    assert resource.type == "results" and not resource.tables
    [status] = [info for info in resource.infos if info.name == "QUERY_STATUS"]
    assert status.value == "ERROR" and status.content == "Radius <2> & more"
    assert table.version == "1.4"


def test_error_document_is_found_without_regard_to_namespaces() -> None:
    """D-050, C-14: as TOPCAT looks for it."""
    raw = error_votable("no such table")
    assert raw.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE xmlns=')
    bare = etree.fromstring(raw.replace(f' xmlns="{VOTABLE_NS}"'.encode(), b""))
    assert bare.xpath("/VOTABLE/RESOURCE[@type='results']/INFO[@name='QUERY_STATUS']/text()") == ["no such table"]


@given(texts, texts)
def test_any_message_makes_a_document(message: str, detail: str) -> None:
    """D-048: messages quote what clients sent, whatever that was."""
    root = etree.fromstring(error_votable(message, detail))
    first = root.find(f"{V}RESOURCE/{V}INFO")
    assert first is not None and first.get("value") == "ERROR" and (first.text or "") == xml_text(message)


def test_error_text_is_one_line_then_the_detail() -> None:
    """D-043: the message comes first."""
    assert error_text("short") == "short"
    assert error_text("short", "long\nlong").splitlines()[0] == "short"


def test_examples_are_rdfa_lite() -> None:
    """D-017: walked as a client does."""
    root = etree.fromstring(examples_xhtml(APPLICATION, "https://h/cone"))
    assert root.tag == X + "html"
    assert [element.get("vocab") for element in root.iter() if element.get("vocab") is not None] == [VOCABULARY]
    holder = next(element for element in root.iter() if element.get("vocab"))
    examples = holder.findall(".//*[@typeof='example']")
    assert len(examples) == 2
    for element in examples:
        assert element.get("resource") == "#" + str(element.get("id"))
        assert len(element.findall(".//*[@property='name']")) == 1
    assert examples[0].findtext(".//*[@property='name']") == "First <one>"
    pairs = [
        (pair.findtext("*[@property='key']"), pair.findtext("*[@property='value']"))
        for pair in examples[0].findall(".//*[@property='generic-parameter']")
    ]
    assert pairs == [("POS", "12.3 45.6"), ("POL", "I"), ("POL", "Q"), ("MAXREC", "5")]
    assert all(pair.get("typeof") == "keyval" for pair in root.findall(".//*[@property='generic-parameter']"))
    allowed = {"vocab", "typeof", "property", "resource", "prefix", "id", "href", "src"}
    assert {name for element in root.iter() for name in element.attrib} <= allowed
    assert len({element.get("id") for element in examples}) == 2
