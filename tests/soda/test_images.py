"""Collections on the command line, and the job's command."""

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
from uws_service.web.faces.registry import STANDARDS

DID = "ivo://x/y"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(*arguments: str) -> int:
    return run(["images", "add", *arguments, "--did", DID])


def entries(folder: Path) -> dict[str, Any]:
    return Index(str(folder / "images.jsonl")).entries()


def test_what_headers_say(folder: Path) -> None:
    """The file's headers fill the index."""
    cards = {"DATE-OBS": "2020-01-01T00:00:00", "EXPTIME": 86.4, "TELESCOP": "VLT", "INSTRUME": "MUSE", "OBJECT": "M 1"}
    skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(0, 0, scale=0.1), **cards)
    skies.cube(folder / "b.FITS")
    assert add(".", "--band", "4e-7 7e-7") == 0
    image, cube = entries(folder)[f"{DID}?a"], entries(folder)[f"{DID}?b"]
    assert (image.title, image.facility, image.instrument, image.axes, image.kind) == (
        "M 1",
        "VLT",
        "MUSE",
        (60, 50),
        "image",
    )
    assert image.time == (58849.0, 58849.001) and image.band == (4e-7, 7e-7)
    assert image.circle == pytest.approx((0, 0, np.hypot(3, 2.5)), abs=0.02)
    assert len(image.region) == 32
    assert cube.kind == "cube" and cube.pol == ("I", "Q", "U", "V") and cube.channels == 20
    assert cube.band == pytest.approx((299_792_458 / 1.4195e9, 299_792_458 / 1.3995e9))


def test_wavelengths_of_axes_that_are_not_linear(folder: Path) -> None:
    """Logarithmic axes and tables have a band, too."""
    kinds.logarithmic().writeto(folder / "log.fits")
    kinds.tabular().writeto(folder / "tab.fits")
    kinds.slanted().writeto(folder / "slanted.fits")
    assert add(".") == 0
    images = entries(folder)
    assert images[f"{DID}?log"].channels == 40
    assert images[f"{DID}?log"].band == pytest.approx([3.6e-7 * np.exp(8e-11 * p / 3.6e-7) for p in (-0.5, 39.5)])
    assert images[f"{DID}?tab"].band == pytest.approx((0.975e-6, 5.5e-6))
    low, high = (1.4e9 + 1e6 * (plane + 0.05 * x) for plane, x in ((-0.5, -29.5), (19.5, 29.5)))
    assert images[f"{DID}?slanted"].band == pytest.approx((299_792_458 / high, 299_792_458 / low))


def test_the_outline_runs_counter_clockwise(folder: Path) -> None:
    """DALI wants it so, also for mirrored images."""
    for number, scale in enumerate((0.1, -0.1)):
        skies.write(folder / f"{number}.fits", skies.numbered(50, 60), skies.header(200, 30, scale=scale), CDELT2=0.1)
    assert add(".") == 0
    for entry in entries(folder).values():
        lon, lat = np.radians(entry.region[::2]), np.radians(entry.region[1::2])
        points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        assert (np.cross(points, np.roll(points, -1, axis=0)) @ points.mean(axis=0)).sum() > 0


def test_again_and_with_what_is_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run describes anew; bad images are named."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    (folder / "b.fits").write_text("nothing")
    assert add(".") != 0
    message = capsys.readouterr().err
    assert "b.fits: b.fits is not a FITS file" in message and "1 images described" in message
    (folder / "b.fits").unlink()
    assert add(".", "--collection", "New") == 0
    assert [entry.collection for entry in entries(folder).values()] == ["New"]
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
        assert files.bytes_sent < 100_000
        assert entries(folder)[f"{DID}?far"].source == f"{files.url}/far.fits"
    finally:
        files.stop()


def test_a_file_that_is_compressed_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what can be read in parts."""
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
    """An index beside the images' folder is refused."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    assert add("a.fits", "--index", "other/images.jsonl") != 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.pop("circle"), "circle is missing"),
        (lambda line: line.update(colour="red"), "colour is not known"),
        (lambda line: line.update(circle=[1, 2]), "circle must be 3 numbers"),
        (lambda line: line.update(circle=["1", 2, 3]), "circle must be 3 numbers"),
        (lambda line: line.update(id="a\nb"), "id must be"),
        (lambda line: line.update(size="big"), "size must be"),
        (lambda line: line.update(region=["x"]), "region must be"),
        (lambda line: line.update(band=7), "object is not iterable"),
        (lambda line: line.update(band=[float("nan"), 1.0]), "band must be"),
        (lambda line: line.update(title=7), "title must be a text"),
        (lambda line: line.update(pol=["I", 7]), "pol must be texts"),
        (lambda line: line.update(axes=[60, "50"]), "axes must be whole numbers"),
        (lambda line: line.update(level=True), "level must be a whole number"),
        (lambda line: line.update(scale="1"), "scale must be a number"),
    ],
)
def test_wrong_lines_of_an_index(folder: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    """File and line are named."""
    skies.write(folder / "a.fits", skies.numbered(5, 6), skies.header(1, 2))
    assert add("a.fits") == 0
    (good,) = entries(folder).values()
    content = json.loads(json.dumps(to_json(good)))
    assert from_json(content) == good
    change(content)
    (folder / "images.jsonl").write_text(f"\n{json.dumps(content)}\n")
    with pytest.raises(ConfigurationError, match=message) as error_info:
        entries(folder)
    assert "images.jsonl:2" in error_info.value.message


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
    """They are left out: only some sites have them."""
    place = "package://astropy/io/fits/hdu/compressed/tests/data/m13.fits"
    assert add(place) == 0
    lines = (folder / "images.jsonl").read_text()
    (folder / "images.jsonl").write_text(
        lines + lines.replace("package://astropy", "package://absent").replace("?", "?x")
    )
    assert [entry.source for entry in entries(folder).values()] == [place]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protocol: soda", "images is missing"),
        ("protocol: soda\nimages: {index: a}\ncommand: [ls]", "command can't be given here"),
        ("images: {index: a}\ncommand: [ls]\nresults: []", "images can't be given here"),
        ("protocol: soda\nimages: {index: a, cutouts: 0}", "cutouts"),
        ("protocol: soda\nimages: {index: a}\nmaxrec: {default: 1, maximum: 1}", "maxrec can't be given here"),
    ],
)
def test_descriptors_that_are_wrong(folder: Path, text: str, message: str) -> None:
    """The error names the field."""
    (folder / "a.yaml").write_text(f"name: a\ntitle: b\ndescription: c\n{text}\n")
    with pytest.raises(ConfigurationError, match=message):
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
    folder: Path,
    parameters: dict[str, Any],
    *options: str,
    program: tuple[str, ...] = ("-m", "uws_service.soda.command"),
) -> subprocess.CompletedProcess[str]:
    """Run the job's command as the agent does."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "parameters.json").write_text(json.dumps(parameters))
    arguments = ["--images", "images.jsonl", "--input", str(folder), "--output", str(folder / "out"), *options]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_memory_does_not_grow_with_the_image(folder: Path) -> None:
    """370 MB are cut out of 1.6 GB, with a preview.

    The libraries alone take 70 MB.
    """
    side = 20_000
    hdu = fits.PrimaryHDU(np.zeros((1, 1), np.float32), skies.header(10, 20, size=(side, side), scale=1e-4))
    header = hdu.header.copy()
    header["NAXIS1"] = header["NAXIS2"] = side
    with (folder / "large.fits").open("wb") as file:  # a file with a hole: it takes no room on the disk
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-4 * side * side // 2880) * 2880)
    assert add("large.fits") == 0
    process = command(folder, {"ID": f"{DID}?large", "POS": "RANGE 9.5 10.5 19.5 20.5"}, program=("-c", PEAK))
    assert process.returncode == 0, process.stderr
    assert (folder / "out/result.fits").stat().st_size > 350_000_000
    assert (folder / "out/result.png").stat().st_size > 0
    peak = int(process.stdout.split()[-2])
    assert peak < 200_000, f"{peak} KiB"


def test_limits_of_a_job(folder: Path) -> None:
    """The limit holds for all cutouts together."""
    skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(10, 20))
    add("a.fits")
    process = command(folder, {"ID": f"{DID}?a"}, "--most-bytes", "5000")
    assert process.returncode == 2
    assert (
        process.stderr
        == "UsageError: The cutout would have 12000 bytes; at most 5000 are given. Ask for less of the image.\n"
    )
    circles = ["10 20 0.1", "10.05 20 0.1", "9.95 20 0.1"]
    process = command(folder, {"ID": f"{DID}?a", "CIRCLE": circles}, "--most-bytes", "12000")
    assert process.returncode == 0, process.stderr
    assert "at most" in (folder / "out/cutout-0003.txt").read_text()
    assert not (folder / "out/cutout-0003.fits").exists()


def test_no_traceback_for_headers_that_nobody_foresaw(folder: Path) -> None:
    """One example is a reference pixel of text."""
    path = skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(10, 20), CRPIX1A=1.0, CTYPE1A="X")
    add("a.fits")
    path.write_bytes(path.read_bytes().replace(b"CRPIX1A =                  1.0", b"CRPIX1A = 'one'               "))
    process = command(folder, {"ID": f"{DID}?a", "CIRCLE": "10 20 0.1"})
    assert process.returncode == 1
    assert process.stderr.startswith("Error: a.fits can't be cut") and process.stderr.count("\n") == 1
    assert [path.name for path in (folder / "out").iterdir()] == ["error.json"]


def read_error(folder: Path) -> tuple[str, str]:
    """Return type and message of the command's error."""
    content = json.loads((folder / "out/error.json").read_text())
    assert set(content) == {"type", "message", "detail"}
    assert not list((folder / "out").glob(".*"))
    return content["type"], content["message"]


@pytest.mark.parametrize(
    ("parameters", "options", "exit_code", "expected"),
    [
        ({}, (), 2, ("UsageError", "ID is required: the identifier of an image.")),
        ({"ID": "a"}, (), 2, ("UsageError", "ID='a': there is no such image in this collection.")),
        ({"ID": f"{DID}?a", "CIRCLE": "1 2"}, (), 2, ("UsageError", "CIRCLE='1 2' is not allowed")),
        ({"ID": f"{DID}?gone"}, (), 1, ("Error", "gone.fits can't be read: No such file or directory.")),
        ({"ID": f"{DID}?a"}, ("--images", "absent.jsonl"), 1, ("ServiceUnavailable", "absent.jsonl: No such file")),
        ({"ID": f"{DID}?a"}, ("--input", "absent"), 1, ("ServiceUnavailable", "No such file or directory")),
        ({"ID": f"{DID}?a"}, ("--most-bytes", "many"), 2, ("UsageError", "cut: argument --most-bytes: invalid int")),
        ([], (), 1, ("Error", "AttributeError: ")),
    ],
)
def test_errors_are_typed(
    folder: Path,
    parameters: Any,
    options: tuple[str, ...],
    exit_code: int,
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``error.json`` has the error of stderr's last line."""
    for name in ("a.fits", "gone.fits"):
        skies.write(folder / name, skies.numbered(50, 60), skies.header(10, 20))
        add(name)
    (folder / "gone.fits").unlink()
    monkeypatch.setenv("UWS_OUTPUT_DIR", str(folder / "out"))
    result = command(folder, parameters, *options)
    assert result.returncode == exit_code, result.stderr
    kind, message = read_error(folder)
    assert (kind, message[: len(expected[1])]) == expected
    assert result.stderr.splitlines()[-1] == f"{kind}: {message}"


def test_a_request_without_errors_leaves_no_error(folder: Path) -> None:
    """No overlap is no error."""
    skies.write(folder / "a.fits", skies.numbered(50, 60), skies.header(10, 20))
    add("a.fits")
    result = command(folder, {"ID": f"{DID}?a", "CIRCLE": "100 20 0.1"})
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (folder / "out").iterdir()] == ["result.txt"]
