"""VOSI 1.1 documents: availability and capabilities."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from lxml import etree

from uws_service.applications import Application
from uws_service.applications.model import ParameterSpec
from uws_service.protocol.uws import format_instant, xml_text

AVAILABILITY_NS = "http://www.ivoa.net/xml/VOSIAvailability/v1.0"
CAPABILITIES_NS = "http://www.ivoa.net/xml/VOSICapabilities/v1.0"
VR_NS = "http://www.ivoa.net/xml/VOResource/v1.0"
VS_NS = "http://www.ivoa.net/xml/VODataService/v1.1"
XSI_NS = "http://www.w3.org/2001/XMLSchema-instance"

_TYPE = f"{{{XSI_NS}}}type"
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def serialize(root: etree._Element) -> bytes:
    """Return a document as bytes, with its declaration."""
    return _DECLARATION + etree.tostring(root, encoding="UTF-8")


def http_date(ms: int) -> str:
    """Return an instant as HTTP headers show it."""
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)


def availability_xml(available: bool, *, up_since: int | None = None, notes: tuple[str, ...] = ()) -> bytes:
    """Return the availability.

    Since when, and what is wrong (V-020).
    """
    prefix = f"{{{AVAILABILITY_NS}}}"
    root = etree.Element(prefix + "availability", nsmap={"vosi": AVAILABILITY_NS})
    etree.SubElement(root, prefix + "available").text = "true" if available else "false"
    if up_since is not None:
        etree.SubElement(root, prefix + "upSince").text = format_instant(up_since)
    for note in notes:
        etree.SubElement(root, prefix + "note").text = xml_text(note)
    return serialize(root)


def capabilities_xml(application: Application, base: str, methods: tuple[str, ...] = ()) -> bytes:
    """Return what the application offers, and where.

    V-010…V-013, U-170, D-003; ``base`` is its URL.

    ``methods`` are the ways to log in, the empty one stands for anonymous use (A-001); capabilities and availability
    never ask for any (V-002).
    """
    root = common_capabilities(application, base, methods)
    main = application.results[0].media_type if application.results else None
    sync = capability(root, None, f"{base}/sync", main, methods)
    declare_parameters(sync, application)
    return serialize(root)


def common_capabilities(application: Application, base: str, methods: tuple[str, ...] = ()) -> etree._Element:
    """Return the capabilities that every application has.

    VOSI, UWS, and examples if it has any.
    """
    root = etree.Element(
        f"{{{CAPABILITIES_NS}}}capabilities",
        nsmap={"vosi": CAPABILITIES_NS, "vr": VR_NS, "vs": VS_NS, "xsi": XSI_NS},
    )
    std = {"role": "std"}
    capability(root, "ivo://ivoa.net/std/VOSI#capabilities", f"{base}/capabilities", "text/xml", (), **std)
    capability(root, "ivo://ivoa.net/std/VOSI#availability", f"{base}/availability", "text/xml", (), **std)
    jobs = capability(
        root, "ivo://ivoa.net/std/UWS#rest-1.1", f"{base}/async", "text/xml", methods, version="1.1", **std
    )
    declare_parameters(jobs, application)
    if application.examples:
        capability(root, "ivo://ivoa.net/std/DALI#examples", f"{base}/examples", "application/xhtml+xml", (), **std)
    return root


def capability(
    root: etree._Element,
    standard: str | None,
    url: str,
    result: str | None,
    methods: tuple[str, ...] = (),
    **attributes: str,
) -> etree._Element:
    """Add a capability with one interface.

    Return the interface.

    Where one may log in the URL is a ``base``: pyvo then sends its credentials to all that is below it, not only to
    this very URL (T-002, A-012).

    ``queryType`` is left out: DALI has GET and POST everywhere, and pyvo warns when both are named.
    """
    element = etree.SubElement(root, "capability", {"standardID": standard} if standard else {})
    interface = etree.SubElement(element, "interface", {_TYPE: "vs:ParamHTTP", **attributes})
    etree.SubElement(interface, "accessURL", {"use": "base" if methods else "full"}).text = url
    for method in methods:
        etree.SubElement(interface, "securityMethod", {"standardID": method} if method else {})
    if result:
        etree.SubElement(interface, "resultType").text = result
    return interface


def declare_parameters(interface: etree._Element, application: Application) -> None:
    """Add the parameters, with units and UCDs (vs:InputParam)."""
    for parameter in application.parameters:
        declare_parameter(interface, parameter, std=False)
    for parameter in _standard_parameters(application):
        declare_parameter(interface, parameter, std=True)


def _standard_parameters(application: Application) -> list[ParameterSpec]:
    """Return DALI's own parameters that are taken (D-024…D-026)."""
    parameters = []
    uploads = application.uploads
    if uploads is not None:
        text = uploads.description or f"Tables as name,URI: {uploads.minimum} to {uploads.maximum}."
        parameters.append(ParameterSpec("UPLOAD", arraysize="*", description=text, required=uploads.minimum > 0))
    formats = next((result.formats for result in application.results if result.formats), {})
    if formats:
        parameters.append(ParameterSpec("RESPONSEFORMAT", arraysize="*", description=f"One of {', '.join(formats)}."))
    if application.maxrec is not None:
        text = f"Rows of the result, {application.maxrec.default} by default, at most {application.maxrec.maximum}."
        parameters.append(ParameterSpec("MAXREC", datatype="long", description=text))
    return parameters


def declare_parameter(interface: etree._Element, parameter: ParameterSpec, *, std: bool) -> None:
    use = "required" if parameter.required else "optional"
    param = etree.SubElement(interface, "param", {"std": str(std).lower(), "use": use})
    etree.SubElement(param, "name").text = parameter.name
    for name, text in (
        ("description", parameter.description),
        ("unit", parameter.unit),
        ("ucd", parameter.ucd),
        ("utype", parameter.utype),
    ):
        if text:
            etree.SubElement(param, name).text = xml_text(text)
    attributes = {_TYPE: "vs:VOTableType"}
    if parameter.arraysize:
        attributes["arraysize"] = parameter.arraysize
    if parameter.xtype:
        attributes["extendedType"] = parameter.xtype
    etree.SubElement(param, "dataType", attributes).text = parameter.datatype
