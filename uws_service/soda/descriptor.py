"""The part of SODA 1.0 in an application's descriptor: command, parameters, results, and the collection. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uws_service.applications.model import Application
from uws_service.applications.standard import Standard
from uws_service.domain.job import Job
from uws_service.units import parse_size

PAGE_PREVIEWS = 20
"""Pictures of a job's first cutouts, for its page."""

_FITS = "application/fits"


def _filter(name: str, unit: str, ucd: str, description: str, **fields: Any) -> dict[str, Any]:
    parameter = {"name": name, "ucd": ucd, "description": description, "repeated": True, "arraysize": "*", **fields}
    return {**parameter, "unit": unit} if unit else parameter


_TEMPLATE: Mapping[str, Any] = {
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


@dataclass(frozen=True, slots=True)
class ImagesSpec:
    """The collection of a SODA service.

    Its index, keys for S3, cutouts of a job at most, and their bytes.
    """

    index: str
    keys: str = ""
    cutouts: int = 500
    size: int = 1024**3


def images_of(application: Application) -> ImagesSpec | None:
    """Return the collection of an application.

    None if it is no SODA service.
    """
    return application.section if isinstance(application.section, ImagesSpec) else None


class SodaStandard(Standard):
    """SODA in a descriptor."""

    __slots__ = ()

    def read_section(self, raw: Mapping[str, Any]) -> ImagesSpec:
        """Return the section ``images``."""
        size = parse_size(raw.get("size", "1GiB"))
        return ImagesSpec(raw["index"], raw.get("keys", ""), raw.get("cutouts", 500), size)

    def locate(self, application: Application, folder: Path) -> Application:
        """Return the application with absolute paths of its index and its keys."""
        images = images_of(application)
        if images is None:
            return application
        index = images.index if images.index.startswith("package://") else str((folder / images.index).absolute())
        keys = str((folder / images.keys).absolute()) if images.keys else ""
        return replace(application, section=replace(images, index=index, keys=keys))

    def environment(self, application: Application, job: Job) -> Mapping[str, str]:
        """Say where the collection is, for `uws_service.soda.command`, and how much a job may cut."""
        images = images_of(application)
        if images is None:
            return {}
        return {
            "UWS_IMAGES": images.index,
            "UWS_IMAGES_KEYS": images.keys,
            "UWS_IMAGES_CUTOUTS": str(images.cutouts),
            "UWS_IMAGES_SIZE": str(images.size),
            "UWS_IMAGES_PREVIEWS": str(PAGE_PREVIEWS if job.listed else 0),  # a synchronous request has no page
        }


SODA = SodaStandard("soda", template=_TEMPLATE, section="images")
