"""Commands for collections of images.

``images add``, ``list``, ``remove`` and ``publish``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from uws_service.cli.catalogue import FolderOption
from uws_service.cli.common import EXIT_FAILURE, JsonOption, Stop, complain, console, note, print_json
from uws_service.cli.operator_commands import ConfigOption, DataOption

if TYPE_CHECKING:
    from uws_service.soda.describe import Overrides
    from uws_service.soda.index import Entry, Index

ENDINGS = (".fits", ".fit", ".fts", ".fits.fz")
"""Files that are looked at in a folder."""

IndexOption = Annotated[
    Path, typer.Option("--index", metavar="FILE", help="The index; its folder holds the images that are files.")
]

images = typer.Typer(help="Collections of FITS images for SODA services.", no_args_is_help=True)


@images.command("add")
def add(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="FITS files, folders of them, or http, https and s3 URLs.")
    ],
    index: IndexOption = Path("images.jsonl"),
    did: Annotated[
        str, typer.Option(metavar="IVOID", help="Begin of the images' identifiers; a name without ending follows '?'.")
    ] = "ivo://example.org/images",
    application: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a descriptor that publishes the index, if there is none yet."),
    ] = None,
    collection: Annotated[str, typer.Option(help="Name of the collection, for ObsCore.")] = "",
    facility: Annotated[str, typer.Option(help="Telescope, where headers have no TELESCOP.")] = "",
    instrument: Annotated[str, typer.Option(help="Instrument, where headers have no INSTRUME.")] = "",
    band: Annotated[str, typer.Option(metavar="'LOW HIGH'", help="Metres, where images have no spectral axis.")] = "",
    time: Annotated[str, typer.Option(metavar="'LOW HIGH'", help="MJD, where headers have no date.")] = "",
    pol: Annotated[str, typer.Option(metavar="STATES", help="Polarizations, such as 'I', without an axis.")] = "",
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON with access_key_id and secret_access_key for S3.", show_default=False),
    ] = None,
) -> None:
    """Look at images and write them into an index; an image that is there already is described anew.

    Only headers are read. What can't be cut is left out with the reason, and the command fails in the end.
    """
    from uws_service.soda.index import Index

    book = Index(str(index))
    entries = dict(book.entries()) if index.exists() else {}
    wishes = _given(band, time, pol, collection, facility, instrument)
    places = list(_places(sources, book.folder))
    failed = 0
    with _progress(len(places)) as advance:
        for place in places:
            problem = _describe(place, did, wishes, book, keys, entries)
            if problem:
                failed += 1
                complain(f"{place}: {problem}")
            advance()
    if len(places) > failed or index.exists():
        book.write(entries.values())
    note(f"{len(places) - failed} images described, {len(entries)} in {index}.")
    if application is not None and not application.exists():
        _write_application(application, index)
        note(f"{application} publishes them: name it in the setting `applications`.")
    if failed:
        raise Stop(EXIT_FAILURE)


@images.command("list")
def list_(index: IndexOption = Path("images.jsonl"), as_json: JsonOption = False) -> None:
    """Print the images of an index."""
    from uws_service.soda.index import Index, to_json

    entries = Index(str(index)).entries().values()
    if as_json:
        print_json([to_json(entry) for entry in entries])
        return
    for entry in entries:
        lon, lat, radius = entry.circle
        axes = "×".join(str(size) for size in entry.axes)
        console().print(f"{entry.id}  {axes}  {lon:.4f} {lat:+.4f} r={radius:.4g}°  {entry.title}", soft_wrap=True)


@images.command("remove")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Identifiers of images.")],
    index: IndexOption = Path("images.jsonl"),
) -> None:
    """Take images out of an index.

    Their files stay.
    """
    from uws_service.soda.index import Index

    book = Index(str(index))
    entries = dict(book.entries())
    for image_id in ids:
        if entries.pop(image_id, None) is None:
            raise Stop(EXIT_FAILURE, f"{image_id}: there is no such image in {index}")
    book.write(entries.values())
    note(f"{len(entries)} images left in {index}.")


@images.command("publish")
def publish(
    url: Annotated[str, typer.Argument(metavar="URL", help="Public URL of the SODA application of the index.")],
    index: IndexOption = Path("images.jsonl"),
    folder: FolderOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write the images into the table ivoa.ObsCore of the TAP service's catalogue, in place of an earlier one.

    Each row's access_url is the DataLink of its image below URL. Run it again after `images add`.
    """
    import fcntl

    from uws_service.domain.errors import ConfigurationError
    from uws_service.settings import Settings
    from uws_service.soda import obscore
    from uws_service.soda.index import Index
    from uws_service.tap.catalogue import Folder
    from uws_service.tap.engines.parquet import write_table

    if urlsplit(url).scheme not in ("http", "https"):
        raise typer.BadParameter(f"{url[:200]!r} is no http or https URL")
    entries = Index(str(index)).entries().values()
    path = folder.absolute() if folder is not None else Settings.load(config, data=data).catalogue_folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = Folder(path)
            rows_folder = place.new_folder(obscore.TABLE)
            rows = write_table(obscore.batches(entries, url.rstrip("/")), obscore.TABLE, rows_folder)
            place.describe(obscore.TABLE, rows, rows_folder)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    note(f"{rows} images in {obscore.TABLE.full_name}, in {path}.")


def _given(band: str, time: str, pol: str, collection: str, facility: str, instrument: str) -> Overrides:
    from uws_service.soda.describe import Overrides
    from uws_service.soda.errors import Usage
    from uws_service.soda.request import interval, state

    try:
        pairs = [
            (limits.low, limits.high) if text and (limits := interval(name, text, unit)) else None
            for name, text, unit in (("--band", band, "metres"), ("--time", time, "MJD"))
        ]
        states = tuple(state(word) for word in pol.replace("/", " ").replace(",", " ").split())
    except Usage as error:
        raise typer.BadParameter(error.message) from None
    return Overrides(pairs[0], pairs[1], states, collection, facility, instrument)


def _places(sources: list[str], folder: Path) -> Iterator[str]:
    """Yield what is to be described, as the index names it: files relative to the index's folder."""
    for source in sources:
        if urlsplit(source).scheme in ("http", "https", "s3", "package"):
            yield source
            continue
        path = Path(source)
        if not path.exists():
            raise Stop(EXIT_FAILURE, f"{source}: there is no such file or folder")
        files = [path] if path.is_file() else sorted(candidate for candidate in path.rglob("*") if _is_image(candidate))
        if not files:
            raise Stop(EXIT_FAILURE, f"{source}: the folder has no files that end in {', '.join(ENDINGS)}")
        for file in files:
            if not file.resolve().is_relative_to(folder.resolve()):
                raise Stop(EXIT_FAILURE, f"{file}: lies outside {folder}, the folder of the index; put the index above")
            yield str(file.resolve().relative_to(folder.resolve()))


def _is_image(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def _describe(
    place: str, did: str, wishes: Overrides, book: Index, keys: Path | None, entries: dict[str, Entry]
) -> str | None:
    """Add one image.

    What is wrong with it, or None.
    """
    from uws_service.soda.describe import describe
    from uws_service.soda.errors import CutoutError
    from uws_service.soda.sources import open_source

    name = urlsplit(place).path.lstrip("/") if "://" in place else place
    for ending in sorted(ENDINGS, key=len, reverse=True):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    id_ = f"{did}?{name}"
    existing = entries.get(id_)
    if existing is not None and existing.source != place:
        return f"the identifier {id_} belongs to {existing.source}; give another --did"
    try:
        entries[id_] = describe(open_source(place, book.folder, keys), id_, place, wishes)
    except CutoutError as error:
        return error.message
    return None


def _progress(total: int) -> Any:
    """Yield a bar on a terminal.

    Yields what moves it on.
    """
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress

    @contextmanager
    def running() -> Iterator[Any]:
        terminal = Console(stderr=True)
        with Progress(console=terminal, disable=not terminal.is_terminal or total < 2, transient=True) as bar:
            task = bar.add_task("images", total=total)
            yield lambda: bar.advance(task)

    return running()


def _write_application(path: Path, index: Path) -> None:
    """Write a descriptor that can be used and edited."""
    import os

    relative = os.path.relpath(index.absolute(), path.absolute().parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"name: images\ntitle: Cutouts of our images (SODA)\n"
        f"description: Cuts regions, wavelengths, times and polarizations out of FITS images.\n"
        f"protocol: soda\nimages:\n  index: {json.dumps(relative)}\n",
        encoding="utf-8",
    )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(images, name="images")
