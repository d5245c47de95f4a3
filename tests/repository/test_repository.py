"""What lies in the repository.

No registry hosts, no development paths, docstrings, locks that can be trusted.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SELF = Path(__file__).relative_to(ROOT)
LOCKS = ("requirements/runtime.txt", "requirements/demo.txt", "requirements/dev.txt")
# Written in pieces so that this file does not hold what it looks for.
HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "crates" + ".io", "proxy.golang" + ".org")
PATHS = ("/" + "work/main", "/" + "work/shared", "/" + "work/.library", "/" + "root/", "/tmp/" + "v/")


def tracked() -> list[Path]:
    """Return the files under version control.

    Without git: all files outside build folders.
    """
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode == 0:
        names = [Path(name) for name in listing.stdout.split("\0") if name]
    else:
        skip = {".venv", "build", "dist"}
        names = [
            (Path(folder) / file).relative_to(ROOT)
            for folder, folders, files in os.walk(ROOT)
            for file in files
            if not folders.sort() and not skip & set(Path(folder).relative_to(ROOT).parts)
        ]
    return [name for name in names if (ROOT / name).is_file()]


def texts() -> dict[Path, str]:
    """Path -> content of each tracked text file."""
    hits = {}
    for name in tracked():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content[:4096]:
            hits[name] = content.decode("utf-8", "replace")
    return hits


def test_no_registry_hosts() -> None:
    """Package clients know their own sources."""
    hits = [f"{name}: {host}" for name, text in texts().items() for host in HOSTS if host in text.lower()]
    assert not hits, hits


def test_no_development_paths() -> None:
    """Absolute paths of somebody's machine work nowhere else."""
    hits = [f"{name}: {path}" for name, text in texts().items() if name != SELF for path in PATHS if path in text]
    assert not hits, hits


def test_every_module_has_a_docstring() -> None:
    """A module says in its first lines what it is for; only empty ``__init__.py`` files need not."""
    bare = [
        str(name)
        for name, text in texts().items()
        if name.suffix == ".py" and text.strip() and not (ast.get_docstring(ast.parse(text)) or "").strip()
    ]
    assert not bare, bare


def test_no_merge_marks_and_no_stray_files() -> None:
    """No left-overs of tools are committed."""
    stray = [
        str(name)
        for name in tracked()
        if name.suffix in {".orig", ".rej", ".pyc", ".swp"} or name.name in {".DS_Store", "nohup.out"}
    ]
    marks = [str(name) for name, text in texts().items() if re.search(r"^(<{7} |>{7} )", text, re.MULTILINE)]
    assert not stray + marks, stray + marks


RECIPE_LOCKS = sorted(f"docs/study/recipes/{path.name}" for path in (ROOT / "docs/study/recipes").glob("*.txt"))


@pytest.mark.parametrize("lock", [*LOCKS, "tests/rucio/requirements.txt", *RECIPE_LOCKS])
def test_locks_are_pinned_with_hashes_and_without_addresses(lock: str) -> None:
    """Requirements have versions and hashes.

    Nothing says where to download it.
    """
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", text.replace("\\\n", " "))
    pinned = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ ")
    loose = [entry.split()[0] for entry in entries if not pinned.match(entry) or "--hash=" not in entry]
    assert not loose, loose


def test_locks_cover_what_the_project_declares() -> None:
    """A dependency in pyproject.toml that is in no lock would not be installed (``make lock`` puts it there)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    distributions = {
        "requirements/runtime.txt": project["project"]["dependencies"] + extras["apps"],
        "requirements/demo.txt": project["project"]["dependencies"] + extras["apps"] + extras["demo"],
        "requirements/dev.txt": project["project"]["dependencies"] + [r for group in extras.values() for r in group],
    }
    for lock, requirements in distributions.items():
        pinned = set(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==", (ROOT / lock).read_text(), re.MULTILINE))
        names = {re.split(r"[\[>=<~! ]", r)[0].lower().replace("_", "-") for r in requirements}
        assert names | {"hatchling", "editables"} <= pinned, (lock, names - pinned)


def test_locks_agree_with_each_other() -> None:
    """Tests use the users' versions."""
    pins = {
        lock: dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in LOCKS
    }
    full = pins["requirements/dev.txt"]
    for lock in LOCKS:
        assert {n: v for n, v in pins[lock].items() if full.get(n) != v} == {}, lock


# Where a parser that pyproject.toml bans is used with care; each line there says why it is safe.
PARSERS = {
    "conformance/uws_conformance/checks/dali_vosi.py",
    "conformance/uws_conformance/checks/tap_2_resources.py",
    "conformance/uws_conformance/documents.py",
    "uws_service/applications/files.py",
    "uws_service/kit/comparison.py",
    "uws_service/soda/companions.py",
    "uws_service/soda/image.py",
    "uws_service/soda/preview.py",
    "uws_service/tap/readers/votable.py",
    "uws_service/web/document_pages.py",
}
DANGEROUS = """
import pickle
import astropy.io.votable as votable
from astropy.io.votable import parse
from astropy.io.votable.table import parse_single_table
from astropy.table import Table as T
from lxml import etree
import numpy as np
import pandas
import yaml

votable.parse("f")
T.read("f")
etree.parse("f")
np.load("f")
yaml.load("f", yaml.Loader)
"""


def linted(code: str, path: str) -> list[str]:
    """Return the lines that the linter refuses.

    As if the code were in a file of that name.
    """
    ruff = Path(sys.executable).with_name("ruff")
    completed = subprocess.run(
        [ruff, "check", "--select", "TID251", "--output-format", "json", "--stdin-filename", path, "-"],
        input=code, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert completed.returncode in (0, 1), completed.stderr
    return [code.splitlines()[load["location"]["row"] - 1] for load in json.loads(completed.stdout)]


def test_dangerous_parsers_are_refused() -> None:
    """What follows the words of a file, or runs them, fails the linter; an application can't slip past it."""
    expected = {line for line in DANGEROUS.splitlines() if line} - {
        "import astropy.io.votable as votable",
        "from astropy.table import Table as T",
        "from lxml import etree",
        "import numpy as np",
        "import yaml",
    }
    assert set(linted(DANGEROUS, "uws_service/apps/another.py")) == expected


def test_exceptions_for_parsers_are_listed() -> None:
    """A line that is excused from the rule about parsers is seen in a review: its file stands here."""
    word = "TID" + "251"
    excused = {
        str(name)
        for name, text in texts().items()
        if name.suffix == ".py"
        and name != SELF
        and re.search(rf"noqa: .*{word}|ruff: noqa *$|noqa *$", text, re.MULTILINE)
    }
    assert excused == PARSERS
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert word in settings["select"] and word not in settings["ignore"]
    ignored = {folder for folder, rules in settings["per-file-ignores"].items() if word in rules}
    assert ignored == {"tests/**", "conformance/tests/**", "scripts/**", ".ci/**", "docs/**"}
