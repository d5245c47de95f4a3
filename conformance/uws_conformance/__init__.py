"""Checks of UWS 1.1 and DALI job services over HTTP; knows nothing of any particular server."""

__version__ = "0.1.0"
