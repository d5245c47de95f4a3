"""The reference pages say what the code says.

Every setting, phase, error and command is in them.
"""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from uws_service.domain.job import TRANSITIONS, Action, Phase
from uws_service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def load(name: str) -> ModuleType:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR, DRAWING, FIELDS = load("generate_docs"), load("phases_drawing"), load("settings_fields")


@pytest.mark.parametrize("name", sorted(GENERATOR.PAGES))
def test_committed_page_is_what_the_code_says(name: str) -> None:
    """The reference follows the code."""
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == GENERATOR.PAGES[name](), f"docs/{name} is out of date: run `make docs`"


def test_check_notices_a_changed_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself must be able to fail."""
    for name in GENERATOR.PAGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((DOCS / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(GENERATOR, "FOLDER", tmp_path)
    assert GENERATOR.outdated() == []
    page = tmp_path / "reference" / "phases.md"
    page.write_text(page.read_text(encoding="utf-8").replace("`QUEUED`", "`WAITING`", 1), encoding="utf-8")
    assert GENERATOR.outdated() == ["reference/phases.md"]


def test_drawing_shows_every_transition() -> None:
    """U-101, U-102: what is not drawn would seem to be impossible."""
    root = ElementTree.fromstring(DRAWING.phases_svg())
    texts = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {str(phase) for phase in Phase} <= set(texts)
    words = {word for text in texts for word in text.split(", ")}
    assert {str(action) for _, action in TRANSITIONS} <= words
    assert {str(action) for action in Action} <= words
    # Arrows into each phase: one from each source, or one from a frame that holds several.
    lines = len(list(root.iter("{http://www.w3.org/2000/svg}line")))
    pairs = {(source, target) for (source, _), target in TRANSITIONS.items()}
    merged = {
        (frame, target)
        for frame, inner in DRAWING.inside().items()
        for target in DRAWING.PLACES
        if target not in inner and all((Phase(state), Phase(target)) in pairs for state in inner)
    }
    covered = {(Phase(state), Phase(target)) for frame, target in merged for state in DRAWING.inside()[frame]}
    assert lines == len(pairs - covered) + len({target for _, target in merged})


def test_every_setting_is_documented() -> None:
    """A setting without a meaning can't be set."""
    for path, field in FIELDS.fields_of(Settings, ()):
        assert field.description, ".".join(path)


def test_every_value_of_the_chart_is_documented() -> None:
    """The page has each value, and says what it means or what its section does."""

    def paths(values: dict[str, object], above: str = "") -> set[str]:
        nested = {
            path
            for key, value in values.items()
            if isinstance(value, dict) and value and key not in ("labels", "requests", "limits")
            for path in paths(value, f"{above}{key}.")
        }
        return nested | {above + key for key in values}

    values = yaml.safe_load((ROOT / "k8s" / "uws-service" / "values.yaml").read_text(encoding="utf-8"))
    rows = {path: (default, text) for path, default, text in GENERATOR._chart_values()}
    assert set(rows) == paths(values)
