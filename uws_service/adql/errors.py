"""What is wrong with a query, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from uws_service.domain.errors import UsageError, shortened


class AdqlError(UsageError):
    """A query that is not ADQL, names what is not there, or mixes types.

    Parameters
    ----------
    message
        What is wrong, without the place.
    line, column
        Where, from 1; a column counts characters.
    hint
        What was probably meant, or what is allowed; may be empty.
    """

    def __init__(self, message: str, line: int, column: int, hint: str = "") -> None:
        message = shortened(message)
        super().__init__(f"Line {line}, column {column}: {message}" + (f". {hint}" if hint else ""))
        self.reason = message
        self.line = line
        self.column = column
        self.hint = hint


class Fault(Exception):
    """The same inside the translator, which counts characters of the text from 0."""

    def __init__(self, message: str, at: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint

    def located(self, text: str) -> AdqlError:
        """With line and column of that text."""
        before = text[: self.at]
        return AdqlError(self.message, before.count("\n") + 1, self.at - (before.rfind("\n") + 1) + 1, self.hint)


def nearest(word: str, known: Iterable[str], what: str = "") -> str:
    """A hint that names the most similar known word; empty when none is similar."""
    folded = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), list(folded), n=1, cutoff=0.65)
    return f"Did you mean {what}{folded[found[0]]}?" if found else ""
