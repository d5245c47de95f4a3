"""Services that one uses: saved by ``use``, so that ``tap`` and ``tap/ID`` stand for their URLs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from uws_service.client import UwsClient

T = TypeVar("T")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_URL = re.compile(r"https?://[^/]")


def saved_file() -> Path:
    """Return the file in which services are saved (XDG base directories)."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "uws-service" / "services.json"


def load() -> dict[str, Any]:
    """Return ``current`` and ``services`` by name.

    A file that can't be read counts as empty.
    """
    try:
        saved = json.loads(saved_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        saved = None
    if not isinstance(saved, dict) or not isinstance(saved.get("services"), dict):
        return {"current": None, "services": {}}
    return saved


def save(saved: dict[str, Any]) -> None:
    """Write the file, for its user alone."""
    path = saved_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".part")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def current_service(name: str | None = None) -> str:
    """Return the URL of a saved service, by default of the one in use."""
    saved = load()
    name = name or saved["current"]
    entry = saved["services"].get(name)
    if entry is None:
        saved_names = ", ".join(saved["services"]) or "none"
        raise typer.BadParameter(
            f"no service {name!r} is saved (saved: {saved_names}); `uws-service use URL` saves one"
        )
    return str(entry["url"])


def url_of(text: str) -> str:
    """Return a URL.

    As it is, or of ``APPLICATION`` or ``APPLICATION/ID`` at a saved service (``NAME:…``).
    """
    if _URL.match(text):
        return text
    service, colon, path = text.rpartition(":")
    parts = path.split("/")
    if (
        "://" in text
        or len(parts) > 2
        or not all(_PART.fullmatch(part) for part in [*parts, *([service] if colon else [])])
    ):
        raise typer.BadParameter(
            f"{text!r} must be a URL that begins with http:// or https://, or APPLICATION or APPLICATION/ID of a "
            "service that `uws-service use` has saved"
        )
    try:
        root = current_service(service or None)
    except typer.BadParameter:
        if colon:
            raise
        raise typer.BadParameter(
            f"{text!r} must be a URL that begins with http:// or https://; short names need `uws-service use URL` first"
        ) from None
    return "/".join([root, parts[0], "async", *parts[1:]])


def job_list(client: UwsClient, url: str) -> str:
    """Return the job list that a URL means.

    Itself, or that of the application there.
    """
    from uws_service.client import ClientError

    if url.rstrip("/").rpartition("/")[2] == "async":
        return url
    try:
        answer = client.http.send("GET", url, headers={"Accept": "application/json, */*;q=0.1"})
        document = json.loads(answer.body) if "json" in answer.media_type else None
    except (ClientError, ValueError):
        return url
    if isinstance(document, dict) and isinstance(document.get("async"), str):
        return str(document["async"])
    if isinstance(document, dict) and isinstance(document.get("applications"), list):
        names = ", ".join(str(entry.get("name")) for entry in document["applications"] if isinstance(entry, dict))
        raise typer.BadParameter(f"{url} is a service; name one of its applications: {names}")
    return url


def at_job_list(client: UwsClient, url: str, act: Callable[[str], T]) -> T:
    """Do something at a URL.

    If that is no job list, at that of the application there.

    So a job list anywhere costs no further request.
    """
    from uws_service.client import BadDocument, ServerError

    try:
        return act(url)
    except (BadDocument, ServerError) as error:
        if isinstance(error, ServerError) and error.status != 405:
            raise
        place = job_list(client, url)
        if place == url:
            raise
        return act(place)


def application_names() -> list[str]:
    """Return the applications of the service in use, for completion."""
    saved = load()
    entry = saved["services"].get(saved["current"]) or {}
    return [str(name) for name in entry.get("applications", [])]


def use(
    url: Annotated[
        str | None, typer.Argument(metavar="URL|NAME", help="Root of a service, or the name of a saved one.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name to save it by; by default its host.", show_default=False)
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forget a saved service.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")
    ] = False,
) -> None:
    """Save a service, so that APPLICATION and APPLICATION/ID stand for URLs; without URL: list those that are saved."""
    saved = load()
    if forget is not None:
        if saved["services"].pop(forget, None) is None:
            raise typer.BadParameter(f"no service {forget!r} is saved")
        saved["current"] = None if saved["current"] == forget else saved["current"]
        save(saved)
    elif url is not None and url in saved["services"]:
        saved["current"] = url
        save(saved)
    elif url is not None:
        _add(saved, url, name)
    _print(saved, as_json=as_json)


def _add(saved: dict[str, Any], url: str, name: str | None) -> None:
    """Ask the service what it has, and save it."""
    from urllib.parse import urlsplit

    from uws_service.cli.common import guarded, open_client

    if not _URL.match(url):
        raise typer.BadParameter(f"{url!r} must be a URL that begins with http:// or https://, or a saved name")
    root = url.rstrip("/")
    with guarded(), open_client(root, None, 30.0) as client:
        answer = client.http.send("GET", f"{root}/", headers={"Accept": "application/json"})
    try:
        document = json.loads(answer.body)
        applications = [str(entry["name"]) for entry in document["applications"]]
    except (ValueError, KeyError, TypeError):
        raise typer.BadParameter(f"{root} is not the root of a service that lists its applications") from None
    name = name or urlsplit(root).netloc.rpartition("@")[2].replace(":", "-")
    if not _PART.fullmatch(name):
        raise typer.BadParameter(f"the name {name!r} must have letters, digits, '.', '_' and '-' alone")
    saved["services"][name] = {"url": root, "applications": applications}
    saved["current"] = name
    save(saved)


def _print(saved: dict[str, Any], *, as_json: bool) -> None:
    from uws_service.cli.common import note, one_line, print_json

    if as_json:
        print_json(saved)
        return
    for name, entry in saved["services"].items():
        mark = "*" if name == saved["current"] else " "
        print(one_line(f"{mark} {name}  {entry['url']}  {', '.join(entry.get('applications', []))}", 4000))
    if not saved["services"]:
        note("no service is saved; `uws-service use URL` saves one")


def complete_place(incomplete: str) -> list[str]:
    """Return what a short name may go on with."""
    return [name for name in application_names() if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("use")(use)
