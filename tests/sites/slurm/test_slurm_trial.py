"""`sites check` and `sites rights` on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.batch.images import TINY
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.trials import site_check, sites_command, wrong
from tests.server import free_port
from uws_service.cli.common import EXIT_FAILURE
from uws_service.sites.slurm.rights import rights
from uws_service.sites.slurm.settings import SlurmSite


@pytest.mark.parametrize("way", ["rest", "commands"])
def test_all_of_it_works(way: str, server: BatchServer[SlurmCluster], tmp_path: Path) -> None:
    """The node reaches the service and runs the image; nothing is left in the queue."""
    cluster = server.system
    commands = {"url": None, "token": None, "login": cluster.login()} if way == "commands" else {}
    code, findings = site_check(tmp_path, cluster.settings(agent_url=server.url, **commands), "--image", TINY)
    assert code == 0, findings
    assert set(findings) == {
        "the site and its credentials", "submission", "a job", "the service", "containers", "an image",
    }  # fmt: skip
    assert "uws-check" not in cluster.tool("squeue", "-h", "-o", "%j")


def test_what_is_wrong_on_the_node(server: BatchServer[SlurmCluster], tmp_path: Path) -> None:
    """Each fault is named by its setting, all of them at once."""
    site = server.system.settings(
        agent_url=f"http://127.0.0.1:{free_port()}",
        container="/no/such/apptainer",
        storage=[{"area": "LAKE", "path": "/no/such/lake"}],
        commands={"python": "/no/such/python"},
    )
    code, findings = site_check(tmp_path, site)
    assert code == EXIT_FAILURE
    assert wrong(findings) == {"the service", "containers", "storage", "programs"}
    assert "agent_url" in findings["the service"]["problem"]


def test_no_python(server: BatchServer[SlurmCluster], tmp_path: Path) -> None:
    code, findings = site_check(tmp_path, server.system.settings(agent_url=server.url, python="/no/such/python3"))
    assert code == EXIT_FAILURE and wrong(findings) == {"a job"}
    assert "/no/such/python3" in findings["a job"]["problem"]


def test_rights_are_those_that_a_cluster_needs(server: BatchServer[SlurmCluster], tmp_path: Path) -> None:
    """Without the accounts that are printed a job is refused, with them it runs; and the token is enough."""
    cluster = server.system
    changes: dict[str, Any] = {"account": "newtop", "accounts": {"surveys": "newsurveys"}}
    site = cluster.settings(agent_url=server.url, token=str(tmp_path / "token"), **changes)
    user, accounts, *_, token = rights(SlurmSite(**site))
    printed = sites_command(tmp_path, site, "rights")
    assert printed.returncode == 0 and accounts.text.strip() in printed.stdout and token.place in printed.stdout
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(cluster.tool("sh", "-ceu", token.text))
    code, findings = site_check(tmp_path, site)
    assert code == EXIT_FAILURE and "account" in findings["submission"]["problem"].lower(), findings
    cluster.tool("sh", "-ceu", user.text)
    cluster.tool("sh", "-ceu", accounts.text)
    for account in ("newtop", "newsurveys"):
        code, findings = site_check(tmp_path, {**site, "account": account})
        assert code == 0, findings
