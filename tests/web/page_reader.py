"""Reads pages as tests do.

What all of them must have, their links and buttons.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import html

from uws_service.applications import Application
from uws_service.applications.model import Bound, Example, Limits, MaxrecSpec, ParameterSpec, ResultSpec, UploadSpec

EVIL = "<script>alert(1)</script>'\"&<img src=x onerror=alert(2)>"
BASE = "https://uws.example.org/compute"
APPLICATION = Application(
    "crossmatch",
    f"Match {EVIL}",
    EVIL,
    ("true",),
    parameters=(
        ParameterSpec("RADIUS", "double", unit="arcsec", ucd="pos.angDistance", minimum=0, maximum=0.5, default="0.1"),
        ParameterSpec("COUNT", "int", minimum=1),
        ParameterSpec("OPEN", "double", description=EVIL, required=True),
        ParameterSpec("KIND", "char", "*", options=("a", EVIL), default="a"),
        ParameterSpec("FLAG", "boolean"),
        ParameterSpec("POS", "double", "3", "circle"),
        ParameterSpec("TAG", "char", "*", repeated=True),
        ParameterSpec("IMAGE", file=True, required=True),
    ),
    uploads=UploadSpec(minimum=1, maximum=2, size=3 * 1024**2, description=EVIL),
    results=(ResultSpec("result", "r", "text/csv", formats={"csv": "text/csv", "votable": "text/xml"}),),
    maxrec=MaxrecSpec(100, 2000),
    limits=Limits(execution_duration=Bound(600, 7200)),
    examples=(
        Example("Point", EVIL, {"POS": "1 2 0.5", "TAG": ("it's", "$HOME")}),
        Example("Table", "", {"UPLOAD": "t,param:file1"}),
    ),
)


def parsed(page: str) -> Any:
    """Parse a page, and check what every page must have."""
    assert page.startswith("<!DOCTYPE html>\n")
    tree = html.document_fromstring(page)
    assert tree.get("lang") == "en" and tree.findtext(".//title")
    assert len(tree.findall(".//h1")) == 1 and tree.find(".//main[@id='main']") is not None
    for name in ("style", "iframe", "object"):
        assert not tree.findall(f".//{name}"), name
    for script in tree.findall(".//script"):  # our own files alone, and nothing in the page
        assert re.fullmatch(r"[^?#]*/static/\w+\.js", script.get("src", "")) and not script.text, script.attrib
    for picture in tree.findall(".//img"):  # results alone, of the job that is shown
        assert re.match(rf"{BASE}/\w+/async/[\w-]+/results/", picture.get("src", "")) and picture.get("alt")
    for element in tree.iter():
        assert not [name for name in map(str, element.attrib) if re.match("style$|on", name)], element.attrib
        for name in ("href", "action"):
            link = element.get(name, "https:")
            assert link.startswith(("http:", "https:", "#", "/")), element.attrib
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    labels = {element.get("for") for element in tree.iter("label")}
    for element in [*tree.iter("input"), *tree.iter("select"), *tree.iter("progress")]:
        is_named = element.get("aria-label") or element.get("type") == "hidden" or element.getparent().tag == "label"
        assert is_named or element.get("id") in labels, f"no label: {element.attrib}"
    for element in tree.iter():
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((element.get(name) or "").split()) <= set(ids), element.attrib
    return tree


def links(tree: Any) -> set[str]:
    return {element.get("href") for element in tree.iter("a")}


def buttons(tree: Any) -> dict[str, tuple[str, str, str, str]]:
    """Return form method, action, name and value by button."""
    return {
        button.text_content(): (form.get("method"), form.get("action"), button.get("name", ""), button.get("value", ""))
        for form in tree.iter("form")
        for button in form.iter("button")
    }
