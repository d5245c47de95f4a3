"""Pages for people, made from templates (U-005): what all of them share, and the short ones.

Pure functions from values to text. Everything is escaped by the templates; `HEADERS` allow the pages nothing but
the service's own style sheet, scripts, streams and forms. Each page is complete without its script.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from uws_service.auth import Identity
from uws_service.domain.accounting import KEYS, Line
from uws_service.domain.energy import shown_grams, shown_watt_hours
from uws_service.domain.job import PHASE_MEANING
from uws_service.domain.notification import Subscription
from uws_service.domain.price import shown_money
from uws_service.protocol.uws import JobUrls, format_instant, xml_text
from uws_service.service.accounts import Account as UsageAccount
from uws_service.tap.preview_read import ResultPreview
from uws_service.web.presented import PRESENTATION
from uws_service.web.result_kinds import kind_of
from uws_service.web.shown import duration_text, instant_text, prose, size_text

if TYPE_CHECKING:
    from jinja2 import Environment

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "vary": "accept",
}
"""Sent with each page."""

MAX_LINES = 10_000
"""Lines that a page lists."""


class Account(NamedTuple):
    """The reader of a page.

    Without an owner it is somebody who could log in.
    """

    owner: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, identity: Identity) -> Account:
        """Return the account of an identity."""
        return cls(identity.owner or "", identity.name, tuple(sorted(identity.groups)))


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # programs never ask for a page

    templates = Environment(
        loader=PackageLoader("uws_service.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(bytes=size_text, seconds=duration_text, instant=instant_text)
    templates.filters.update(iso=format_instant, shown=xml_text, prose=prose)
    templates.globals.update(meaning=PHASE_MEANING, kind_of=kind_of)
    return templates


def render(template: str, base: str, account: Account | None = None, here: str = "", **values: Any) -> str:
    """Return a page from its template.

    ``account`` None: nobody can log in here; ``here``: the path to come back to after a login.
    """
    fields = {"base": base, "account": account, "here": here, "service": PRESENTATION.get()}
    return _templates().get_template(template).render(**fields, **values)


def root_of(urls: JobUrls) -> str:
    """Return the service's root."""
    return urls.jobs.rsplit("/", 2)[0]


def usage_page(by: Sequence[str], usage: UsageAccount, base: str, account: Account | None = None) -> str:
    """Return the page of what was used."""
    rows = [_usage_row(line, usage.currency) for line in usage.lines[:MAX_LINES]]
    highest = max((row["value"] for row in rows), default=0.0) or 1.0
    return render(
        "usage.html", base, account, by=by, keys=KEYS, rows=rows, highest=highest,
        overflow=usage.overflow or len(usage.lines) > MAX_LINES,
    )  # fmt: skip


def _usage_row(line: Line, currency: str) -> dict[str, Any]:
    """Return a line as people read it (N-007)."""
    figures = line.figures()
    energy, co2e, price = figures["energy_kwh"], figures["co2e_kg"], line.sums.get("price")
    return {
        "key": line.key,
        "jobs": line.jobs,
        "value": figures["reserved_cpu_hours"],
        "hours": f"{figures['reserved_cpu_hours']:.3g}",
        "wasted": f"{figures['wasted_cpu_hours']:.3g}",
        "energy": "" if energy is None else shown_watt_hours(energy * 1000),
        "co2e": "" if co2e is None else shown_grams(co2e * 1000),
        "price": "" if price is None else shown_money(price, currency),
    }


def notifications_page(
    entries: Sequence[Subscription],
    kinds: Sequence[str],
    base: str,
    secret: tuple[str, str] | None = None,
    account: Account | None = None,
) -> str:
    """Return the page of a caller's notifications.

    ``secret``: what a new one has, with its name.
    """
    place = f"{base}/notifications"
    return render("notifications.html", base, account, place, entries=entries, kinds=kinds, secret=secret)


def preview_section(preview: ResultPreview) -> Markup:
    """Return the first rows of a query's result."""
    return Markup(_templates().get_template("preview.html").render(preview=preview))


def error_page(
    status: int,
    title: str,
    message: str,
    detail: str = "",
    base: str = "",
    account: Account | None = None,
    here: str = "",
) -> str:
    """Return the page of an error.

    ``status`` is that of the response, 200 where the error is a job's.
    """
    return render("error.html", base, account, here, status=status, title=title, message=message, detail=detail)


def login_page(base: str, choices: Sequence[tuple[int, str]], account: Account, next_path: str) -> str:
    """Return the page for logging in.

    It has the issuers by number and title, or takes a token; who is logged in sees their account.
    """
    return render("login.html", base, account, choices=choices, next=next_path)
