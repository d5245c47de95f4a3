"""The stores of `tests.store`."""

from __future__ import annotations

from tests.store.conftest import other, store, url

__all__ = ["other", "store", "url"]
