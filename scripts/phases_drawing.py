"""The drawing of a job's life cycle, from the table of transitions that the service applies."""

from __future__ import annotations

BOX = (132, 40)
PLACES = {
    "PENDING": (40, 90),
    "HELD": (40, 270),
    "QUEUED": (290, 90),
    "EXECUTING": (560, 90),
    "UNKNOWN": (290, 270),
    "SUSPENDED": (560, 270),
    "ABORTED": (290, 440),
    "ERROR": (500, 440),
    "COMPLETED": (710, 440),
    "ARCHIVED": (930, 440),
}
FRAMES = {
    # name: (x, y, width, height); what is inside follows from PLACES
    "before the end": (16, 30, 740, 330),
    "committed": (256, 58, 474, 280),
    "final": (266, 416, 600, 88),
}
PALE, GREY, BLUE, INK = "#f4f6f9", "#6b7480", "#1f5fbf", "#1c2530"


def phases_svg() -> str:
    """Return the state diagram, drawn from the same table.

    A target that every phase of a frame leads to gets one arrow from the frame instead of one from each phase.
    """
    from uws_service.domain.job import TRANSITIONS, Action, Phase

    assert set(PLACES) == {str(phase) for phase in Phase}
    edges: dict[tuple[str, str], list[str]] = {}
    for (source, action), target in TRANSITIONS.items():
        edges.setdefault((str(source), str(target)), []).append(str(action))
    client = {str(Action.RUN), str(Action.ABORT)}
    drawn: list[str] = []
    for frame, names in inside().items():
        for target in PLACES:
            pairs = [(source, target) for source in names]
            if target not in names and all(pair in edges for pair in pairs):
                actions = list(dict.fromkeys(action for pair in pairs for action in edges.pop(pair)))
                drawn.append(_frame_arrow(frame, target, actions, bool(set(actions) & client)))
    for (source, target), actions in edges.items():
        drawn.append(_arrow(source, target, actions, bool(set(actions) & client)))
    return _svg(1090, 530, [*map(_frame, FRAMES), *drawn, *map(_box, PLACES)])


def inside() -> dict[str, list[str]]:
    """Return the phases inside each frame."""
    frames = {}
    for frame, (x, y, width, height) in FRAMES.items():
        frames[frame] = [n for n, (a, b) in PLACES.items() if x < a < x + width and y < b < y + height]
    return frames


def _frame(name: str) -> str:
    x, y, width, height = FRAMES[name]
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="none" stroke="{GREY}" '
        f'stroke-dasharray="5 4"/><text x="{x + 10}" y="{y + 17}" font-size="12" fill="{GREY}">{name}</text>'
    )


def _box(name: str) -> str:
    x, y = PLACES[name]
    return (
        f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="{PALE}" stroke="{INK}"/>'
        f'<text x="{x + BOX[0] / 2}" y="{y + 25}" text-anchor="middle" font-size="14" fill="{INK}">{name}</text>'
    )


def _border(name: str, towards: tuple[float, float], shift: float) -> tuple[float, float]:
    """Return where the line from a box to a point leaves it.

    The box's middle is moved sideways by ``shift``.
    """
    x, y = PLACES[name]
    cx, cy = x + BOX[0] / 2, y + BOX[1] / 2
    dx, dy = towards[0] - cx, towards[1] - cy
    length = (dx * dx + dy * dy) ** 0.5
    cx, cy = cx - dy / length * shift, cy + dx / length * shift
    reach = min(
        ((BOX[0] / 2 + (x + BOX[0] / 2 - cx) * (1 if dx > 0 else -1)) / abs(dx) if dx else 1e9),
        ((BOX[1] / 2 + (y + BOX[1] / 2 - cy) * (1 if dy > 0 else -1)) / abs(dy) if dy else 1e9),
    )
    return cx + dx * reach, cy + dy * reach


def _line(start: tuple[float, float], end: tuple[float, float], blue: bool) -> str:
    colour, head = (BLUE, "blue") if blue else (GREY, "grey")
    return (
        f'<line x1="{start[0]:.0f}" y1="{start[1]:.0f}" x2="{end[0]:.0f}" y2="{end[1]:.0f}" stroke="{colour}" '
        f'stroke-width="1.6" marker-end="url(#{head})"/>'
    )


def _label(at: tuple[float, float], text: str, blue: bool, anchor: str = "middle") -> str:
    return (
        f'<text x="{at[0]:.0f}" y="{at[1]:.0f}" text-anchor="{anchor}" font-size="11" stroke="white" stroke-width="4" '
        f'paint-order="stroke" fill="{BLUE if blue else GREY}">{text}</text>'
    )


def _arrow(source: str, target: str, actions: list[str], blue: bool) -> str:
    """Return an arrow between two boxes.

    It is a little to the side, so that there and back do not cover each other.
    """
    middle = {name: (PLACES[name][0] + BOX[0] / 2, PLACES[name][1] + BOX[1] / 2) for name in (source, target)}
    start = _border(source, middle[target], 9)
    end = _border(target, middle[source], -9)
    part = 0.5 if abs(start[1] - end[1]) < 9 else 0.3
    at = (start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part + 4)
    if abs(start[1] - end[1]) < 9:
        at = (at[0], at[1] + (12 if start[0] < end[0] else -11))
    return _line(start, end, blue) + _label(at, ", ".join(actions), blue)


def _frame_arrow(frame: str, target: str, actions: list[str], blue: bool) -> str:
    """Return an arrow from a frame's edge to a box."""
    x, y, width, height = FRAMES[frame]
    a, b = PLACES[target]
    middle = a + BOX[0] / 2
    text = ", ".join(actions)
    if b > y + height:
        begin = (min(middle, x + width - 20), float(y + height))
        return _line(begin, (middle, b), blue) + _label(((begin[0] + middle) / 2 + 8, b - 34), text, blue, "start")
    level = b + BOX[1] / 2
    return _line((x + width, level), (a, level), blue) + _label((x + width + 32, level - 10), text, blue)


def _svg(width: int, height: int, parts: list[str]) -> str:
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in (("blue", BLUE), ("grey", GREY))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif">\n<defs>{heads}</defs>\n<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
