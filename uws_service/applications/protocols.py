"""What a descriptor's `protocol` brings: the command, parameters and results that the standard gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAP_FORMATS = {
    "votable": "application/x-votable+xml",
    "votable/td": "application/x-votable+xml;serialization=tabledata",
    "votable/b2": "application/x-votable+xml;serialization=binary2",
    "csv": "text/csv;header=present",
    "tsv": "text/tab-separated-values",
    "fits": "application/fits",
    "parquet": "application/vnd.apache.parquet",
}
"""Names of RESPONSEFORMAT and media types of a query's result (TAP 1.1 §2.7.3, T-011)."""
TAP_LANGUAGES = ("ADQL", "ADQL-2.1", "ADQL-2.0")
"""Values of LANG (T-010)."""

_TAP: Mapping[str, Any] = {
    "command": ["python", "-m", "uws_service.tap.command"],
    "parameters": [
        {
            "name": "LANG",
            "arraysize": "*",
            "options": list(TAP_LANGUAGES),
            "default": "ADQL",
            "description": "Language of the query.",
        },
        {"name": "QUERY", "arraysize": "*", "required": True, "description": "The query, in ADQL."},
        {
            "name": "REQUEST",
            "arraysize": "*",
            "options": ["doQuery"],
            "description": "What TAP 1.0 clients send; it says nothing (D-023).",
        },
    ],
    "results": [
        {"id": "result", "path": "result", "media_type": TAP_FORMATS["votable"], "formats": TAP_FORMATS},
        {"id": "preview", "path": "preview.json", "media_type": "application/json", "required": False},
    ],
    "uploads": {"minimum": 0, "maximum": 10, "size": "100MiB", "description": "Tables: VOTable, FITS, CSV, Parquet."},
    "maxrec": {"default": 100_000, "maximum": 10_000_000},
    "resources": {"cpu": 1, "memory": "2GiB", "disk": "10GiB"},
    "limits": {
        "execution_duration": {"default": "10min", "maximum": "2h"},
        "retention": {"default": "7d", "maximum": "30d"},
        "output": "4GiB",
        "sync_duration": "60s",
    },
}
_FITS = "application/fits"


def _filter(name: str, unit: str, ucd: str, description: str, **more: Any) -> dict[str, Any]:
    known = {"name": name, "ucd": ucd, "description": description, "repeated": True, "arraysize": "*", **more}
    return {**known, "unit": unit} if unit else known


_SODA: Mapping[str, Any] = {
    "command": ["python", "-m", "uws_service.soda.command"],
    "parameters": [  # SODA 1.0 §3, S-002
        {
            **_filter("ID", "", "meta.ref.url;meta.curation", "Identifier of an image: its publisher DID."),
            "required": True,
        },
        _filter("CIRCLE", "deg", "pos.outline;obs", "Circle: longitude, latitude, radius; ICRS.",
                datatype="double", arraysize="3", xtype="circle"),
        _filter("POLYGON", "deg", "pos.outline;obs", "Polygon: pairs of longitude and latitude; ICRS.",
                datatype="double", xtype="polygon"),
        _filter("POS", "", "pos.outline;obs", "Region: CIRCLE, RANGE or POLYGON, and its numbers; ICRS, degrees."),
        _filter("BAND", "m", "em.wl;stat.interval", "Interval of wavelengths.",
                datatype="double", arraysize="2", xtype="interval"),
        _filter("TIME", "d", "time.interval;obs.exposure", "Interval of time, as MJD (UTC).",
                datatype="double", arraysize="2", xtype="interval"),
        _filter("POL", "", "meta.code;phys.polarization", "Polarization: I, Q, U, V, RR …; several are one filter."),
    ],
    "results": [
        {"id": "result", "path": "result.fits", "media_type": _FITS, "required": False},
        {"id": "cutouts", "path": "cutout-*.fits", "media_type": _FITS, "required": False},
        {"id": "reasons", "path": "*.txt", "media_type": "text/plain", "required": False},
        {"id": "previews", "path": "*.png", "media_type": "image/png", "required": False},
        {"id": "cutouts.csv", "path": "cutouts.csv", "media_type": "text/csv", "required": False},
    ],
    "resources": {"cpu": 1, "memory": "1GiB", "disk": "4GiB"},
    "limits": {
        "execution_duration": {"default": "10min", "maximum": "2h"},
        "retention": {"default": "7d", "maximum": "30d"},
        "output": "2GiB",
        "sync_duration": "60s",
    },
}  # fmt: skip
_KNOWN: Mapping[str, Mapping[str, Any]] = {"tap": _TAP, "soda": _SODA}


def completed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The descriptor with what its protocol brings; a section of its own takes precedence, word by word."""
    brought = _KNOWN.get(raw.get("protocol", ""), {})
    whole = {**brought, **raw}
    for name in ("uploads", "maxrec", "resources", "limits"):
        if name in brought and name in raw:
            whole[name] = {**brought[name], **raw[name]}
    return whole
