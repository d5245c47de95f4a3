"""The stores of `tests.store`, for what works on them."""

from __future__ import annotations

from tests.store.conftest import other, store, url

__all__ = ["other", "store", "url"]
