"""A TAP service's documents: tables (VOSI 1.1 §3.3), capabilities (TAPRegExt 1.0).

Rules T-002…T-004.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lxml import etree

from uws_service.adql.features import announced_features
from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.applications import Application
from uws_service.protocol import vosi
from uws_service.protocol.uws import xml_text
from uws_service.tap.catalogue import Published, schemas_of
from uws_service.tap.descriptor import TAP_FORMATS
from uws_service.tap.tap_schema import DESCRIPTIONS, TABLES, quoted, with_tap_schema

TABLES_NS = "http://www.ivoa.net/xml/VOSITables/v1.0"
TAPREGEXT_NS = "http://www.ivoa.net/xml/TAPRegExt/v1.0"
TAPREGEXT_ID = "ivo://ivoa.net/std/TAPRegExt#"
_TYPE = f"{{{vosi.XSI_NS}}}type"
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_OUTPUTS = {"votable": "output-votable-td", "votable/td": "output-votable-td", "votable/b2": "output-votable-binary2"}


def tables_xml(published: Sequence[Published], *, columns: bool) -> bytes:
    """Return all tables by schema, TAP_SCHEMA last.

    Without ``columns`` it is a short list.
    """
    root = etree.Element(f"{{{TABLES_NS}}}tableset", nsmap=_namespaces())
    tables = with_tap_schema([item.table for item in published])
    rows = {item.table.full_name: item.rows for item in published}
    for name in schemas_of(tables):
        schema = etree.SubElement(root, "schema")
        etree.SubElement(schema, "name").text = name
        if name in DESCRIPTIONS:
            etree.SubElement(schema, "description").text = DESCRIPTIONS[name]
        for table in tables:
            if table.schema == name:
                _add_content(etree.SubElement(schema, "table"), table, rows.get(table.full_name), columns=columns)
    return _DECLARATION + etree.tostring(root, encoding="UTF-8")


def table_xml(published: Sequence[Published], name: str) -> bytes | None:
    """Return one table in full, or None.

    ``name`` has the schema, in any case.
    """
    for published_table in (*published, *(Published(table) for table in TABLES)):
        if published_table.table.full_name.lower() == name.lower():
            root = etree.Element(f"{{{TABLES_NS}}}table", nsmap=_namespaces())
            _add_content(root, published_table.table, published_table.rows, columns=True)
            return _DECLARATION + etree.tostring(root, encoding="UTF-8")
    return None


def _namespaces() -> dict[str, str]:
    return {"vosi": TABLES_NS, "vs": vosi.VS_NS, "xsi": vosi.XSI_NS}


def _add_content(element: etree._Element, table: Table, rows: int | None, *, columns: bool) -> None:
    element.set("type", table.kind)
    _add_texts(element, name=table.full_name, description=table.description, utype=table.utype)
    if rows is not None:
        etree.SubElement(element, "nrows").text = str(rows)
    if columns:
        for column in table.columns:
            _column(etree.SubElement(element, "column", {"std": "true"} if column.std else {}), column)
        for key in table.foreign_keys:
            _key(etree.SubElement(element, "foreignKey"), key)


def _add_texts(element: etree._Element, **texts: str | None) -> None:
    for name, text in texts.items():
        if text:
            etree.SubElement(element, name).text = xml_text(text)


def _column(element: etree._Element, column: Column) -> None:
    _add_texts(
        element,
        name=quoted(column.name),
        description=column.description,
        unit=column.unit,
        ucd=column.ucd,
        utype=column.utype,
    )
    attributes = {_TYPE: "vs:VOTableType"}
    if column.arraysize:
        attributes["arraysize"] = column.arraysize
    if column.xtype:
        attributes["extendedType"] = column.xtype
    etree.SubElement(element, "dataType", attributes).text = column.datatype
    for flag in ("indexed", "principal"):
        if getattr(column, flag):
            etree.SubElement(element, "flag").text = flag


def _key(element: etree._Element, key: ForeignKey) -> None:
    etree.SubElement(element, "targetTable").text = key.target
    for from_column, target_column in zip(key.columns, key.target_columns, strict=True):
        pair = etree.SubElement(element, "fkColumn")
        etree.SubElement(pair, "fromColumn").text = from_column
        etree.SubElement(pair, "targetColumn").text = target_column
    _add_texts(element, description=key.description)


MODELS = {"ivo://ivoa.net/std/ObsCore#core-1.1": "ObsCore-1.1"}
"""Data models by the utype of their tables."""


def capabilities_xml(
    application: Application, base: str, methods: tuple[str, ...] = (), utypes: Iterable[str | None] = ()
) -> bytes:
    """Return the capabilities of a TAP service at ``base``.

    ``utypes`` are those of its tables: a table that is one of a data model declares it (T-003).
    """
    namespaces = {
        "vosi": vosi.CAPABILITIES_NS,
        "vr": vosi.VR_NS,
        "vs": vosi.VS_NS,
        "tr": TAPREGEXT_NS,
        "xsi": vosi.XSI_NS,
    }
    root = etree.Element(f"{{{vosi.CAPABILITIES_NS}}}capabilities", nsmap=namespaces)
    std = {"role": "std"}
    interface = vosi.capability(root, "ivo://ivoa.net/std/TAP", base, None, methods, version="1.1", **std)
    url = interface.find("accessURL")
    assert url is not None
    url.set("use", "base")
    capability = interface.getparent()
    assert capability is not None
    capability.set(_TYPE, "tr:TableAccess")
    for utype in sorted({utype for utype in utypes if utype in MODELS}):
        etree.SubElement(capability, "dataModel", {"ivo-id": utype}).text = MODELS[utype]
    _language(capability)
    _outputs(capability)
    _limits(capability, application)
    for name in ("capabilities", "availability"):  # without authentication (V-002)
        vosi.capability(root, f"ivo://ivoa.net/std/VOSI#{name}", f"{base}/{name}", "text/xml", (), **std)
    vosi.capability(root, "ivo://ivoa.net/std/VOSI#tables-1.1", f"{base}/tables", "text/xml", methods, **std)
    if application.examples:
        kind = "application/xhtml+xml"
        vosi.capability(root, "ivo://ivoa.net/std/DALI#examples", f"{base}/examples", kind, (), **std)
    return _DECLARATION + etree.tostring(root, encoding="UTF-8")


def _language(parent: etree._Element) -> None:
    language = etree.SubElement(parent, "language")
    etree.SubElement(language, "name").text = "ADQL"
    for version in ("2.1", "2.0"):
        attributes = {"ivo-id": f"ivo://ivoa.net/std/ADQL#v{version}"}
        etree.SubElement(language, "version", attributes).text = version
    etree.SubElement(language, "description").text = "Astronomical Data Query Language"
    for kind, features in announced_features().items():
        listed = etree.SubElement(language, "languageFeatures", {"type": TAPREGEXT_ID + kind})
        for feature in features:
            element = etree.SubElement(listed, "feature")
            etree.SubElement(element, "form").text = feature.form
            if feature.description:
                etree.SubElement(element, "description").text = feature.description


def _outputs(parent: etree._Element) -> None:
    for name, media_type in TAP_FORMATS.items():
        attributes = {"ivo-id": TAPREGEXT_ID + _OUTPUTS[name]} if name in _OUTPUTS else {}
        output = etree.SubElement(parent, "outputFormat", attributes)
        etree.SubElement(output, "mime").text = media_type
        etree.SubElement(output, "alias").text = name


def _limits(parent: etree._Element, application: Application) -> None:
    uploads, limits, maxrec = application.uploads, application.limits, application.maxrec
    if uploads is not None:
        for method in ("inline", "http", "https"):
            etree.SubElement(parent, "uploadMethod", {"ivo-id": f"{TAPREGEXT_ID}upload-{method}"})
    for name, bound in (("retentionPeriod", limits.retention), ("executionDuration", limits.execution_duration)):
        element = etree.SubElement(parent, name)
        for word, seconds in (("default", bound.default), ("hard", bound.maximum)):
            if seconds:
                etree.SubElement(element, word).text = str(seconds)
    if maxrec is not None:
        element = etree.SubElement(parent, "outputLimit")
        etree.SubElement(element, "default", {"unit": "row"}).text = str(maxrec.default)
        etree.SubElement(element, "hard", {"unit": "row"}).text = str(maxrec.maximum)
    if uploads is not None:
        element = etree.SubElement(parent, "uploadLimit")
        etree.SubElement(element, "hard", {"unit": "byte"}).text = str(uploads.size)
