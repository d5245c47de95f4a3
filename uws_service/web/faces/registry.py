"""The registry of the faces, a line for each.

A package of somebody else's adds a face by an entry point of the group ``uws_service.faces`` that names a `Face`.
"""

from __future__ import annotations

from collections.abc import Mapping

from uws_service.applications import Application, Standard
from uws_service.plugins import load_plugins
from uws_service.service.backend import Backend
from uws_service.web.faces.base import Face, FaceHandlers
from uws_service.web.faces.plain import PLAIN
from uws_service.web.faces.soda import SODA
from uws_service.web.faces.srcnet_broker import SRCNET_BROKER
from uws_service.web.faces.tap import TAP

__all__ = ["FACES", "STANDARDS", "Face", "FaceHandlers", "Faces"]

FACES: Mapping[str, Face] = load_plugins("uws_service.faces", (PLAIN, TAP, SODA, SRCNET_BROKER), Face)
"""Every face, by the name of its standard."""
STANDARDS: Mapping[str, Standard] = {name: face.standard for name, face in FACES.items() if face is not PLAIN}
"""What ``protocol`` may be in a descriptor."""


class Faces:
    """The faces of a running service."""

    def __init__(self, backend: Backend) -> None:
        self.handlers: Mapping[str, FaceHandlers] = {name: face.handlers(backend) for name, face in FACES.items()}

    def of(self, application: Application) -> FaceHandlers:
        """Return what handles an application."""
        return self.handlers[application.standard.name]
