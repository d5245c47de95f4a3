"""Tests of the depot on a folder and on a real S3 server."""
