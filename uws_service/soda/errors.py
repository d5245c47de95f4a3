"""Errors of SODA (SODA 1.0 §4.1, S-003, S-005).

CutoutError
├── Usage            the request is malformed, or asks for more than is allowed
│   └── MultiValued  several values where one is possible
├── NoOverlap        nothing of the image lies in what was asked for; no error, but nothing to give either
└── BadImage         a file can't be read, or its coordinates make no sense
    └── Unavailable  the store of the images does not answer, or this machine has no room: later it may
"""

from __future__ import annotations


class CutoutError(Exception):
    """Base class of what can go wrong with a cutout.

    The text is one line for a person, ``label`` the word that SODA puts before it.
    """

    label = "Error"

    def __str__(self) -> str:
        return f"{self.label}: {self.args[0]}"

    @property
    def message(self) -> str:
        """Return the text without the label."""
        return str(self.args[0])


class Usage(CutoutError):
    label = "UsageError"


class MultiValued(Usage):
    label = "MultiValuedParamNotSupported"


class NoOverlap(CutoutError):
    label = "Error"


class BadImage(CutoutError):
    label = "Error"


class Unavailable(BadImage):
    label = "ServiceUnavailable"
