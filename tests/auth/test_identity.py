"""Trusted proxies and access to jobs.

U-160 to U-163.
"""

from __future__ import annotations

import pytest

from uws_service.auth import ANONYMOUS, Identity, identify, is_trusted, networks, require_access
from uws_service.domain.errors import ConfigurationError, Forbidden, UsageError


def test_trusted_addresses() -> None:
    trusted = networks(("127.0.0.1", "10.0.0.0/8", "::1"))
    assert is_trusted("127.0.0.1", trusted) and is_trusted("10.200.3.4", trusted) and is_trusted("::1", trusted)
    assert not is_trusted("127.0.0.2", trusted) and not is_trusted("testclient", trusted)
    with pytest.raises(ConfigurationError):
        networks(("example.org",))


def test_identity() -> None:
    """U-160: the authenticated identity is the owner."""
    assert identify(None) == ANONYMOUS and identify("") == ANONYMOUS
    assert identify("alice") == Identity("alice")
    with pytest.raises(UsageError):
        identify("a\nb")
    with pytest.raises(UsageError):
        identify("x" * 257)


def test_access() -> None:
    """U-161: another's job is forbidden, an anonymous one open."""
    require_access("alice", Identity("alice"))
    require_access(None, ANONYMOUS)
    require_access(None, Identity("bob"))
    for stranger in (Identity("bob"), ANONYMOUS):
        with pytest.raises(Forbidden):
            require_access("alice", stranger)
