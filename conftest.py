"""Plugins for every test of the checkout, those of `conformance/` too."""

pytest_plugins = ("tests.leaks", "tests.groups")
