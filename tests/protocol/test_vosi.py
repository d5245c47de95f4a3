"""Availability and capabilities."""

from __future__ import annotations

import warnings
from dataclasses import replace
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any

from lxml import etree
from pyvo.io import vosi as pyvo_vosi
from pyvo.utils.xml.exceptions import UnknownElementWarning

from tests.protocol.samples import CREATED
from tests.schemas import validate
from uws_service.applications import Application
from uws_service.applications.model import Example, MaxrecSpec, ParameterSpec, ResultSpec, UploadSpec
from uws_service.protocol.uws import format_instant
from uws_service.protocol.vosi import AVAILABILITY_NS, availability_xml, capabilities_xml, http_date

BASE = "https://uws.example.org/cone"
APPLICATION = Application(
    "cone",
    "Cone",
    "…",
    ("true",),
    parameters=(
        ParameterSpec(
            "RADIUS", "double", unit="arcsec", ucd="pos.angDistance", description="A <radius>", required=True
        ),
        ParameterSpec("POS", "double", "3", "circle"),
        ParameterSpec("TAG", "char", "*"),
    ),
    uploads=UploadSpec(minimum=1, maximum=2),
    results=(ResultSpec("result", "out.vot", "application/x-votable+xml", formats={"votable": "text/xml"}),),
    maxrec=MaxrecSpec(1000, 100_000),
    examples=(Example("One", "", {}),),
)
BARE: dict[str, Any] = {"parameters": (), "uploads": None, "results": (), "maxrec": None}


def test_availability_says_what_is_wrong() -> None:
    """V-020."""
    document = availability_xml(False, up_since=CREATED, notes=("the database can't be reached", "a \x00 b"))
    validate(document)
    root = etree.fromstring(document)
    name = f"{{{AVAILABILITY_NS}}}"
    assert root.findtext(name + "available") == "false"
    assert root.findtext(name + "upSince") == format_instant(CREATED)
    assert [element.text for element in root.findall(name + "note")] == ["the database can't be reached", "a \ufffd b"]
    validate(availability_xml(True))
    assert b"<vosi:available>true<" in availability_xml(True)


def test_pyvo_reads_availability() -> None:
    """V-020: an independent reader."""
    read = pyvo_vosi.parse_availability(BytesIO(availability_xml(True, up_since=CREATED, notes=("fine",))))
    assert read.available is True and list(read.notes) == ["fine"] and read.upsince is not None


def test_capabilities_name_all_resources() -> None:
    """U-170, D-001…D-003, V-010…V-013: siblings under one URL, each with its standard's id."""
    document = capabilities_xml(APPLICATION, BASE)
    validate(document)
    root = etree.fromstring(document)
    by_name = {element.get("standardID"): element.findtext("interface/accessURL") for element in root}
    assert by_name == {
        "ivo://ivoa.net/std/VOSI#capabilities": f"{BASE}/capabilities",
        "ivo://ivoa.net/std/VOSI#availability": f"{BASE}/availability",
        "ivo://ivoa.net/std/UWS#rest-1.1": f"{BASE}/async",
        "ivo://ivoa.net/std/DALI#examples": f"{BASE}/examples",
        None: f"{BASE}/sync",
    }
    assert not root.findall(".//securityMethod")  # V-002
    assert {element.get("use") for element in root.iter("accessURL")} == {"full"}


def test_capabilities_without_examples_do_not_name_them() -> None:
    """D-005: what would answer 404 is not announced."""
    bare = Application("bare", "Bare", "", ("true",))
    document = capabilities_xml(bare, BASE)
    validate(document)
    assert b"examples" not in document and b"param" not in document


def test_parameters_are_described() -> None:
    """V-010: names, units, UCDs, types, and DALI's own parameters where they are taken (D-024…D-026)."""
    root = etree.fromstring(capabilities_xml(APPLICATION, BASE))
    interfaces = [element for element in root.iter("interface") if element.find("param") is not None]
    assert [element.findtext("accessURL") for element in interfaces] == [f"{BASE}/async", f"{BASE}/sync"]
    for interface in interfaces:
        by_name = {element.findtext("name"): element for element in interface.iter("param")}
        assert list(by_name) == ["RADIUS", "POS", "TAG", "UPLOAD", "RESPONSEFORMAT", "MAXREC"]
        radius = by_name["RADIUS"]
        assert radius.get("use") == "required" and radius.get("std") == "false"
        assert (radius.findtext("unit"), radius.findtext("ucd")) == ("arcsec", "pos.angDistance")
        circle = by_name["POS"].find("dataType")
        assert circle is not None and circle.text == "double"
        assert circle.get("arraysize") == "3" and circle.get("extendedType") == "circle"
        assert by_name["UPLOAD"].get("use") == "required" and by_name["MAXREC"].get("std") == "true"


def test_pyvo_reads_capabilities() -> None:
    """V-014: unknown elements describe parameters alone."""
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        read = pyvo_vosi.parse_capabilities(BytesIO(capabilities_xml(APPLICATION, BASE)))
    assert {item.category for item in caught_warnings} == {UnknownElementWarning}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyvo_vosi.parse_capabilities(BytesIO(capabilities_xml(replace(APPLICATION, **BARE), BASE)))
    jobs = next(item for item in read if item.standardid == "ivo://ivoa.net/std/UWS#rest-1.1")
    assert jobs.interfaces[0].accessurls[0].content == f"{BASE}/async"
    assert {item.interfaces[0].accessurls[0].use for item in read} == {"full"}


def test_http_dates() -> None:
    """V-011: Last-Modified in the form of HTTP."""
    assert http_date(CREATED).endswith(" GMT")
    assert int(parsedate_to_datetime(http_date(CREATED)).timestamp()) == CREATED // 1000
