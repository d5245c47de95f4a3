"""Links of the documentation lead somewhere.

Inner ones lead to a file and a heading; outer ones have the form of an address.

Whether an outside address answers is asked by ``make check-links``, which needs a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from myst_parser.mdit_to_docutils.base import default_slugify

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s]*)*)>?(?:\s+\"[^\"]*\")?\s*\)|<(https?://[^>\s]+)>")
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
INCLUDE = re.compile(r"^```\{include\} (\S+)", re.MULTILINE)
LINKED_LEVELS = 3
"""As ``myst_heading_anchors`` of docs/conf.py has it."""
HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")


def links(text: str) -> Iterator[str]:
    """Yield what the links and pictures of a page lead to; code has none."""
    for match in LINK.finditer(CODE.sub("", text)):
        yield match[1] or match[2]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page: its headings, those of what it includes, and its targets."""
    text = page.read_text(encoding="utf-8")
    bare = re.sub(r"^```.*?^```\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    names: set[str] = set(TARGET.findall(bare))
    for hashes, title in HEADING.findall(bare):
        if len(hashes) <= LINKED_LEVELS:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
            names.add(default_slugify(re.sub(r"[`*_]", "", plain)))
    for name in INCLUDE.findall(text):
        names |= anchors(page.parent / name)
    return frozenset(names)


@cache
def targets() -> frozenset[str]:
    """Return the targets of all pages, to which ``#name`` leads from any of them."""
    return frozenset(name for page in PAGES for name in TARGET.findall(page.read_text(encoding="utf-8")))


def fault(page: Path, link: str) -> str:
    """Return what is wrong with a link of a page, or nothing."""
    parts = urlsplit(link)
    if parts.scheme or link.startswith("//"):
        return outside_fault(link)
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return "no such file"
    if not anchor:
        return ""
    if target.suffix != ".md":
        return "an anchor in a file that is no page"
    if anchor in anchors(target) or (not path and anchor in targets()):
        return ""
    return f"no such heading; there are {', '.join(sorted(anchors(target)))}"


def outside_fault(link: str) -> str:
    """Return what is wrong with the form of an outside address, or nothing."""
    parts = urlsplit(link)
    if parts.scheme == "http" and (parts.hostname or "") in ("127.0.0.1", "localhost"):
        return ""
    if parts.scheme != "https":
        return "not https"
    if parts.username or parts.port:
        return "a user or a port"
    if not HOST.fullmatch(parts.hostname or ""):
        return "no name of a host"
    if parts.hostname == "github.com" and not re.fullmatch(r"/[\w.-]+(/[\w.-]+(/.+)?)?/?", parts.path):
        return "not owner and repository"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    faults = {link: reason for link in links(page.read_text(encoding="utf-8")) if (reason := fault(page, link))}
    assert faults == {}


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("nowhere.md", "no such file"),
        ("docs/study/panda.md#nothing", "no such heading"),
        ("docs/study/figures/panda.svg#x", "an anchor in a file"),
        ("#source-nobody", "no such heading"),
        ("http://example.org/", "not https"),
        ("https://example/", "no name of a host"),
        ("https://user@example.org/", "a user or a port"),
        ("https://github.com//issues/1", "not owner and repository"),
    ],
)
def test_a_bad_link_is_noticed(link: str, reason: str) -> None:
    assert reason in fault(ROOT / "README.md", link)


@pytest.mark.parametrize(
    "link",
    [
        "docs/study/panda.md#moving-parts",
        "#source-panda-run",
        "https://doi.org/10.1000/1(2)3",
        "docs/study/index.md#the-table",
    ],
)
def test_a_good_link_passes(link: str) -> None:
    assert fault(ROOT / "README.md", link) == ""


def test_links_in_code_are_none() -> None:
    text = "[a](b.md) `[c](d.md)` <https://example.org/e>\n```text\n[f](g.md)\n```\n"
    assert list(links(text)) == ["b.md", "https://example.org/e"]
