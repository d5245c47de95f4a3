"""What results may hold that can be looked into, by their media types. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from uws_service.domain.job import Result

TYPES: Mapping[str, str] = {
    "application/x-votable+xml": "table",
    "text/xml": "table",
    "application/xml": "table",
    "text/csv": "table",
    "text/tab-separated-values": "table",
    "application/vnd.apache.parquet": "table",
    "application/parquet": "table",
    "application/x-parquet": "table",
    "application/fits": "fits",
    "image/fits": "fits",
    "application/gzip": "",
    "image/png": "image",
    "image/jpeg": "image",
}
"""What a media type may hold: a table, an image, or either of them in FITS."""
ENDINGS: Mapping[str, str] = {
    ".vot": "table",
    ".votable": "table",
    ".xml": "table",
    ".csv": "table",
    ".ecsv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".fits": "fits",
    ".fit": "fits",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
}
"""The same for results without a type of their own, whose ids are names of files."""
SAMP_TYPES = {
    "application/x-votable+xml": "table.load.votable",
    "text/xml": "table.load.votable",
    "application/xml": "table.load.votable",
}


def media_type(result: Result) -> str:
    """Return a result's media type without parameters."""
    return result.media_type.partition(";")[0].strip().lower()


def kind_of(result: Result) -> str:
    """Return ``table``, ``fits``, ``image``, or nothing for what can't be looked into."""
    kind = TYPES.get(media_type(result))
    if kind is None or media_type(result) in ("application/octet-stream", ""):
        ending = result.id[result.id.rfind(".") :].lower() if "." in result.id else ""
        kind = ENDINGS.get(ending, "")
    return kind


def samp_type(result: Result, contents: Mapping[str, bool]) -> tuple[str, str]:
    """Return SAMP's message for a result, and the format if that is a parameter."""
    kind = media_type(result)
    if kind_of(result) == "fits":
        return ("table.load.fits" if contents["table"] else "image.load.fits"), ""
    if not contents["table"]:
        return "", ""
    if "csv" in kind or result.id.endswith(".csv"):
        return "table.load.stil", "csv"
    if "parquet" in kind:
        return "table.load.stil", "parquet"
    return SAMP_TYPES.get(kind, ""), ""
