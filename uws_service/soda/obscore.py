"""ObsCore 1.1: images as rows of ``ivoa.ObsCore``.

`TABLE` is for TAP_SCHEMA and the translator of queries, `batches` gives the rows as Arrow record batches in the order
of its columns. ``access_url`` leads to the DataLink of an image, from which a client finds file and cutouts.
"""

# ruff: noqa: E501 -- a table of columns
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from uws_service.adql.model import Column, Table
from uws_service.soda.index import Entry
from uws_service.soda.links import MEDIA_TYPE

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 10_000
UTYPE = "ivo://ivoa.net/std/ObsCore#core-1.1"
"""Of the table, and of the data model in TAP's capabilities."""


def _column(name: str, datatype: str, unit: str | None, ucd: str, utype: str, description: str) -> Column:
    kind, star, size = datatype.partition("*")
    return Column(
        name=name,
        datatype=kind,
        arraysize=f"{size}*" if star else None,
        xtype="adql:REGION" if name == "s_region" else None,
        unit=unit,
        ucd=ucd,
        utype=f"obscore:{utype}" if utype else None,
        description=description,
        indexed=name == "obs_publisher_did",
        std=True,
    )


_COLUMNS = tuple(
    _column(*column)
    for column in (
        # ObsCore 1.1, table 6 (mandatory columns), and obs_title of table 7
        ("dataproduct_type", "char*", None, "meta.code.class", "ObsDataset.dataProductType", "Kind of the data"),
        ("calib_level", "int", None, "meta.code;obs.calib", "ObsDataset.calibLevel", "Level of calibration, 0 to 4"),
        ("obs_collection", "char*", None, "meta.id", "DataID.collection", "Name of the collection"),
        ("obs_id", "char*", None, "meta.id", "DataID.observationID", "Identifier of the observation"),
        ("obs_publisher_did", "char*", None, "meta.ref.ivoid", "Curation.publisherDID", "Identifier given by the publisher"),
        ("obs_title", "char*", None, "meta.title;obs", "DataID.title", "What the image shows"),
        ("access_url", "char*", None, "meta.ref.url", "Access.reference", "URL of the image's DataLink"),
        ("access_format", "char*", None, "meta.code.mime", "Access.format", "Media type of access_url"),
        ("access_estsize", "long", "kbyte", "phys.size;meta.file", "Access.size", "Size of the file"),
        ("target_name", "char*", None, "meta.id;src", "Target.name", "Name of the target"),
        ("s_ra", "double", "deg", "pos.eq.ra", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1", "Right ascension of the centre, ICRS"),
        ("s_dec", "double", "deg", "pos.eq.dec", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2", "Declination of the centre, ICRS"),
        ("s_fov", "double", "deg", "phys.angSize;instr.fov", "Char.SpatialAxis.Coverage.Bounds.Extent.diameter", "Diameter of a circle that holds the image"),
        ("s_region", "char*", None, "pos.outline;obs.field", "Char.SpatialAxis.Coverage.Support.Area", "Outline of the image, ICRS"),
        ("s_resolution", "double", "arcsec", "pos.angResolution", "Char.SpatialAxis.Resolution.Refval.value", "Resolution on the sky"),
        ("s_xel1", "long", None, "meta.number", "Char.SpatialAxis.numBins1", "Pixels along the first axis of the sky"),
        ("s_xel2", "long", None, "meta.number", "Char.SpatialAxis.numBins2", "Pixels along the second axis of the sky"),
        ("t_min", "double", "d", "time.start;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StartTime", "Begin, MJD"),
        ("t_max", "double", "d", "time.end;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StopTime", "End, MJD"),
        ("t_exptime", "double", "s", "time.duration;obs.exposure", "Char.TimeAxis.Coverage.Support.Extent", "Exposure time"),
        ("t_resolution", "double", "s", "time.resolution", "Char.TimeAxis.Resolution.Refval.value", "Resolution in time"),
        ("t_xel", "long", None, "meta.number", "Char.TimeAxis.numBins", "Pixels along time"),
        ("em_min", "double", "m", "em.wl;stat.min", "Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit", "Shortest wavelength"),
        ("em_max", "double", "m", "em.wl;stat.max", "Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit", "Longest wavelength"),
        ("em_res_power", "double", None, "spect.resolution", "Char.SpectralAxis.Resolution.ResolPower.refVal", "Resolving power"),
        ("em_xel", "long", None, "meta.number", "Char.SpectralAxis.numBins", "Channels"),
        ("o_ucd", "char*", None, "meta.ucd", "Char.ObservableAxis.ucd", "UCD of the pixels' values"),
        ("pol_states", "char*", None, "meta.code;phys.polarization", "Char.PolarizationAxis.stateList", "Polarizations, as /I/Q/"),
        ("pol_xel", "long", None, "meta.number", "Char.PolarizationAxis.numBins", "Pixels along polarization"),
        ("facility_name", "char*", None, "meta.id;instr.tel", "Provenance.ObsConfig.Facility.name", "Telescope or survey"),
        ("instrument_name", "char*", None, "meta.id;instr", "Provenance.ObsConfig.Instrument.name", "Instrument"),
    )
)  # fmt: skip

TABLE = Table(
    schema="ivoa",
    name="ObsCore",
    columns=_COLUMNS,
    description="The images that can be cut, as ObsCore 1.1 describes observations.",
    utype=UTYPE,
    position=("s_ra", "s_dec"),
)


def row(entry: Entry, base: str) -> dict[str, Any]:
    """Return the row of an image.

    ``base`` is the URL of its SODA application.
    """
    lon, lat, radius = entry.circle
    flat = (*entry.axes, None, None)
    return {
        "dataproduct_type": entry.kind,
        "calib_level": entry.level,
        "obs_collection": entry.collection or "images",
        "obs_id": entry.id.rpartition("?")[2],
        "obs_publisher_did": entry.id,
        "obs_title": entry.title,
        "access_url": f"{base}/links?{urlencode({'ID': entry.id})}",
        "access_format": MEDIA_TYPE,
        "access_estsize": -(-entry.size // 1000),
        "target_name": entry.target or None,
        "s_ra": lon,
        "s_dec": lat,
        "s_fov": 2 * radius,
        "s_region": region(entry),
        "s_resolution": None,
        "s_xel1": flat[0],
        "s_xel2": flat[1],
        "t_min": entry.time[0] if entry.time else None,
        "t_max": entry.time[1] if entry.time else None,
        "t_exptime": entry.exposure,
        "t_resolution": None,
        "t_xel": None,
        "em_min": entry.band[0] if entry.band else None,
        "em_max": entry.band[1] if entry.band else None,
        "em_res_power": None,
        "em_xel": entry.channels,
        "o_ucd": None,
        "pol_states": f"/{'/'.join(entry.pol)}/" if entry.pol else None,
        "pol_xel": len(entry.pol) or None,
        "facility_name": entry.facility or None,
        "instrument_name": entry.instrument or None,
    }


def region(entry: Entry) -> str:
    """Return the outline as STC-S.

    Its type is the old adql:REGION, which STILTS' taplint requires of ObsCore's s_region.
    """
    if entry.region:
        return "POLYGON ICRS " + " ".join(f"{number:.9g}" for number in entry.region)
    return "CIRCLE ICRS " + " ".join(f"{number:.9g}" for number in entry.circle)


_ARROW = {"char": "string", "int": "int32", "long": "int64", "double": "float64"}


def schema() -> pyarrow.Schema:
    """Return the Arrow types of the columns."""
    import pyarrow

    return pyarrow.schema([(column.name, getattr(pyarrow, _ARROW[column.datatype])()) for column in _COLUMNS])


def batches(entries: Iterable[Entry], base: str) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows; nothing for no images."""
    import pyarrow

    rows: list[dict[str, Any]] = []
    for entry in entries:
        rows.append(row(entry, base))
        if len(rows) >= BATCH_ROWS:
            yield pyarrow.RecordBatch.from_pylist(rows, schema=schema())
            rows = []
    if rows:
        yield pyarrow.RecordBatch.from_pylist(rows, schema=schema())
