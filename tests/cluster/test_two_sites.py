"""Two clusters behind one service, one of them cut off: for a minute, and for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.service import NAMESPACE, Client, ClusterServer, job_id, settings_of, until
from tests.rig.site import Site

WORK = "echo at $UWS_JOB_ID; sleep {}; echo x > $UWS_OUTPUT_DIR/result"


@pytest.fixture
def whole(site_a: Site, site_b: Site) -> Iterator[None]:
    """Mend what a test has cut."""
    yield
    for site in (site_a, site_b):
        if site.is_cut:
            site.mend()


def _started(folder: Path, site_a: Site, site_b: Site, **settings: Any) -> ClusterServer:
    """Return a service that has found both sites."""
    server = ClusterServer(folder, [settings_of(site_a, **settings), settings_of(site_b, **settings)], "0.0.0.0")
    server.start()
    until(lambda: server.log.read_text().count("site is reachable") == 2, "both sites to be reached")
    return server


def _made(site: Site, urls: list[str]) -> dict[str, int]:
    """Return the Jobs ever made for jobs."""
    ids = {job_id(url) for url in urls}
    return {name: count for name, count in site.job_creations(NAMESPACE).items() if name.split("-")[1] in ids}


def _spread(client: Client, number: int, seconds: int) -> dict[str, list[str]]:
    """Return jobs at both sites, all running."""
    urls = [client.script(WORK.format(seconds), SITE="a" if index % 2 else "b") for index in range(number)]
    for url in urls:
        client.wait(url, "EXECUTING")
    return {name: [url for url in urls if client.json(url)["jobInfo"]["site"] == name] for name in ("a", "b")}


@pytest.mark.usefixtures("whole")
def test_choice_and_reason(site_a: Site, site_b: Site, folder: Path) -> None:
    """SITE is obeyed, an unknown one is refused with the names, and the reason for a choice is told."""
    server = _started(folder, site_a, site_b)
    try:
        with server.client() as client:
            url = client.script("true", SITE="b")
            assert client.json(url)["jobInfo"]["siteReason"] == "asked for by SITE"
            wrong = client.script("true", SITE="moon")
            document = client.ended(wrong)
            assert document["phase"] == "ERROR" and "sites: a, b" in document["errorSummary"]["message"]

            def reason() -> str:
                """Return why a job that may run anywhere runs where it does; states of sites are used for a second."""
                free = client.script("true")
                assert client.ended(free)["phase"] == "COMPLETED"
                return str(client.json(free)["jobInfo"]["siteReason"])

            until(lambda: "fewest of 2 sites" in reason(), "a choice among both sites")
            assert client.ended(url)["phase"] == "COMPLETED"
    finally:
        server.stop()


@pytest.mark.usefixtures("whole")
def test_cut_off_for_a_while(site_a: Site, site_b: Site, folder: Path) -> None:
    """UNKNOWN while it lasts.

    Then each job ends in its first and only attempt, and nothing was made twice.
    """
    server = _started(folder, site_a, site_b)
    try:
        with server.client() as client:
            at = _spread(client, 6, 10)
            site_b.cut()
            for url in at["b"]:
                client.wait(url, "UNKNOWN")
            for url in at["a"]:
                assert client.ended(url)["phase"] == "COMPLETED"
            # What is asked for meanwhile goes where it can.
            late = client.script("echo x > $UWS_OUTPUT_DIR/result")
            assert client.ended(late)["phase"] == "COMPLETED"
            assert client.json(late)["jobInfo"]["site"] == "a"
            site_b.mend()
            for url in at["b"]:
                document = client.ended(url)
                assert document["phase"] == "COMPLETED", document["errorSummary"]
                assert document["jobInfo"]["attempt"] == 1 and [result["id"] for result in document["results"]] == [
                    "result"
                ]
            assert set(_made(site_b, at["b"]).values()) == {1} and len(_made(site_b, at["b"])) == 3
            assert not _made(site_a, at["b"])
    finally:
        server.stop()


@pytest.mark.usefixtures("whole")
def test_cut_off_for_ever(site_a: Site, site_b: Site, folder: Path) -> None:
    """After the time that was set, a second attempt elsewhere; what the first one hands over late is refused."""
    server = _started(folder, site_a, site_b, lost_after=8)
    try:
        with server.client() as client:
            # With a preference some are at `b`, whichever site is quicker to take them.
            urls = [client.script(WORK.format(25), PREFER="ba"[index % 2]) for index in range(4)]
            pinned = client.script(WORK.format(25), SITE="b")
            for url in [*urls, pinned]:
                client.wait(url, "EXECUTING")
            moved = [url for url in urls if client.json(url)["jobInfo"]["site"] == "b"]
            assert moved, "no job went to site b"
            site_b.cut()
            for url in urls:
                document = client.ended(url, timeout=180)
                assert document["phase"] == "COMPLETED", document["errorSummary"]
                assert document["jobInfo"]["site"] == "a"
            for url in moved:
                document = client.json(url)
                assert [attempt["reason"] for attempt in document["jobInfo"]["lost"]] == ["SiteLost"]
                assert document["jobInfo"]["attempt"] == 2
            assert client.phase(pinned) == "UNKNOWN"  # its owner wants it there and nowhere else
            site_b.mend()
            # Where the Jobs are removed first, there is no agent left that could hand over anything.
            until(
                lambda: "refused" in site_b_agents(site_b, moved) or not left(site_b, moved),
                "the late manifests to be refused, or their agents to be gone",
                60,
            )
            assert client.ended(pinned)["phase"] == "COMPLETED"
            until(lambda: not left(site_b, moved), "the given-up Jobs to be removed")
            for url in moved:
                document = client.json(url)
                assert document["phase"] == "COMPLETED" and [result["id"] for result in document["results"]] == [
                    "result"
                ]
                assert set(_made(site_b, [url]).values()) == set(_made(site_a, [url]).values()) == {1}
    finally:
        server.stop()


def site_b_agents(site: Site, urls: list[str]) -> str:
    """Return the agents' logs at a site."""
    text = ""
    for pod in site.get("pods", "-n", NAMESPACE)["items"]:
        if any(job_id(url) in pod["metadata"]["name"] for url in urls):
            text += site.kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"], "-c", "agent", check=False)
    return text


def left(site: Site, urls: list[str]) -> list[str]:
    """Return the objects a site has left."""
    items = site.get("jobs,pods", "-n", NAMESPACE)["items"]
    return [item["metadata"]["name"] for item in items if any(job_id(url) in item["metadata"]["name"] for url in urls)]
