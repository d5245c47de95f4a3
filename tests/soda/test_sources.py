"""Images where they lie, read in parts only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from tests.s3 import BUCKET, KEY, SECRET, S3Server
from tests.soda import skies
from tests.soda.servers import Files
from uws_service.soda import cutout
from uws_service.soda.errors import BadImage
from uws_service.soda.request import Circle, Cut
from uws_service.soda.sources import LocalSource, Source, open_source

SIDE = 2000
REQUEST = Cut("a", Circle(10.0, 20.0, 0.2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a large image, plain and compressed."""
    place = tmp_path_factory.mktemp("images")
    sky_header = skies.header(10, 20, size=(SIDE, SIDE), scale=0.01)
    data = skies.numbered(SIDE, SIDE, dtype=np.int32)
    skies.write(place / "large.fits", data, sky_header)
    tiles = fits.CompImageHDU(data, sky_header, compression_type="RICE_1", tile_shape=(100, 100))
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(place / "tiles.fits")
    return place


@pytest.fixture
def files(folder: Path) -> Iterator[Files]:
    server = Files(folder)
    yield server
    server.stop()


def cut(source: Source) -> bytes:
    image = cutout.open_image(source)
    try:
        cutout.plan(image, REQUEST, cutout.Coverage(), 10**9)
        out = io.BytesIO()
        cutout.write(image, out)
    finally:
        image.close()
    return out.getvalue()


@pytest.mark.parametrize("name", ["large.fits", "tiles.fits"])
def test_http_sends_only_what_is_needed(name: str, folder: Path, files: Files) -> None:
    """A cutout of 40 × 40 pixels reads a small part.

    It is the same as that of the local file.
    """
    expected = cut(LocalSource(folder / name))
    result = cut(open_source(f"{files.url}/{name}", None))
    assert result == expected
    size = (folder / name).stat().st_size
    assert files.bytes_sent < size / 25, f"{files.bytes_sent} of {size} bytes in {files.requests} requests"
    assert files.requests < 60


def test_a_file_of_this_machine_is_read_in_parts(folder: Path) -> None:
    """Local files are read in parts, too."""

    class Counted(LocalSource):
        count = 0

        def read(self, spans: Any) -> list[bytes]:
            self.count += sum(end - start for start, end in spans)
            return super().read(spans)

    source = Counted(folder / "large.fits")
    cut(source)
    assert source.count < 150_000


def test_s3(folder: Path, tmp_path: Path) -> None:
    """S3 works with keys from a file, and only so."""
    server = S3Server(tmp_path / "s3")
    try:
        server.client().upload_file(str(folder / "large.fits"), BUCKET, "sky/large.fits")
        place = f"s3://{BUCKET}/sky/large.fits?endpoint={server.endpoint}"
        keys = tmp_path / "keys.json"
        keys.write_text(json.dumps({"access_key_id": KEY, "secret_access_key": SECRET}))
        assert cut(open_source(place, None, keys)) == cut(LocalSource(folder / "large.fits"))
        with pytest.raises(BadImage, match=r"large\.fits can't be read"):
            open_source(place, None)
        with pytest.raises(BadImage, match="not where the index says"):
            open_source(place.replace("large", "absent"), None, keys)
    finally:
        server.stop()


def test_a_server_without_ranges_is_refused(folder: Path) -> None:
    """Such a server would send all of the file."""
    server = Files(folder, ranges=False)
    try:
        with pytest.raises(BadImage, match=r"large\.fits"):
            cut(open_source(f"{server.url}/large.fits", None))
    finally:
        server.stop()


def test_what_is_not_there(files: Files, tmp_path: Path) -> None:
    """A clear word, without the address."""
    with pytest.raises(BadImage, match=r"absent\.fits is not where the index says"):
        open_source(f"{files.url}/absent.fits", None)
    with pytest.raises(BadImage, match="No such file"):
        open_source("absent.fits", tmp_path)
    with pytest.raises(BadImage) as error_info:
        open_source("http://127.0.0.1:9/secret/a.fits", None)
    assert "127.0.0.1" not in str(error_info.value)


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "../outside.fits",
        "sub/../../outside.fits",
        "link.fits",
        "package://os/../../etc/passwd",
        "package://uws_service/../README.md",
        "package://no_such_package/a.fits",
        "package:///etc/passwd",
        "http://user:secret@127.0.0.1/a.fits",
        "http:///a.fits",
        "http://127.0.0.1/a.fits?token=x",
        "s3://user:secret@bucket/a.fits",
        "s3://bucket/a.fits?access_key=x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.fits",
        "\0",
    ],
)
def test_places_outside_a_collection(place: str, tmp_path: Path) -> None:
    """An index can't lead out of its folder."""
    (tmp_path / "outside.fits").write_bytes(b"x")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.fits").symlink_to(tmp_path / "outside.fits")
    with pytest.raises(BadImage):
        open_source(place, inner)


def test_a_pipe_does_not_wait(tmp_path: Path) -> None:
    """A file that is none."""
    import os

    os.mkfifo(tmp_path / "pipe.fits")
    with pytest.raises(BadImage):
        cut(open_source("pipe.fits", tmp_path))
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(BadImage):
        cut(open_source("folder.fits", tmp_path))
