"""Names of files that people save: an ending tells programs and people what is in them."""

from __future__ import annotations

import mimetypes

ENDINGS = {
    "application/x-votable+xml": ".vot",
    "application/fits": ".fits",
    "image/fits": ".fits",
    "application/x-parquet": ".parquet",
    "application/vnd.apache.parquet": ".parquet",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "application/json": ".json",
    "text/xml": ".xml",
}
_ANYTHING = "application/octet-stream"


def ending_of(media_type: str) -> str:
    """Return the ending for a media type, with its dot; empty if there is none."""
    kind = media_type.partition(";")[0].strip().lower()
    if not kind or kind == _ANYTHING:
        return ""
    return ENDINGS.get(kind) or mimetypes.guess_extension(kind) or ""


def with_ending(name: str, media_type: str) -> str:
    """Return a name with the ending of its media type, unless it has one of its own."""
    stem, dot, ending = name.rpartition(".")
    return name if stem and dot and ending else name + ending_of(media_type)
