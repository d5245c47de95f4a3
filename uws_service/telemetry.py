"""Metrics (Prometheus) and log lines (structlog)."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)

REQUESTS = Counter("uws_requests", "Requests answered.", ["route", "method", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "uws_request_seconds",
    "Time to answer a request, WAIT excluded.",
    ["route"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)
WAITERS = Gauge("uws_waiters", "Requests that block in WAIT now.", registry=REGISTRY)
WAKE_UPS = Counter("uws_wait_wakeups", "WAIT requests answered, by why.", ["why"], registry=REGISTRY)
STREAMS = Gauge("uws_streams", "Clients that follow events now.", registry=REGISTRY)
STREAMS_ENDED = Counter("uws_streams_ended", "Streams of events that ended, by why.", ["why"], registry=REGISTRY)
NOTICES = Counter("uws_notices", "Notices of events, by kind and outcome.", ["kind", "outcome"], registry=REGISTRY)
PHASES = Counter("uws_phase_changes", "Phases that jobs came to.", ["application", "phase"], registry=REGISTRY)
JOBS = Gauge("uws_jobs", "Jobs in the store.", ["application", "phase"], registry=REGISTRY)
QUEUE_WAIT = Histogram(
    "uws_queue_wait_seconds",
    "Time from RUN to the hand-over to a site.",
    ["application"],
    registry=REGISTRY,
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43200),
)
CONTROLLER_ROUND = Histogram(
    "uws_controller_round_seconds", "Time of one round of a site's controller.", ["site"], registry=REGISTRY
)
CONTROLLER_LAG = Gauge(
    "uws_controller_lag_seconds", "Time since a site's controller last finished a round.", ["site"], registry=REGISTRY
)
SITE_RUNNING = Gauge("uws_site_attempts", "Attempts at a site.", ["site"], registry=REGISTRY)
NETWORK_WAITING = Gauge(
    "uws_network_waiting", "Attempts that wait for any site of the network with room.", registry=REGISTRY
)
SITE_WAITING = Gauge("uws_site_waiting", "Attempts that wait for one site alone.", ["site"], registry=REGISTRY)
SITE_REACHABLE = Gauge("uws_site_reachable", "1 if the site can be asked, 0 if not.", ["site"], registry=REGISTRY)
SITE_LEADER = Gauge("uws_site_leader", "1 in the process that drives the site.", ["site"], registry=REGISTRY)
SITE_CREATE = Histogram("uws_site_create_seconds", "Time in which a cluster took a Job.", ["site"], registry=REGISTRY)
ATTEMPTS = Counter("uws_attempts", "Attempts that ended, by why; Done if well.", ["site", "reason"], registry=REGISTRY)

PUBLICATION_LAG = Gauge(
    "uws_accounting_lag_seconds",
    "Time since accounts were last published whose month has changed since; 0: all is published.",
    ["form"],
    registry=REGISTRY,
)
ENERGY = Counter(
    "uws_energy_watt_hours", "Estimated energy of attempts that ended.", ["site", "application"], registry=REGISTRY
)
CO2E = Counter(
    "uws_co2e_grams",
    "Estimated CO2e of attempts that ended; waste is empty where nothing was lost.",
    ["site", "application", "waste"],
    registry=REGISTRY,
)

TOKENS = Counter("uws_tokens", "Tokens looked at that were not remembered, by outcome.", ["outcome"], registry=REGISTRY)


_SECRET = re.compile(
    r"(?P<jwt>\bey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?)"
    r"|(?P<name>\b(?:bearer|basic|access_token|refresh_token|id_token|token|code|client_secret|password|share|uws_session"
    r"|uws_share|uws_login)(?:=|%3d|\s+|[\"']?:\s*[\"']?))(?P<value>[A-Za-z0-9._~+/%=-]{16,})",
    re.IGNORECASE,
)


_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and those that change the direction of text."""


def scrubbed(text: str) -> str:
    """Return a text without likely secrets."""
    return _SECRET.sub(lambda match: f"{match['name'] or ''}[removed]", text)


def _scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove secrets and control characters from an event.

    It is the last step, so it sees tracebacks and other libraries' messages too. What a caller sent must not control
    the terminal on which an operator reads it.
    """
    for name, value in event.items():
        if isinstance(value, str):
            if len(value) >= 16:
                value = scrubbed(value)
            event[name] = value if value.isprintable() else _STEERING.sub(lambda match: ascii(match[0])[1:-1], value)
    return event


def configure_logging(form: str, level: str) -> None:
    """Log to standard error, a line for each event, other libraries' too."""
    numeric = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    traces: list[structlog.typing.Processor] = [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *traces, _scrub, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *traces, _scrub, renderer],
        )
    )
    logging.getLogger("httpx2").setLevel(max(numeric, logging.WARNING))  # at INFO it writes each URL with its query
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(numeric, logging.INFO))
