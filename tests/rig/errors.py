"""What goes wrong with a cluster on this machine, told so that a person can act on it."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """A cluster or a part of it could not be built, started, reached or stopped."""


class Unable(ClusterError):
    """This machine lacks something that a cluster needs.

    The message says what and where to get it.
    """
