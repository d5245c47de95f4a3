"""Plugins for every test of the checkout, those of `conformance/` too."""

pytest_plugins = ("tests.groups", "tests.leaks", "tests.patience")
