"""DataLink 1.1 of images. Pure.

For each id it has the file and the services that cut it, with what their parameters may be.
A table with one row for each link, and a description of both services (SODA 1.0 §4.3, S-006) for each image that was
found: VALUES hold the image's own outline, wavelengths, time and polarizations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from lxml import etree

from uws_service.applications.model import ParameterSpec
from uws_service.protocol.dali import VOTABLE_NS
from uws_service.protocol.uws import xml_text
from uws_service.soda.index import Entry

MEDIA_TYPE = "application/x-votable+xml;content=datalink"
STANDARD = "ivo://ivoa.net/std/DataLink#links-1.1"
SERVICES = (
    ("sync", "ivo://ivoa.net/std/SODA#sync-1.0", "Cutout, in the answer to the request"),
    ("async", "ivo://ivoa.net/std/SODA#async-1.0", "Cutouts, one or several, as a job"),
)
MAX_IDS = 1_000
"""Of a request."""

_FIELDS = (
    # name, datatype, arraysize, ucd, unit
    ("ID", "char", "*", "meta.id;meta.main", None),
    ("access_url", "char", "*", "meta.ref.url", None),
    ("service_def", "char", "*", "meta.ref", None),
    ("error_message", "char", "*", "meta.code.error", None),
    ("description", "char", "*", "meta.note", None),
    ("semantics", "char", "*", "meta.code", None),
    ("content_type", "char", "*", "meta.code.mime", None),
    ("content_length", "long", None, "phys.size;meta.file", "byte"),
)


def links_votable(
    ids: Sequence[str], entries: Mapping[str, Entry], base: str, parameters: Sequence[ParameterSpec]
) -> bytes:
    """Return the DataLink document.

    ``base`` is the application's URL, ``parameters`` are those that it has.
    """
    nsmap: Any = {None: VOTABLE_NS}
    root = etree.Element(f"{{{VOTABLE_NS}}}VOTABLE", {"version": "1.4"}, nsmap=nsmap)
    resource = _add(root, "RESOURCE", type="results")
    _add(resource, "INFO", name="QUERY_STATUS", value="OK")
    _add(resource, "INFO", name="standardID", value=STANDARD)
    table = _add(resource, "TABLE")
    for name, datatype, arraysize, ucd, unit in _FIELDS:
        attributes = {key: value for key, value in (("arraysize", arraysize), ("unit", unit)) if value}
        _add(table, "FIELD", name=name, ID=name, datatype=datatype, ucd=ucd, **attributes)
    rows = _add(_add(table, "DATA"), "TABLEDATA")
    linked = [entries[id_] for id_ in ids if id_ in entries]
    for id_ in ids:
        if id_ not in entries:
            _row(rows, ID=id_, error_message=f"NotFoundFault: there is no image {id_[:200]}", semantics="#this")
            continue
        for link in _links(entries[id_], linked.index(entries[id_]) + 1, base):
            _row(rows, ID=id_, **link)
    for number, entry in enumerate(linked, 1):
        for kind, standard, description in SERVICES:
            _service(root, entry, f"soda-{kind}-{number}", f"{base}/{kind}", standard, description, parameters)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")


def _links(entry: Entry, number: int, base: str) -> list[dict[str, str]]:
    file_link = {
        "access_url": f"{base}/sync?{urlencode({'ID': entry.id})}",
        "description": f"{entry.title}: all of it",
        "semantics": "#this",
        "content_type": "application/fits",
    }
    service_links = [
        {
            "service_def": f"soda-{kind}-{number}",
            "description": description,
            "semantics": "#cutout",
            "content_type": "application/fits" if kind == "sync" else "text/xml",
        }
        for kind, _, description in SERVICES
    ]
    return [file_link, *service_links]


def _service(
    root: etree._Element,
    entry: Entry,
    name: str,
    url: str,
    standard: str,
    description: str,
    parameters: Sequence[ParameterSpec],
) -> None:
    resource = _add(root, "RESOURCE", type="meta", utype="adhoc:service", ID=name)
    _add(resource, "DESCRIPTION").text = description
    for key, value in (("standardID", standard), ("accessURL", url)):
        _add(resource, "PARAM", name=key, datatype="char", arraysize="*", value=value)
    group = _add(resource, "GROUP", name="inputParams")
    for parameter in parameters:
        attributes = {
            key: value
            for key, value in (
                ("ucd", parameter.ucd),
                ("unit", parameter.unit),
                ("xtype", parameter.xtype),
                ("arraysize", parameter.arraysize),
            )
            if value
        }
        value = xml_text(entry.id) if parameter.name == "ID" else ""
        param = _add(group, "PARAM", name=parameter.name, datatype=parameter.datatype, value=value, **attributes)
        _add(param, "DESCRIPTION").text = xml_text(parameter.description)
        _values(param, parameter.name, entry)


def _values(param: etree._Element, name: str, entry: Entry) -> None:
    """Add the greatest region or interval, or the allowed words."""
    maximum = {
        "CIRCLE": entry.circle,
        "POLYGON": entry.region,
        "BAND": entry.band,
        "TIME": entry.time,
    }.get(name)
    if maximum:
        _add(_add(param, "VALUES"), "MAX", value=" ".join(repr(float(number)) for number in maximum))
    elif name == "POL" and entry.pol:
        values = _add(param, "VALUES")
        for state in entry.pol:
            _add(values, "OPTION", value=state)


def _add(parent: etree._Element, tag: str, /, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{VOTABLE_NS}}}{tag}", attributes)


def _row(rows: etree._Element, **values: str) -> None:
    row = _add(rows, "TR")
    for name, *_ in _FIELDS:
        _add(row, "TD").text = xml_text(values.get(name, "")) or None
