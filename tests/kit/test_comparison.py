"""Results against expected files.

What is close enough passes, what is not is told with its place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from uws_service.kit.comparison import Rules, Tolerance, differences


def compared(folder: Path, kind: str, names: tuple[str, str], rules: Rules | None = None) -> list[str]:
    return differences(folder / names[0], folder / names[1], kind, rules or Rules())


@pytest.mark.parametrize("form", ["votable", "fits", "csv", "parquet"])
def test_tables(tmp_path: Path, form: str) -> None:
    """Within the tolerance, beyond it, with another column; a VOTable and a CSV with the same rows are alike."""
    table = Table({"name": ["a", "b"], "flux": [1.0, 2.0]})
    ending = {"votable": "vot"}.get(form, form)
    writers: dict[str, Any] = {"votable": {"format": "votable"}, "fits": {"format": "fits"}, "csv": {"format": "csv"}}

    def write(name: str, flux: list[float], extra: bool = False) -> str:
        written = Table({"name": table["name"], "flux": flux, **({"more": [1, 2]} if extra else {})})
        if form == "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            columns = {key: [value.item() for value in written[key]] for key in written.colnames}
            pq.write_table(pa.table(columns), tmp_path / f"{name}.{ending}")
        else:
            written.write(tmp_path / f"{name}.{ending}", **writers[form])
        return f"{name}.{ending}"

    kind = {
        "votable": "application/x-votable+xml",
        "fits": "application/fits",
        "csv": "text/csv",
        "parquet": "application/vnd.apache.parquet",
    }[form]
    expected = write("expected", [1.0, 2.0])
    assert compared(tmp_path, kind, (write("near", [1.0, 2.0 + 1e-7]), expected)) == []
    far = write("far", [1.0, 2.01])
    assert any("flux" in problem for problem in compared(tmp_path, kind, (far, expected)))
    rules = Rules(columns={"flux": Tolerance(absolute=0.1)})
    assert compared(tmp_path, kind, (far, expected), rules) == []
    assert compared(tmp_path, kind, (far, expected), Rules(ignore=frozenset({"flux"}))) == []
    assert compared(tmp_path, kind, (write("wide", [1.0, 2.0], extra=True), expected)) != []
    (tmp_path / f"broken.{ending}").write_bytes(b"\0not a table")
    assert compared(tmp_path, kind, (f"broken.{ending}", expected)) != []


def test_images(tmp_path: Path) -> None:
    """Pixels, NaN and keywords; the date of writing does not count."""
    data = np.arange(12.0).reshape(3, 4)
    data[0, 0] = np.nan

    def write(name: str, values: Any, **keywords: Any) -> str:
        fits.PrimaryHDU(values, fits.Header({"DATE": name, "OBJECT": "M 31", **keywords})).writeto(tmp_path / name)
        return name

    expected = write("expected.fits", data)
    assert compared(tmp_path, "image/fits", (write("same.fits", data * (1 + 1e-9)), expected)) == []
    other = data.copy()
    other[2, 1] = 0
    (problem,) = compared(tmp_path, "image/fits", (write("other.fits", other), expected))
    assert problem == "HDU 0: pixels: 1 values differ, the first at (2, 1): 0.0 instead of 9.0"
    (problem,) = compared(tmp_path, "image/fits", (write("key.fits", data, OBJECT="M 33"), expected))
    assert problem == "HDU 0: OBJECT is 'M 33' instead of 'M 31'"
    assert compared(tmp_path, "image/fits", ("key.fits", expected), Rules(ignore=frozenset({"OBJECT"}))) == []
    assert "shape" in compared(tmp_path, "image/fits", (write("shape.fits", data[:2]), expected))[-1]


def test_json(tmp_path: Path) -> None:
    """Numbers within the tolerance, the rest exactly."""
    (tmp_path / "a").write_text(json.dumps({"n": [1, 2.0000001], "s": "x", "when": "now"}))
    (tmp_path / "b").write_text(json.dumps({"n": [1, 2.0], "s": "x", "when": "then"}))
    rules = Rules(ignore=frozenset({"when"}))
    assert compared(tmp_path, "application/json", ("a", "b"), rules) == []
    assert compared(tmp_path, "application/json", ("a", "b")) == ["$.when is 'now' instead of 'then'"]
    (tmp_path / "c").write_text(json.dumps({"n": [1], "s": True, "t": 1}))
    problems = compared(tmp_path, "application/json", ("c", "b"), rules)
    assert problems == ["$.n has 1 items instead of 2", "$.s is True instead of 'x'", "$.t is not expected"]


def test_pictures(tmp_path: Path) -> None:
    """A little other is alike; another size or another picture is not."""
    Image.new("RGB", (20, 10), (100, 100, 100)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 10), (102, 100, 100)).save(tmp_path / "b.png")
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "c.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "d.png")
    assert compared(tmp_path, "image/png", ("b.png", "a.png")) == []
    assert "pixels differ by" in compared(tmp_path, "image/png", ("c.png", "a.png"))[0]
    assert compared(tmp_path, "image/png", ("d.png", "a.png")) == ["has 10 x 10 pixels instead of 20 x 10"]


def test_other_files(tmp_path: Path) -> None:
    """Texts by their lines, the rest by bytes."""
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("one\nthree\n")
    assert compared(tmp_path, "text/plain", ("a", "b")) == ["-three", "+two"]
    assert compared(tmp_path, "application/x-thing", ("a", "b")) == [
        "8 bytes instead of 10; they differ from byte 5 on"
    ]
    assert compared(tmp_path, "application/x-thing", ("a", "a")) == []
