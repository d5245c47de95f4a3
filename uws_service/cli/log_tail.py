"""What a log that grows has more than at the last look, of which a service may show the end alone. Pure."""

from __future__ import annotations

MARK_BYTES = 4096
"""By so many bytes the place is found again where the last look has ended."""


class LogTail:
    """Remembers the end of a log."""

    def __init__(self) -> None:
        self._mark = b""
        self._size = 0

    def news(self, content: bytes) -> bytes:
        """Return what is new in the log, or in its end; all of it if the last look is no longer in it."""
        fresh = content
        if self._mark:
            if content[self._size - len(self._mark) : self._size] == self._mark:  # all of the log is shown
                fresh = content[self._size :]
            else:
                place = content.rfind(self._mark)
                fresh = content[place + len(self._mark) :] if place >= 0 else content
        self._mark = (self._mark + fresh if len(fresh) < MARK_BYTES else fresh)[-MARK_BYTES:]
        self._size = len(content)
        return fresh
