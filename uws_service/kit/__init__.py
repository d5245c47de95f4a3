"""The kit for authors of applications: scaffolds, checks, trials, golden-file tests, CWL.

`uws_service.cli.applications` is its command line. Nothing of a running service imports it.
"""
