"""`sites check` and `sites rights` on a pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch.condor import CondorPool
from tests.batch.images import TINY
from tests.batch.service import BatchServer
from tests.batch.trials import site_check, sites_command, wrong
from tests.server import free_port
from uws_service.cli.common import EXIT_FAILURE
from uws_service.sites.htcondor.rights import rights
from uws_service.sites.htcondor.settings import HTCondorSite


def test_all_of_it_works(server: BatchServer[CondorPool], tmp_path: Path) -> None:
    """The node reaches the service and runs the image; nothing is left in the queue, and no service sees the job."""
    storage = [{"area": "LAKE", "path": "/opt/images"}]
    site = server.system.settings(agent_url=server.url, storage=storage, commands={"python": "/usr/bin/python3"})
    code, findings = site_check(tmp_path, site, "--image", TINY)
    assert code == 0, findings
    assert set(findings) == {
        "the site and its credentials", "submission", "a job", "the service", "containers", "an image", "storage",
        "programs",
    }  # fmt: skip
    assert not [line for line in server.system.queue() if "check-" in line and line.split()[1] not in ("3", "4")]


def test_what_is_wrong_on_the_node(server: BatchServer[CondorPool], tmp_path: Path) -> None:
    """Each fault is named by its setting, all of them at once, with the node's own words."""
    site = server.system.settings(
        agent_url=f"http://127.0.0.1:{free_port()}",
        storage=[{"area": "LAKE", "path": "/no/such/lake"}],
        commands={"python": "/no/such/python"},
    )
    code, findings = site_check(tmp_path, site, "--image", "/no/such/image")
    assert code == EXIT_FAILURE
    assert wrong(findings) == {"the service", "an image", "storage", "programs"}
    assert "agent_url" in findings["the service"]["problem"] and "refused" in findings["the service"]["problem"]
    assert "/no/such/lake" in findings["storage"]["problem"] and "no such image" in findings["an image"]["problem"]


def test_no_container_program_and_no_python(server: BatchServer[CondorPool], tmp_path: Path) -> None:
    site = server.system.settings(agent_url=server.url, container="/no/such/apptainer")
    code, findings = site_check(tmp_path, site)
    assert code == EXIT_FAILURE and wrong(findings) == {"containers"}
    site = server.system.settings(agent_url=server.url, python="/no/such/python3")
    code, findings = site_check(tmp_path, site)
    assert code == EXIT_FAILURE and wrong(findings) == {"a job"}
    assert "/no/such/python3" in findings["a job"]["problem"]


def test_what_is_no_job_s_fault(server: BatchServer[CondorPool], tmp_path: Path) -> None:
    """Credentials come first; nothing is submitted with wrong ones."""
    (tmp_path / "tokens").mkdir(mode=0o700)
    code, findings = site_check(tmp_path, server.system.settings(tokens=str(tmp_path / "tokens")))
    assert code == EXIT_FAILURE and wrong(findings) == {"the site and its credentials"} == set(findings)
    assert "has no token" in findings["the site and its credentials"]["problem"]


@pytest.fixture
def configured(pool: CondorPool) -> Iterator[Path]:
    """Yield a file of the pool's configuration.

    Afterwards it is gone again.
    """
    path = pool.folder / "config.d" / "60-uws-service"
    yield path
    path.unlink(missing_ok=True)
    pool.tool("condor_reconfig", "-all")


def test_rights_are_those_that_a_pool_needs(
    pool: CondorPool, server: BatchServer[CondorPool], configured: Path, tmp_path: Path
) -> None:
    """What is printed is taken by the pool's daemons; the token that it makes is enough for all that is tried."""
    site = pool.settings(agent_url=server.url, accounting_group="group_new.surveys", tokens=str(tmp_path / "tokens"))
    printed = sites_command(tmp_path, site, "rights")
    assert printed.returncode == 0, printed.stderr
    sections = rights(HTCondorSite(**site))
    assert all(section.place in printed.stdout and section.text.strip() in printed.stdout for section in sections)
    user, *settings, token = sections
    pool.tool("sh", "-ceu", user.text)
    configured.write_text("".join(section.text for section in settings))
    pool.tool("condor_reconfig", "-all")
    assert "group_new.surveys" in pool.tool("condor_config_val", "GROUP_NAMES")
    (tmp_path / "tokens").mkdir(mode=0o700)
    file = tmp_path / "tokens" / "pool"
    file.touch(mode=0o600)
    file.write_text(pool.tool("sh", "-ceu", token.text))
    code, findings = site_check(tmp_path, site)
    assert code == 0, findings
