"""What is wrong with a query, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from uws_service.domain.errors import UsageError, shortened


class AdqlError(UsageError):
    """A query that can't be translated.

    It is not ADQL, names what is not there, or mixes types.

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
    """An error inside the translator.

    ``at`` counts characters of the text from 0.
    """

    def __init__(self, message: str, at: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint

    def located(self, text: str) -> AdqlError:
        """Return the error with line and column."""
        before = text[: self.at]
        return AdqlError(self.message, before.count("\n") + 1, self.at - (before.rfind("\n") + 1) + 1, self.hint)


def nearest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    """Return a hint with the most similar word, if any."""
    folded = {name.lower(): name for name in candidates}
    close = get_close_matches(word.lower(), list(folded), n=1, cutoff=0.65)
    return f"Did you mean {prefix}{folded[close[0]]}?" if close else ""
