"""What ``check-config --online`` says about a pool.

It is really tried, and what is wrong is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.batch.condor import CondorPool
from tests.server import free_port
from uws_service.domain.errors import UwsError
from uws_service.sites.htcondor.kind import HTCONDOR
from uws_service.sites.htcondor.settings import HTCondorSite


async def check(pool: CondorPool, **changes: Any) -> str:
    assert HTCONDOR.check is not None
    return await HTCONDOR.check(HTCondorSite(**pool.settings(agent_url="https://uws.example.org", **changes)))


def forge(pool: CondorPool, target: Path) -> None:
    """Write the pool's token with another signature."""
    head, claims, signature = next(pool.tokens.iterdir()).read_text().strip().split(".")
    target.touch(mode=0o600)
    target.write_text(f"{head}.{claims}.{signature[::-1]}\n")


@pytest.mark.anyio
async def test_a_pool_that_works(pool: CondorPool) -> None:
    remark = await check(pool)
    assert f"schedd {pool.name}@" in remark and "HTCondor 23.9" in remark and "4 cores" in remark


@pytest.mark.anyio
async def test_another_schedd(pool: CondorPool) -> None:
    with pytest.raises(UwsError, match="0 schedds named elsewhere"):
        await check(pool, schedd="elsewhere")


@pytest.mark.anyio
async def test_nobody_listens(pool: CondorPool) -> None:
    with pytest.raises(UwsError, match="alpha"):
        await check(pool, collector=f"127.0.0.1:{free_port()}")


@pytest.mark.anyio
async def test_a_token_of_another_pool(pool: CondorPool, tmp_path: Path) -> None:
    """A token that the pool did not sign opens nothing."""
    forge(pool, tmp_path / "token")
    with pytest.raises(UwsError, match="alpha"):
        await check(pool, tokens=str(tmp_path))
