"""What the pages of this request say of the service: the edge sets it, the pages read it."""

from __future__ import annotations

from contextvars import ContextVar

from uws_service.service.presentation import Presentation

PLAIN = Presentation()
PRESENTATION: ContextVar[Presentation] = ContextVar("PRESENTATION", default=PLAIN)
