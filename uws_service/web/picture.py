"""A picture of a job: its inputs, the job, its results. Pure: values to SVG without script.

It is drawn in the colour of the text around it, so that it is readable on a dark page too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from uws_service.protocol.provenance import JobRecord
from uws_service.protocol.uws import xml_text

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_BOXES = 8
"""Inputs, or results, that are drawn; a line says how many more there are."""
BOX_WIDTH, BOX_HEIGHT, GAP, COLUMN_GAP = 230, 46, 14, 70
_LETTERS = 27


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # programs never ask for a picture

    return Environment(
        loader=PackageLoader("uws_service.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Box(NamedTuple):
    """A box with two lines.

    ``href`` may be empty.
    """

    title: str
    hint: str
    href: str = ""


class Placed(NamedTuple):
    """A box at a place."""

    box: Box
    x: int
    y: int


def picture(record: JobRecord, base: str) -> Markup:
    """Return the picture as SVG.

    ``base`` is the service's URL without a slash at the end.
    """
    job = record.job
    jobs = f"{base}/{quote(job.application, safe='')}/async"
    url = f"{jobs}/{job.id}"
    inputs = [_input_box(item.source or item.path, item.size) for item in record.inputs()]
    inputs += [Box(value.name, value.value) for value in record.values()]
    results = [
        Box(
            item.id,
            f"{item.media_type}, {item.size} bytes",
            f"{url}/results/{quote(item.id, safe='', errors='replace')}",
        )
        for item in record.results()
    ]
    site = f"at {job.info.site}" if job.info.site else job.info.versions.get("application", "")
    columns = (
        _shortened(inputs),
        [Box(job.application, f"{job.phase.value} {site}".strip(), url)],
        _shortened(results),
    )
    rows = max(1, *(len(column) for column in columns))
    height = rows * (BOX_HEIGHT + GAP) + GAP
    placed = [
        [
            Placed(
                Box(_cut(box.title), _cut(box.hint, 4), box.href),
                index * (BOX_WIDTH + COLUMN_GAP) + 1,
                _top(height, len(column), number),
            )
            for number, box in enumerate(column)
        ]
        for index, column in enumerate(columns)
    ]
    middle = placed[1][0]
    return Markup(
        _templates()
        .get_template("picture.svg")
        .render(
            columns=placed,
            arrows=[*((box, middle) for box in placed[0]), *((middle, box) for box in placed[2])],
            width=3 * BOX_WIDTH + 2 * COLUMN_GAP + 2,
            height=height,
            box_width=BOX_WIDTH,
            box_height=BOX_HEIGHT,
            label=f"Inputs and parameters: {len(inputs)}; the job; results: {len(results)}",
        )
    )


def picture_section(record: JobRecord, base: str) -> Markup:
    """Return the part of a job's page that shows where its results came from."""
    url = f"{base}/{quote(record.job.application, safe='')}/async/{record.job.id}"
    return Markup(_templates().get_template("origin.html").render(svg=picture(record, base), url=url))


def _input_box(source: str, size: int | None) -> Box:
    name = source.rstrip("/").rpartition("/")[2] or source
    return Box(
        name,
        f"{size} bytes" if size is not None else source,
        xml_text(source) if source.startswith(("http://", "https://")) else "",
    )


def _shortened(boxes: Sequence[Box]) -> list[Box]:
    if len(boxes) <= MAX_BOXES:
        return list(boxes)
    return [*boxes[: MAX_BOXES - 1], Box("…", f"and {len(boxes) - MAX_BOXES + 1} more")]


def _top(height: int, count: int, number: int) -> int:
    used = count * (BOX_HEIGHT + GAP) - GAP
    return (height - used) // 2 + number * (BOX_HEIGHT + GAP)


def _cut(text: str, more: int = 0) -> str:
    """Return the beginning of a text in one line that fits into a box."""
    line = " ".join(xml_text(text[:200]).split())
    length = _LETTERS + more
    return line if len(line) <= length else f"{line[: length - 1]}…"
