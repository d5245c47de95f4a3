"""The study of workload systems.

No cell without a source, no yes without a test, no figure without a command.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.docs.test_links import links, outside_fault

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "docs" / "study"
GENERATED = {"comparison.md", "features.md", "sources.md", "measured.md"}
PAGES = sorted(path.relative_to(STUDY).as_posix() for path in STUDY.rglob("*.md"))
GUIDES = {
    ("method.md", "| mark | meaning |"): "says what the marks mean",
    ("index.md", "| minutes | what | where |"): "says how to spend an hour",
    ("recipes/index.md", "| system | command | needs | tested |"): "names commands; what they show is marked elsewhere",
    (
        "measured.md",
        "| page | figure |",
    ): "is itself what figures lean on: its last column is the command or the reason",
    ("features.md", "| | ours (run) | SA |"): "has a linked letter in each cell, which a test of its own looks at",
    ("features.md", "| | ours (run) | GE |"): "the same",
    ("features.md", "| | ours (run) | shown by (run) |"): "is itself what ours lean on: its last column is the test",
}
"""Tables whose cells need no mark, by page and the beginning of their head, with the reason."""
DATE = re.compile(r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
COMMIT = re.compile(r"[0-9a-f]{40}")
NUMBER = re.compile(
    r"(?<![\w.,#/-])\d+(?:[.,]\d+)?(?![\w-]|[.,]\d)"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|twenty|half)\b",
    re.IGNORECASE,
)
"""A number; versions with two points and numbers of issues are none."""
NO_FIGURES = (
    "best user side of the four",
    "through four slots",
    "has status 200",
    "answers 503",
    "Debian 13",
    "(2023)",
    "registry is of 2023",
    "the pilot is of 2023",
    "a fork of 2022",
    "0.15",
    "UWS 1.1",
    "version 1",
    "a million jobs in simulated time",
)
"""Numbers in what is marked as run or once that nobody measured: of versions, years, codes, and the set-up."""


def load() -> ModuleType:
    """Return the script that writes the tables as a module."""
    spec = importlib.util.spec_from_file_location("study", ROOT / "scripts" / "study.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load()
COMPARISON = SCRIPT.read("comparison.yaml")
FEATURES = SCRIPT.read("features.yaml")
SOURCES: Mapping[str, Mapping[str, Any]] = SCRIPT.read("sources.yaml")["sources"]
GROUPS = SCRIPT.read("sources.yaml")["groups"]
MEASURED: Mapping[str, list[dict[str, Any]]] = SCRIPT.read("measured.yaml")["pages"]
MARKS = "|".join(SCRIPT.MARKS)
LINKED_MARK = re.compile(rf"\[({MARKS})\]\(#source-([\w-]+)\)")
PLAIN_MARK = re.compile(rf"\(({MARKS})\b")


@pytest.mark.parametrize("criterion", COMPARISON["criteria"], ids=lambda criterion: str(criterion["name"]))
def test_each_cell_has_its_evidence(criterion: dict[str, Any]) -> None:
    """Each statement has a source, which gives its mark, and a page that is there."""
    cells = criterion["cells"]
    assert set(cells) == set(COMPARISON["systems"])
    for system, statements in cells.items():
        assert statements, system
        for statement in statements:
            assert statement["say"] and statement["source"] in SOURCES, statement
            assert (STUDY / statement["page"].partition("#")[0]).is_file(), statement


def source_faults(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an entry of sources.yaml."""
    kind = source.get("kind")
    if kind not in SCRIPT.MARKS:
        yield f"kind {kind}"
    if not DATE.fullmatch(str(source.get("date"))):
        yield f"date {source.get('date')}"
    if source.get("group") not in GROUPS or not source.get("what"):
        yield "group or what"
    if not {
        "run": "shown" in source,
        "once": "note" in source,
        "source": "path" in source or "shown" in source,
        "issue": "issue" in source,
        "page": "address" in source or "note" in source,
        "unverified": True,
    }.get(str(kind)):
        yield f"nothing that a {kind} is found by"
    if ("path" in source or "issue" in source) and not re.fullmatch(r"[\w.-]+/[\w.-]+", source.get("repository", "")):
        yield "owner and name of a repository"
    if "path" in source and not COMMIT.fullmatch(source.get("commit", "")):
        yield "commit"
    if "issue" in source and not (isinstance(source["issue"], int) and source["issue"] > 0):
        yield "issue"
    if "address" in source and (
        urlsplit(source["address"]).scheme != "https" or "." not in urlsplit(source["address"]).netloc
    ):
        yield "address"
    if "shown" in source and not (ROOT / source["shown"]).is_file():
        yield f"{source['shown']} is not there"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_each_source_can_be_found(name: str) -> None:
    """A kind, a date, and what it is found by."""
    assert list(source_faults(SOURCES[name])) == []


def test_a_bad_source_is_noticed() -> None:
    good = SOURCES["panda-job-api"]
    for change in ({"kind": "told"}, {"date": "2026"}, {"commit": "main"}, {"repository": "PanDA"}, {"group": "x"}):
        assert list(source_faults({**good, **change})), change
    assert list(source_faults({**SOURCES["glidein-181"], "issue": "181"}))
    assert list(source_faults({**SOURCES["cms-2026"], "address": "http://example.org"}))
    assert list(source_faults({**SOURCES["htcondor-run"], "shown": "nowhere.py"}))


def shows(place: str) -> bool:
    """Return whether a file, and a function of it after ``::``, are there."""
    name, _, function = place.partition("::")
    path = ROOT / name
    if not path.is_file():
        return False
    if not function:
        return True
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function for node in tree.body)


@pytest.mark.parametrize("feature", FEATURES["features"], ids=lambda feature: str(feature["name"]))
def test_each_yes_is_shown(feature: dict[str, Any]) -> None:
    """What we say of ourselves names a test or page that is there; what we lack has its reason."""
    assert feature["ours"] in ("Y", "P", "N", "1"), feature["ours"]
    if feature["ours"] != "N":
        assert shows(feature["shown"]), feature["shown"]
    if feature["ours"] in ("P", "N"):
        assert feature["note"]


def peer_faults(cells: list[str]) -> Iterator[str]:
    """Yield the cells of peers that have no letter, no source, or one that is nobody's evidence."""
    for cell, (short, peer) in zip(cells, FEATURES["peers"].items(), strict=True):
        letter = cell.partition(" ")[0]
        source = SOURCES.get(SCRIPT.cell_source(cell, peer.get("source", "")))
        if letter == SCRIPT.UNKNOWN:
            if cell != letter:
                yield f"{short}: {cell} claims nothing, so it has no source"
        elif not re.fullmatch(r"[YPN-]|~?\d+\+?|many", letter) or source is None or source["kind"] not in SCRIPT.RAISED:
            yield f"{short}: {cell}"


@pytest.mark.parametrize("feature", FEATURES["features"], ids=lambda feature: str(feature["name"]))
def test_each_cell_of_a_peer_has_its_evidence(feature: dict[str, Any]) -> None:
    """A letter has a source that was run, read or said; what is unverified is a question mark."""
    assert list(peer_faults(feature["peers"])) == []


def test_a_peer_without_evidence_is_noticed() -> None:
    good = FEATURES["features"][0]["peers"]
    assert list(peer_faults(good)) == []
    for cell in ("", "Y nowhere", "Y dirac-unknown", "yes", "? htcondor-run"):
        assert list(peer_faults([cell, *good[1:]])), cell


def test_every_letter_of_the_table_of_features_is_a_link() -> None:
    """The page shows what the file says: a letter with its mark leads to a source, a question mark to nothing."""
    _, *beside, _ = tables((STUDY / "features.md").read_text(encoding="utf-8"))
    cells = [cell.strip() for rows in beside for row in rows[2:] for cell in row.strip("|").split("|")[2:]]
    assert len(cells) == len(FEATURES["features"]) * len(FEATURES["peers"])
    linked = re.compile(rf"\[\S+[{''.join(SCRIPT.RAISED.values())}]\]\(#source-([\w-]+)\)")
    assert [cell for cell in cells if cell != "?" and (linked.fullmatch(cell) or [None, ""])[1] not in SOURCES] == []


def test_a_yes_without_a_test_is_noticed() -> None:
    assert shows("tests/docs/test_study.py::shows") and shows("LICENSE")
    assert not shows("tests/docs/test_study.py::nobody") and not shows("tests/nowhere.py")


def tables(text: str) -> Iterator[list[str]]:
    """Yield the rows of each table of a page."""
    for match in re.finditer(r"(?:^\|.*\n)+", text, re.MULTILINE):
        yield match[0].splitlines()


def cells_of(rows: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the body of a table."""
    head, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return head, body


def marks(text: str) -> dict[str, list[str]]:
    """Return the marks in a cell, each with the sources that it links."""
    sources: dict[str, list[str]] = {match[1]: [] for match in PLAIN_MARK.finditer(text)}
    for match in LINKED_MARK.finditer(text):
        sources.setdefault(match[1], []).append(match[2])
    return sources


def marks_of(head: list[str], row: list[str], column: int) -> dict[str, list[str]]:
    """Return the marks that hold for a cell: its own, those above its column, or those at the end of its row.

    Where a mark links no source, it has those of the same mark in the name of its row, at its end, or in the head.
    """
    alone = not any(marks(text) for text in [*head[1:], *row[1:-1]])  # else the last cell's mark is its own
    held = marks(row[column]) or marks(head[column]) or (marks(row[-1]) if alone else {})
    others = [marks(text) for text in (row[0], row[-1], head[column], head[0])]
    return {
        mark: next((some for some in [names, *(o.get(mark, []) for o in others)] if some), [])
        for mark, names in held.items()
    }


def table_faults(rows: list[str]) -> Iterator[str]:
    """Yield the cells that have no mark, or a mark without a source of its kind; unverified leans on nothing."""
    head, body = cells_of(rows)
    for row in body:
        for column in range(1, len(head)):
            held = marks_of(head, row, column)
            if not held and row[column]:
                yield f"{row[column]}: no mark"
            for mark, names in held.items():
                if mark != "unverified" and not names:
                    yield f"{row[column]}: {mark} of nothing"
                yield from (
                    f"{row[column]}: {name} is no {mark}" for name in names if SOURCES.get(name, {}).get("kind") != mark
                )


@pytest.mark.parametrize("page", PAGES)
def test_each_cell_of_a_table_has_a_mark_and_a_source(page: str) -> None:
    """Every table of every page, but those that say nothing of a system."""
    guides = [beginning for name, beginning in GUIDES if name == page]
    unused = list(guides)
    for rows in tables((STUDY / page).read_text(encoding="utf-8")):
        beginnings = [beginning for beginning in guides if rows[0].startswith(beginning)]
        unused = [beginning for beginning in unused if beginning not in beginnings]
        assert beginnings or list(table_faults(rows)) == []
    assert unused == []


def test_a_cell_without_a_mark_or_a_source_is_noticed() -> None:
    linked = "([run](#source-htcondor-run))"
    assert list(table_faults(["| a | b (run) | c |", "| - | - | - |", f"| x {linked} | 1 | 2 |"])) == ["2: no mark"]
    assert list(table_faults(["| a | b (run) |", "| - | - |", "| x | 1 |"])) == ["1: run of nothing"]
    assert list(table_faults(["| a | b | c |", "| - | - | - |", f"| x | 1 | 2 {linked} |"])) == []
    assert list(table_faults(["| a | b | c | d |", "| - | - | - | - |", f"| x | 1 | 2 {linked} | 3 {linked} |"])) == [
        "1: no mark"
    ]
    assert list(table_faults(["| a | b |", "| - | - |", "| x | 1 ([source](#source-htcondor-run)) |"])) == [
        "1 ([source](#source-htcondor-run)): htcondor-run is no source"
    ]
    assert list(table_faults(["| a | b |", "| - | - |", "| x | 1 ([run](#source-nobody)) |"])) != []
    assert list(table_faults(["| a | b |", "| - | - |", "| x | 1 (unverified) |"])) == []


def marked(text: str) -> Iterator[tuple[str, str]]:
    """Yield the marks of a page with what they mark: the text since the mark before, or a cell."""
    bare = re.sub(r"^(?:#[^\n]*|```.*?^```)$", "", text, flags=re.MULTILINE | re.DOTALL)
    start = 0
    prose = re.sub(r"^\|.*$", "|", bare, flags=re.MULTILINE)
    for match in re.finditer(rf"\(\[?({MARKS})\b|(?<=[a-z0-9)]\.)\s|^\|", prose, re.MULTILINE):
        if match[1]:
            yield match[1], prose[start : match.start()]
        start = match.end()
    for rows in tables(bare):
        head, body = cells_of(rows)
        for row in body:
            held = [marks_of(head, row, column) for column in range(1, len(head))]
            yield from ((mark, row[0]) for mark in sorted({mark for own in held for mark in own}))
            for own, cell in zip(held, row[1:], strict=True):
                pieces = re.split(rf"\(\[?({MARKS})\b", cell)
                yield from (
                    zip(pieces[1::2], pieces[::2], strict=False) if marks(cell) else ((mark, cell) for mark in own)
                )


def statements(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield each mark of a page, what it marks, and the page whose figures it may have."""
    if page == "comparison.md":
        for criterion in COMPARISON["criteria"]:
            for statement in (statement for cell in criterion["cells"].values() for statement in cell):
                kind = SOURCES[statement["source"]]["kind"]
                yield kind, statement["say"], statement["page"].partition("#")[0]
    elif page == "features.md":
        (parts,) = (feature["peers"] for feature in FEATURES["features"] if feature["name"] == "Parts to install")
        for cell, peer in zip(parts, FEATURES["peers"].values(), strict=True):
            source = SOURCES[SCRIPT.cell_source(cell, peer["source"])]
            yield source["kind"], cell.partition(" ")[0], "*"
    elif page not in ("measured.md", "sources.md"):
        yield from ((mark, text, page) for mark, text in marked((STUDY / page).read_text(encoding="utf-8")))


def bare_figures(text: str, listed: Iterable[str]) -> list[str]:
    """Return the numbers of a text that are in none of the phrases."""
    words = " ".join(text.split())
    for phrase in sorted([*listed, *NO_FIGURES], key=len, reverse=True):
        words = re.sub(rf"(?<!\w){re.escape(phrase)}(?!\w)", "", words)
    return NUMBER.findall(words)


def figures_of(page: str, mark: str) -> list[str]:
    """Return the figures that a page may mark: as run with a command, as once without one too."""
    entries = MEASURED.get(page, []) if page != "*" else [entry for some in MEASURED.values() for entry in some]
    said = [words for entry in entries if mark == "once" or "without" not in entry for words in entry["said"]]
    return [number for words in said for number in NUMBER.findall(words)] if page == "*" else said


@pytest.mark.parametrize("page", PAGES)
def test_each_measured_figure_has_its_command_or_a_reason(page: str) -> None:
    """No number is marked as run or once that measured.yaml does not have: as run, with a command."""
    bare = [
        (mark, figure, text)
        for mark, text, of in statements(page)
        if mark in ("run", "once")
        for figure in bare_figures(text, figures_of(of, mark))
    ]
    assert bare == []


def test_a_figure_without_a_command_is_noticed() -> None:
    text = "It took 5 s (source). Then 7 s, and 3 MiB (run). Later 9 s.\n\n| a | b (run) |\n| - | - |\n| 1 s | 2 s |\n"
    figures = [figure for mark, words in marked(text) if mark == "run" for figure in bare_figures(words, [])]
    assert figures == ["7", "3", "1", "2"]
    assert bare_figures("up in 5 to 10 s, with two daemons (2023)", ["5 to 10 s"]) == ["two"]
    assert "47.6 s" in figures_of("panda.md", "once") and "47.6 s" not in figures_of("panda.md", "run")


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_measured_figures_are_those_of_their_page(name: str) -> None:
    """Each figure stands in its page, and has a command, a recipe that is there, or the reason why none."""
    text = " ".join((STUDY / name).read_text(encoding="utf-8").split())
    for figure in MEASURED[name]:
        assert [said for said in figure["said"] if said not in text] == [], figure
        assert len({"recipe", "command", "without"} & set(figure)) == 1, figure
        if "recipe" in figure:
            recipe = STUDY / "recipes" / f"{figure['recipe']}.py"
            assert f'show("{figure["id"]}"' in recipe.read_text(encoding="utf-8"), figure


def address_faults(addresses: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with the form of outside addresses: whether they answer is asked by ``make check-links``."""
    places: dict[str, str] = {}
    for address in sorted(set(addresses)):
        if fault := outside_fault(address):
            yield f"{address}: {fault}"
        parts = urlsplit(address)
        if re.search(r"[\s,;:]|\.$|//", parts.path):
            yield f"{address}: a path that no page has"
        if parts.hostname == "github.com" and re.match(r"/[^/]+/[^/]+/(blob|tree|raw)/", parts.path):
            reference = parts.path.split("/")[4]
            if not COMMIT.fullmatch(reference) and not re.fullmatch(r"v?\d[\w.-]*", reference):
                yield f"{address}: a file without a commit or a tag"
        form = f"{parts.hostname}{parts.path}".casefold().removeprefix("www.").rstrip("/")
        if (other := places.setdefault(form, address)) != address and not parts.query:
            yield f"{address}: the same as {other}"
    hosts = sorted({str(urlsplit(address).hostname) for address in addresses})
    repositories = sorted({"/".join(urlsplit(a).path.split("/")[1:3]) for a in addresses if "//github.com/" in a})
    for names in (hosts, repositories):
        for index, name in enumerate(names):
            for other in difflib.get_close_matches(name, names[:index], cutoff=0.95):
                yield f"{name}: {other} is nearly the same"


def test_outside_addresses_are_well_formed() -> None:
    """Those of all pages: https, no two that are nearly the same, and files of repositories with their commit."""
    addresses = [
        link
        for page in PAGES
        for link in links((STUDY / page).read_text(encoding="utf-8"))
        if urlsplit(link).scheme or link.startswith("//")
    ]
    assert len(addresses) > len(SOURCES) / 2
    assert list(address_faults(addresses)) == []


@pytest.mark.parametrize(
    ("addresses", "fault"),
    [
        (["http://example.org/a"], "not https"),
        (["//example.org/a"], "not https"),
        (["https://example.org/a."], "a path that no page has"),
        (["https://github.com/rucio/rucio/blob/master/README.md"], "without a commit"),
        (["https://example.org/a", "https://example.org/a/"], "the same as"),
        (["https://github.com/rucio/rucio/issues/1", "https://github.com/Rucio/rucio/issues/1"], "the same as"),
        (["https://developer.skao.int/a", "https://developers.skao.int/b"], "nearly the same"),
        (
            ["https://github.com/PanDAWMS/panda-docs/issues/1", "https://github.com/PanDAWM/panda-docs"],
            "nearly the same",
        ),
    ],
)
def test_a_bad_address_is_noticed(addresses: list[str], fault: str) -> None:
    assert any(fault in words for words in address_faults(addresses))


@pytest.mark.parametrize("path", sorted((STUDY / "parts").glob("*.yaml")), ids=lambda path: str(path.stem))
def test_drawings_are_complete(path: Path) -> None:
    """Each part and each step is drawn, and no word leaves its box."""
    system = SCRIPT.read(f"parts/{path.name}")
    root = ElementTree.fromstring(SCRIPT.drawing(path.stem))
    texts = [str(node.text) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    parts = [part for key, _ in SCRIPT.BANDS for part in system.get(key, [])]
    assert {part["name"] for part in parts} <= set(texts)
    assert all(step in " ".join(texts) for step in system["steps"])
    assert sorted(part["step"] for part in parts if "step" in part) == list(range(1, len(system["steps"]) + 1))
    assert all(len(part["about"]) <= 24 for part in parts), "longer words would leave the box"
    assert all(len(part["name"]) <= (17 if "step" in part else 22) for part in parts), "they would run into the number"
