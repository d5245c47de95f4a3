"""What a SODA service says of itself: its capabilities (SODA 1.0 §2, S-001)."""

from __future__ import annotations

from uws_service.applications import Application, ParameterSpec
from uws_service.protocol import vosi
from uws_service.soda import links

_ID = ParameterSpec("ID", arraysize="*", ucd="meta.id;meta.main", required=True)


def capabilities_xml(application: Application, base: str, methods: tuple[str, ...] = ()) -> bytes:
    """Return the capabilities of a SODA service at ``base``; ``methods`` as for `vosi.capabilities_xml`."""
    root = vosi.common_capabilities(application, base, methods)
    for kind, media_type in (("sync", "application/fits"), ("async", "text/xml")):
        standard = f"ivo://ivoa.net/std/SODA#{kind}-1.0"
        interface = vosi.capability(root, standard, f"{base}/{kind}", media_type, methods, role="std", version="1.0")
        vosi.declare_parameters(interface, application)
    interface = vosi.capability(
        root, links.STANDARD, f"{base}/links", links.MEDIA_TYPE, methods, role="std", version="1.1"
    )
    vosi.declare_parameter(interface, _ID, std=True)
    return vosi.serialize(root)
