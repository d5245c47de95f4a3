"""Conformance checks for UWS 1.1 and DALI services.

They speak HTTP to any server and know nothing of a particular one.
"""

__version__ = "0.1.0"
