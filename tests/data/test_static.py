"""Catalogues in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from uws_service.data.catalogue import Absent
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.dataset import DataFile, DataSet, Replica
from uws_service.domain.errors import ConfigurationError

pytestmark = pytest.mark.anyio

MD5 = "0" * 31 + "a"
YAML = f"""\
areas:
  north: davs://north.example.org/data/
  south: ""
datasets:
  - id: ska:obs-1
    files:
      - name: a.fits
        size: 12
        md5: {MD5.upper()}
        adler32: 1a
        replicas:
          - {{area: north, path: /obs/a.fits}}
          - {{area: south, path: obs/a.fits}}
      - {{name: b.fits, replicas: [{{url: "https://other.example.org/b.fits"}}]}}
  - id: ivo://example.org/data?x
    size: 5
    replicas: [{{url: "https://other.example.org/x.fits"}}]
  - {{id: "ska:all", members: ["ska:obs-1", "ska:again"]}}
  - {{id: "ska:again", members: ["ska:obs-1", "ska:all", "ivo://example.org/data?x"]}}
"""
TABLE = [
    ("ska:obs-1", "a.fits", 12, MD5, "north", "davs://north.example.org/data/obs/a.fits", "obs/a.fits"),
    ("ska:obs-1", "a.fits", 12, MD5, "south", None, "obs/a.fits"),
    ("ska:obs-1", "b.fits", None, None, None, "https://other.example.org/b.fits", None),
    ("ska:c.fits", None, 3, None, "south", None, "c.fits"),
]
COLUMNS = ("identifier", "file", "size", "md5", "area", "url", "path")


def write_csv(path: Path, rows: list[tuple[Any, ...]] = TABLE, columns: tuple[str, ...] = COLUMNS) -> None:
    lines = [",".join(columns), *(",".join("" if value is None else str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_parquet(path: Path) -> None:
    columns = {name: [row[index] for row in TABLE] for index, name in enumerate(COLUMNS)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


async def opened(path: Path, **changes: Any) -> Catalogues:
    settings = {"catalogues": [{"name": "index", "kind": "static", "index": str(path)}], **changes}
    catalogues = Catalogues(Datasets.model_validate(settings))
    await catalogues.start()
    return catalogues


async def find(catalogues: Catalogues, text: str) -> DataSet | Absent:
    return (await catalogues.find([parse_identifier(text)]))[text]


async def test_yaml(tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_text(YAML)
    catalogues = await opened(tmp_path / "index.yaml")
    a = DataFile(
        "a.fits",
        12,
        {"md5": MD5, "adler32": "0000001a"},
        (
            Replica("north", "davs://north.example.org/data/obs/a.fits", "obs/a.fits"),
            Replica("south", "", "obs/a.fits"),
        ),
    )
    b = DataFile("b.fits", replicas=(Replica(url="https://other.example.org/b.fits"),))
    x = DataFile("data_x", 5, replicas=(Replica(url="https://other.example.org/x.fits"),))
    assert await find(catalogues, "ska:obs-1") == DataSet("ska:obs-1", (a, b))
    single = await find(catalogues, "ivo://example.org/data?x")
    assert isinstance(single, DataSet)
    assert single.is_file
    everything = await find(catalogues, "ska:all")
    assert isinstance(everything, DataSet)
    assert [file.size for file in everything.files] == [12, None, x.size]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
async def test_tables(tmp_path: Path, write: Any) -> None:
    path = tmp_path / ("index.csv" if write is write_csv else "index.parquet")
    write(path)
    catalogues = await opened(path)
    answer = await find(catalogues, "ska:obs-1")
    assert isinstance(answer, DataSet)
    assert [(file.name, file.size, len(file.replicas)) for file in answer.files] == [
        ("a.fits", 12, 2),
        ("b.fits", None, 1),
    ]
    single = await find(catalogues, "ska:c.fits")
    assert single == DataSet(
        "ska:c.fits", (DataFile("c.fits", 3, {}, (Replica("south", "", "c.fits"),)),), is_file=True
    )


async def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    write_csv(path)
    catalogues = await opened(path)
    assert isinstance(await find(catalogues, "ska:new"), Absent)
    write_csv(tmp_path / "next", [*TABLE, ("ska:new", None, 1, None, None, "https://example.org/n", None)])
    os.replace(tmp_path / "next", path)
    assert isinstance(await find(catalogues, "ska:new"), DataSet)
    path.write_text("nonsense\n")
    assert isinstance(await find(catalogues, "ska:new"), DataSet), "the last good version is used"
    path.unlink()
    assert isinstance(await find(catalogues, "ska:new"), DataSet)


async def test_urls_are_data_of_one_file_unless_the_settings_forbid_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "index.csv")
    url = "https://example.org/some/a%20b.fits?x=1"
    catalogues = await opened(tmp_path / "index.csv")
    assert await find(catalogues, url) == DataSet(
        url, (DataFile("a_b.fits", replicas=(Replica(url=url),)),), is_file=True
    )
    catalogues = await opened(tmp_path / "index.csv", urls=False)
    assert isinstance(await find(catalogues, url), Absent)


async def test_unknown_names_are_a_reason(tmp_path: Path) -> None:
    write_csv(tmp_path / "index.csv")
    answer = await find(await opened(tmp_path / "index.csv"), "ska:nothing")
    assert answer == Absent("ska:nothing is in no catalogue of this service")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("size: 12", "size: -1"), ":8: datasets.0.files.0.size"),
        (("size: 12", "size: many"), ":8: datasets.0.files.0.size"),
        (("size: 12", "size: 12345678901234567890"), ":8: datasets.0.files.0.size"),
        ((MD5.upper(), "zz"), ":9: datasets.0.files.0.md5"),
        (("/obs/a.fits", "../../etc/passwd"), ":12: datasets.0.files.0.replicas.0.path"),
        (("davs://north", "root://north"), ":2: areas.north"),
        (("id: ska:obs-1", "id: obs-1"), ":5: datasets.0.id"),
        (('id: "ska:again"', 'id: "ska:obs-1"'), "datasets.3.id: 'ska:obs-1' is there twice"),
        (('members: ["ska:obs-1", "ska:again"]', 'members: ["ska:gone"]'), "ska:gone"),
        (("datasets:", "data:"), ":4: data: is not known"),
        (("    files:", "    filez:"), "datasets.0.filez: is not known"),
        (("areas:", "areas: ["), ":"),
    ],
)
async def test_errors_name_file_line_and_field(tmp_path: Path, change: tuple[str, str], place: str) -> None:
    assert change[0] in YAML
    path = tmp_path / "index.yaml"
    path.write_text(YAML.replace(*change, 1))
    with pytest.raises(ConfigurationError) as raised:
        await opened(path)
    assert str(path) in raised.value.message
    assert place in raised.value.message


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([("ska:a", "f", "x", None, None, "https://example.org/a", None)], ":2: size"),
        ([("nonsense", "f", 1, None, None, "https://example.org/a", None)], ":2: identifier"),
        ([("ska:a", "f", 1, None, None, None, None)], ":2: url"),
        ([("ska:a", "f", 1, None, "north", None, "a/../b")], ":2: path"),
        ([("ska:a", "f", 1, None, None, "https://example.org/a", None, "more")], ":2: has more fields"),
        (
            [(*TABLE[0],), ("ska:obs-1", "a.fits", 13, MD5, None, "https://example.org/a", None)],
            ":3: file: 'a.fits' has another size",
        ),
    ],
)
async def test_errors_in_tables_name_file_line_and_field(
    tmp_path: Path, rows: list[tuple[Any, ...]], place: str
) -> None:
    path = tmp_path / "index.csv"
    write_csv(path, rows)
    with pytest.raises(ConfigurationError) as raised:
        await opened(path)
    assert f"{path}{place}" in raised.value.message


@pytest.mark.parametrize("name", ["index.csv", "index.parquet", "index.yaml"])
async def test_no_file_and_nonsense(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigurationError, match="No such file"):
        await opened(path)
    path.write_bytes(b"\xff\xfe nonsense")
    with pytest.raises(ConfigurationError, match=name):
        await opened(path)
