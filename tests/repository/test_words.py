"""Names, docstrings and sizes.

What keeps the source readable.
"""

from __future__ import annotations

import ast
import re
import statistics
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("uws_service", "conformance", "tests")
MAX_VAGUE_SHARE = 0.01
MAX_SUMMARY_WORDS = 8  # in the median of a folder
MAX_FUNCTION_LINES = 59
MAX_CLASS_LINES = 299

# Words that name nothing when they stand alone; "known_sites" and "wanted_phase" are fine.
PRONOUNS = """
    one ones another other others both each either neither some few many more most much enough less least rest same such
    own it its me mine my we us our ours they them their theirs you your yours this that these those what which who whom
    whose why how when where here there whole thing things stuff something anything everything nothing
"""
PARTICIPLES = """
    found told known kept seen asked said wanted given taken made brought left shown begun got gotten gone come been
    done heard held sent met lost spent caught meant sought thought chosen felt used needed tried wished looked named
    called noted
"""
ADVERBS = """
    again once ever never always soon later alone away apart elsewhere inside otherwise maybe
    largest longest smallest shortest biggest
"""
VAGUE_WORDS = frozenset(f"{PRONOUNS}{PARTICIPLES}{ADVERBS}".split())

# First words of a docstring that are no imperative: articles, pronouns, question words.
NO_VERBS = frozenset(
    """
    a all an and another any as at both by each every everything few first for from has have how if in is it its last
    many more most no none not nothing of on once one only our same several some such that the their there these they
    this those three to two what whatever when where whether which who whoever whose why with without
    """.split()
)
VERBS_IN_S = frozenset(
    "access address bless bypass cross discuss dismiss express guess miss pass press process".split()
)


def sources(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each module with its syntax tree."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if not {"build", "dist", ".venv", "node_modules"} & set(parts):
            yield "/".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def assigned_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that code binds, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def is_vague(name: str) -> bool:
    """Return whether a name is vague."""
    return name.strip("_").lower() in VAGUE_WORDS


def vague_names(tree: ast.AST) -> list[str]:
    """Return vague names as "name:line"."""
    return [f"{name}:{line}" for name, line in assigned_names(tree) if is_vague(name)]


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def summaries(tree: ast.AST) -> Iterator[tuple[Documented, str]]:
    """Yield first lines with their owners."""
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            yield node, docstring.splitlines()[0]


def has_imperative(summary: str) -> bool:
    """Return whether a line may begin imperatively."""
    first = summary.split()[0].strip("\"'`*.,:;").lower()
    third_person = first.endswith("s") and first not in VERBS_IN_S
    return first.isalpha() and first not in NO_VERBS and not third_person


def lengths(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, bool, int]]:
    """Yield classes and functions with their lines.

    Whether it is a class, and its lines.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{node.name}"
            yield name, isinstance(node, ast.ClassDef), (node.end_lineno or node.lineno) - node.lineno + 1
            yield from lengths(node, f"{name}.")
        else:
            yield from lengths(node, prefix)


def too_long() -> tuple[set[str], set[str]]:
    """Return too long functions and classes."""
    functions: set[str] = set()
    classes: set[str] = set()
    for folder in FOLDERS:
        for module, tree in sources(folder):
            if "/migrations/" in module:
                continue
            for name, is_class, lines in lengths(tree):
                if is_class and lines > MAX_CLASS_LINES:
                    classes.add(f"{module}::{name}")
                elif not is_class and lines > MAX_FUNCTION_LINES:
                    functions.add(f"{module}::{name}")
    return functions, classes


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_name(folder: str) -> None:
    """Hardly any name is vague."""
    total = 0
    vague: dict[str, list[str]] = {}
    for module, tree in sources(folder):
        total += sum(1 for _ in assigned_names(tree))
        if hits := vague_names(tree):
            vague[module] = hits
    share = sum(map(len, vague.values())) / total
    assert share < MAX_VAGUE_SHARE, f"{share:.1%} of {total} names are vague: {vague}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_short_line(folder: str) -> None:
    """First lines are summaries.

    Details follow below it.
    """
    words = [len(summary.split()) for _, tree in sources(folder) for _, summary in summaries(tree)]
    median = statistics.median(words)
    assert median <= MAX_SUMMARY_WORDS, f"the median is {median} words: {sorted(Counter(words).items())}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_of_functions_begin_with_a_verb(folder: str) -> None:
    """A function's docstring is a command, as PEP 257 has it; a test's own may state what holds."""
    hits = [
        f"{module}:{node.lineno}: {summary}"
        for module, tree in sources(folder)
        for node, summary in summaries(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("test_")
        and not has_imperative(summary)
    ]
    assert not hits, "\n".join(hits)


def test_functions_and_classes_are_short() -> None:
    """What is too long is split by purpose."""
    functions, classes = too_long()
    assert sorted(functions) == [], f"functions of more than {MAX_FUNCTION_LINES} lines"
    assert sorted(classes) == [], f"classes of more than {MAX_CLASS_LINES} lines"


UNITS = re.compile(
    "(SECONDS|MS|BYTES|CHARACTERS|DEGREES|RADIANS|DAYS|FRACTION|FACTOR|SHARE|CUTOFF|CPU|RATE|[KMG]I?B|RATIO|ARCSEC|HALF)"
)


def unitless_constants(tree: ast.Module) -> Iterator[str]:
    """Yield constants of a module that are a duration or a size by their value, and not by their name.

    Durations are written with a point, sizes as powers of two.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, ast.unparse(node.value)
            is_quantity = re.fullmatch(r"\d+\.\d+|[\d *]*(\d+ << \d+|2 \*\* [123]0|1024( \* 1024)*)", value)
            if name.isupper() and is_quantity and not UNITS.search(name):
                yield f"{name} = {value}"


def test_constants_have_units() -> None:
    """A reader need not guess whether it is seconds or bytes."""
    hits = {module: names for module, tree in sources("uws_service") if (names := [*unitless_constants(tree)])}
    assert hits == {}


def test_constants_without_units_are_noticed() -> None:
    code = "TICK = 0.5\nPART = 8 * 1024 * 1024\nCHUNK = 1 << 16\nLOGS = 64 * 2 ** 20\nWAIT_SECONDS = 0.5\nPAGE = 500\n"
    assert [hit.partition(" ")[0] for hit in unitless_constants(ast.parse(code))] == ["TICK", "PART", "CHUNK", "LOGS"]


def test_every_kind_of_assignment_is_counted() -> None:
    """Every way to bind a name counts."""
    code = """
        found = 1
        told: int = 2
        self.kept, (seen, *made) = x
        for one in y: pass
        with z as given: pass
        if (left := 3): pass
        [q for taken in y]
        def f(asked, /, said, *there, wanted=1, **more): pass
        lambda known: 0
        try: pass
        except E as shown: pass
        match m:
            case [brought, *begun]: pass
            case {"a": whole}: pass
        BOTH = _again = 1
        known_sites = wanted_phase = response = 1
        print(one.found)
    """
    hits = [hit.partition(":")[0] for hit in vague_names(ast.parse(textwrap.dedent(code)))]
    expected = """
        found told kept seen made one given left taken asked said there wanted more known shown brought begun whole
        BOTH _again
    """
    assert sorted(hits) == sorted(expected.split())


@pytest.mark.parametrize(
    ("summary", "imperative"),
    [
        ("Return the id of a job.", True),
        ("Pass the request on.", True),
        ("Returns the id of a job.", False),
        ("The id of a job.", False),
        ("What the job is called.", False),
        ("``url`` of the job.", True),
        ("303 to the job.", False),
    ],
)
def test_imperatives_are_told_from_other_words(summary: str, imperative: bool) -> None:
    assert has_imperative(summary) is imperative


def test_long_code_is_measured() -> None:
    """Methods and nested functions count."""
    body = "\n".join(["        pass"] * 3)
    code = f"class A:\n    def b(self):\n{body}\n"
    assert list(lengths(ast.parse(code))) == [("A", True, 5), ("A.b", False, 4)]
