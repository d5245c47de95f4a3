"""Names of files that people save."""

from __future__ import annotations

import pytest

from uws_service.protocol.file_names import with_ending


@pytest.mark.parametrize(
    ("name", "media_type", "saved"),
    [
        ("tap-result", "application/x-votable+xml;serialization=BINARY2", "tap-result.vot"),
        ("job-result", "text/csv;header=present", "job-result.csv"),
        ("job-image", "image/fits", "job-image.fits"),
        ("job-cutout.fits", "application/fits", "job-cutout.fits"),
        ("job-.hidden", "text/plain", "job-.hidden"),
        ("job-result", "application/octet-stream", "job-result"),
        ("job-result", "", "job-result"),
        ("job-result", "no/such", "job-result"),
    ],
)
def test_endings(name: str, media_type: str, saved: str) -> None:
    """A name has one ending, its own or that of its type."""
    assert with_ending(name, media_type) == saved
