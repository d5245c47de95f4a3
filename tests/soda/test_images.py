"""Collections on the command line, their index, and the job's command on its own: limits and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from tests.server import ROOT
from tests.soda import kinds, skies
from tests.soda.servers import Files
from uws_service.applications.files import load_application
from uws_service.cli import run
from uws_service.domain.errors import ConfigurationError
from uws_service.soda.index import Index, from_json, to_json
from uws_service.web.faces import STANDARDS

DID = "ivo://x/y"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(*arguments: str) -> int:
    return run(["images", "add", *arguments, "--did", DID])


def entries(folder: Path) -> dict[str, Any]:
    return Index(str(folder / "images.jsonl")).entries()


def test_what_headers_say(folder: Path) -> None:
    """Footprint, axes, wavelengths, time and names come from the file."""
    cards = {"DATE-OBS": "2020-01-01T00:00:00", "EXPTIME": 86.4, "TELESCOP": "VLT", "INSTRUME": "MUSE", "OBJECT": "M 1"}
    skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(0, 0, scale=0.1), **cards)
    skies.cube(folder / "b.FITS")
    assert add(".", "--band", "4e-7 7e-7") == 0
    one, cube = entries(folder)[f"{DID}?a"], entries(folder)[f"{DID}?b"]
    assert (one.title, one.facility, one.instrument, one.axes, one.kind) == ("M 1", "VLT", "MUSE", (60, 50), "image")
    assert one.time == (58849.0, 58849.001) and one.band == (4e-7, 7e-7)
    assert one.circle == pytest.approx((0, 0, np.hypot(3, 2.5)), abs=0.02)
    assert len(one.region) == 32
    assert cube.kind == "cube" and cube.pol == ("I", "Q", "U", "V") and cube.channels == 20
    assert cube.band == pytest.approx((299_792_458 / 1.4195e9, 299_792_458 / 1.3995e9))


def test_wavelengths_of_axes_that_are_not_linear(folder: Path) -> None:
    """Logarithmic axes and tables have a band in the index, so that ObsCore finds them."""
    kinds.logarithmic().writeto(folder / "log.fits")
    kinds.tabular().writeto(folder / "tab.fits")
    kinds.slanted().writeto(folder / "slanted.fits")
    assert add(".") == 0
    found = entries(folder)
    assert found[f"{DID}?log"].channels == 40
    assert found[f"{DID}?log"].band == pytest.approx([3.6e-7 * np.exp(8e-11 * p / 3.6e-7) for p in (-0.5, 39.5)])
    assert found[f"{DID}?tab"].band == pytest.approx((0.975e-6, 5.5e-6))
    low, high = (1.4e9 + 1e6 * (plane + 0.05 * x) for plane, x in ((-0.5, -29.5), (19.5, 29.5)))
    assert found[f"{DID}?slanted"].band == pytest.approx((299_792_458 / high, 299_792_458 / low))


def test_the_outline_runs_counter_clockwise(folder: Path) -> None:
    """As DALI wants polygons, whichever way the image is turned or mirrored."""
    for number, scale in enumerate((0.1, -0.1)):
        skies.write(folder / f"{number}.fits", skies.numbered(50, 60), skies.header(200, 30, scale=scale), CDELT2=0.1)
    assert add(".") == 0
    for one in entries(folder).values():
        lon, lat = np.radians(one.region[::2]), np.radians(one.region[1::2])
        points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        assert (np.cross(points, np.roll(points, -1, axis=0)) @ points.mean(axis=0)).sum() > 0


def test_again_and_with_what_is_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Good images are kept, bad ones are named; a second run describes anew; remove takes out."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    (folder / "b.fits").write_text("nothing")
    assert add(".") != 0
    told = capsys.readouterr().err
    assert "b.fits: b.fits is not a FITS file" in told and "1 images described" in told
    (folder / "b.fits").unlink()
    assert add(".", "--collection", "New") == 0
    assert [one.collection for one in entries(folder).values()] == ["New"]
    assert run(["images", "remove", f"{DID}?a"]) == 0
    assert not entries(folder)
    assert run(["images", "remove", f"{DID}?a"]) != 0


def test_images_on_a_server(folder: Path) -> None:
    """Headers come over HTTP; the index holds the URL."""
    (folder / "web").mkdir()
    skies.write(folder / "web" / "far.fits", skies.numbered(500, 600), skies.header(1, 2, size=(600, 500)))
    files = Files(folder / "web")
    try:
        assert add(f"{files.url}/far.fits") == 0
        assert files.sent < 100_000
        assert entries(folder)[f"{DID}?far"].source == f"{files.url}/far.fits"
    finally:
        files.stop()


def test_a_file_that_is_compressed_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can't be read in parts, and the message says what can."""
    import gzip

    path = skies.write(folder / "b.fits", skies.numbered(5, 6), skies.header(1, 2))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert add("b.fits") != 0
    assert "compressed as a whole; only tile compression" in capsys.readouterr().err


def test_two_images_of_one_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An identifier belongs to one image."""
    for ending in ("fits", "fit"):
        skies.write(folder / f"a.{ending}", skies.numbered(5, 6), skies.header(1, 2))
    assert add(".") != 0
    assert "belongs to a.fit; give another --did" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["absent.fits"], ["/etc"], [".", "--band", "2 1"], [".", "--pol", "Z"]])
def test_wrong_arguments(folder: Path, arguments: list[str]) -> None:
    """Nothing is written."""
    assert add(*arguments) != 0
    assert not (folder / "images.jsonl").exists()


def test_files_outside_the_index(folder: Path) -> None:
    """An index in a folder beside the images could never be used."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    assert add("a.fits", "--index", "other/images.jsonl") != 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one.pop("circle"), "circle is missing"),
        (lambda one: one.update(colour="red"), "colour is not known"),
        (lambda one: one.update(circle=[1, 2]), "circle must be 3 numbers"),
        (lambda one: one.update(circle=["1", 2, 3]), "circle must be 3 numbers"),
        (lambda one: one.update(id="a\nb"), "id must be"),
        (lambda one: one.update(size="big"), "size must be"),
        (lambda one: one.update(region=["x"]), "region must be"),
        (lambda one: one.update(band=7), "object is not iterable"),
        (lambda one: one.update(band=[float("nan"), 1.0]), "band must be"),
        (lambda one: one.update(title=7), "title must be a text"),
        (lambda one: one.update(pol=["I", 7]), "pol must be texts"),
        (lambda one: one.update(axes=[60, "50"]), "axes must be whole numbers"),
        (lambda one: one.update(level=True), "level must be a whole number"),
        (lambda one: one.update(scale="1"), "scale must be a number"),
    ],
)
def test_wrong_lines_of_an_index(folder: Path, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    """File and line are named."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    assert add("a.fits") == 0
    (good,) = entries(folder).values()
    line = json.loads(json.dumps(to_json(good)))
    assert from_json(line) == good
    change(line)
    (folder / "images.jsonl").write_text(f"\n{json.dumps(line)}\n")
    with pytest.raises(ConfigurationError, match=told) as caught:
        entries(folder)
    assert "images.jsonl:2" in caught.value.message


def test_an_index_that_changes_is_read_again(folder: Path) -> None:
    """The service needs no restart."""
    for name in "ab":
        skies.write(folder / f"{name}.fits", skies.numbered(5, 6), skies.header(1, 2))
    add("a.fits")
    book = Index(str(folder / "images.jsonl"))
    assert len(book.entries()) == 1
    add("b.fits")
    assert len(book.entries()) == 2


def test_images_of_a_package_that_is_not_installed(folder: Path) -> None:
    """They are left out, so that an index can name images of packages that only some sites have."""
    place = "package://astropy/io/fits/hdu/compressed/tests/data/m13.fits"
    assert add(place) == 0
    lines = (folder / "images.jsonl").read_text()
    (folder / "images.jsonl").write_text(
        lines + lines.replace("package://astropy", "package://absent").replace("?", "?x")
    )
    assert [one.source for one in entries(folder).values()] == [place]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("protocol: soda", "images is missing"),
        ("protocol: soda\nimages: {index: a}\ncommand: [ls]", "command can't be given here"),
        ("images: {index: a}\ncommand: [ls]\nresults: []", "images can't be given here"),
        ("protocol: soda\nimages: {index: a, cutouts: 0}", "cutouts"),
        ("protocol: soda\nimages: {index: a}\nmaxrec: {default: 1, maximum: 1}", "maxrec can't be given here"),
    ],
)
def test_descriptors_that_are_wrong(folder: Path, text: str, told: str) -> None:
    """Told with the field."""
    (folder / "a.yaml").write_text(f"name: a\ntitle: b\ndescription: c\n{text}\n")
    with pytest.raises(ConfigurationError, match=told):
        load_application(folder / "a.yaml", STANDARDS)


PEAK = """
import runpy
try:
    runpy.run_module("uws_service.soda.command", run_name="__main__")
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Runs the command and prints its own peak of memory: what `wait4` tells includes that of the tests before exec."""


def command(
    folder: Path, parameters: dict[str, Any], *more: str, program: tuple[str, ...] = ("-m", "uws_service.soda.command")
) -> subprocess.CompletedProcess[str]:
    """The job's command as the agent would run it."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "parameters.json").write_text(json.dumps(parameters))
    options = ["--images", "images.jsonl", "--input", str(folder), "--output", str(folder / "out"), *more]
    return subprocess.run(
        [sys.executable, *program, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_memory_does_not_grow_with_the_image(folder: Path) -> None:
    """370 MB are cut out of 1.6 GB, with a preview; the libraries alone take 70 MB."""
    side = 20_000
    hdu = fits.PrimaryHDU(np.zeros((1, 1), np.float32), skies.header(10, 20, size=(side, side), scale=1e-4))
    header = hdu.header.copy()
    header["NAXIS1"] = header["NAXIS2"] = side
    with (folder / "large.fits").open("wb") as file:  # a file with a hole: it takes no room on the disk
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-4 * side * side // 2880) * 2880)
    assert add("large.fits") == 0
    done = command(folder, {"ID": f"{DID}?large", "POS": "RANGE 9.5 10.5 19.5 20.5"}, program=("-c", PEAK))
    assert done.returncode == 0, done.stderr
    assert (folder / "out/result.fits").stat().st_size > 350_000_000
    assert (folder / "out/result.png").stat().st_size > 0
    peak = int(done.stdout.split()[-2])
    assert peak < 200_000, f"{peak} KiB"


def test_limits_of_a_job(folder: Path) -> None:
    """Bytes of all cutouts together; what is too much for the rest is told in its place."""
    skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(10, 20))
    add("a.fits")
    done = command(folder, {"ID": f"{DID}?a"}, "--most-bytes", "5000")
    assert done.returncode == 2
    assert (
        done.stderr
        == "UsageError: The cutout would have 12000 bytes; at most 5000 are given. Ask for less of the image.\n"
    )
    circles = ["10 20 0.1", "10.05 20 0.1", "9.95 20 0.1"]
    done = command(folder, {"ID": f"{DID}?a", "CIRCLE": circles}, "--most-bytes", "12000")
    assert done.returncode == 0, done.stderr
    assert "at most" in (folder / "out/cutout-0003.txt").read_text()
    assert not (folder / "out/cutout-0003.fits").exists()


def test_no_traceback_for_headers_that_nobody_foresaw(folder: Path) -> None:
    """A reference pixel that is a text, for one."""
    path = skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(10, 20), CRPIX1A=1.0, CTYPE1A="X")
    add("a.fits")
    path.write_bytes(path.read_bytes().replace(b"CRPIX1A =                  1.0", b"CRPIX1A = 'one'               "))
    done = command(folder, {"ID": f"{DID}?a", "CIRCLE": "10 20 0.1"})
    assert done.returncode == 1
    assert done.stderr.startswith("Error: a.fits can't be cut") and done.stderr.count("\n") == 1
    assert not list((folder / "out").iterdir())
