"""Parameter references of CWL in words of a command (CWL v1.2 §3.4): ``$(inputs.x.path)``, never JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable

_REFERENCE = re.compile(r"\$\(([^()]*)\)")
_INPUT = re.compile(r"inputs(?:\.(\w+)|\[[\"']([^\"']+)[\"']\])(?:\.(path|location|basename|nameroot|nameext|size))?")
_BRACES = re.compile(r"\{[A-Za-z0-9:?]")


class Unmappable(Exception):
    """Something of a tool that can't be said in a descriptor; the text says what and why."""


def is_expression(text: str) -> bool:
    """Return whether a text has anything to be evaluated."""
    return "$(" in text or "${" in text


def translated(text: str, replace: Callable[[str, str], str], runtime: Callable[[str], str]) -> str:
    """Return a text in the descriptor's language.

    Parameters
    ----------
    replace
        Returns what stands for an input, by its id and the attribute that is asked for (empty: the value).
    runtime
        Returns what stands for an attribute of ``runtime``, such as ``outdir``.

    Raises
    ------
    Unmappable
        It holds JavaScript, or text that a descriptor would take for a placeholder.
    """
    literal = _REFERENCE.sub("", text)
    if "${" in literal or "$(" in literal:
        raise Unmappable(
            f"{text!r} is JavaScript; only references such as $(inputs.x) or $(inputs.x.path) are understood"
        )
    if _BRACES.search(literal):
        raise Unmappable(f"{text!r} has braces, which mean something else in a descriptor")

    def referred(match: re.Match[str]) -> str:
        expression = match[1].strip()
        if expression.startswith("runtime."):
            return runtime(expression.removeprefix("runtime."))
        if expression == "self" or expression.startswith("self."):
            return replace("self", expression.partition(".")[2])
        if (parts := _INPUT.fullmatch(expression)) is not None:
            return replace(parts[1] or parts[2], parts[3] or "")
        raise Unmappable(f"$({expression}) is JavaScript or unknown; references such as $(inputs.x) are understood")

    return _REFERENCE.sub(referred, text)
