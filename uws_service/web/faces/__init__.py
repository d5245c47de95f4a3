"""Faces: what a standard adds to an application over HTTP."""
