"""`check-config --online`.

What works and what does not, tried with real databases, stores, issuers and clusters.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import databases
from tests.issuers import NanoIdp
from tests.s3 import BUCKET, KEY, SECRET, S3Server
from tests.server import free_port
from uws_service.store import Store, migrate


def check(folder: Path, *, secret: str = SECRET, **settings: object) -> tuple[int, dict[str, dict[str, str]], str]:
    """Run the command.

    Return its exit code, the state of each part, and what it complains about.
    """
    (folder / "s.yaml").write_text(yaml.safe_dump(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    environment |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret}
    ended = subprocess.run(
        [sys.executable, "-m", "uws_service", "check-config", "--online", "--json", "--config", "s.yaml"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    parts = json.loads(ended.stdout)["online"]
    return ended.returncode, {part["part"]: part for part in parts}, ended.stderr


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


def test_nothing_is_made_for_the_embedded_service(tmp_path: Path) -> None:
    code, parts, complaints = check(tmp_path)
    assert code == 0, complaints
    assert set(parts) == {"database", "depot", "site local"}
    assert parts["database"]["remark"] == "is made at the first start"
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_postgresql_with_and_without_its_tables(tmp_path: Path) -> None:
    url = databases.new_postgresql()
    code, parts, complaints = check(tmp_path, database=url)
    assert code == 3 and "uws-service migrate" in parts["database"]["problem"], complaints
    migrate(url)
    code, parts, complaints = check(tmp_path, database=url)
    assert code == 0 and parts["database"]["problem"] == "", complaints
    asyncio.run(_is_empty(url))


async def _is_empty(url: str) -> None:
    store = await Store.open(url)
    assert await store.phase_counts() == {}
    await store.close()


def test_a_bucket(tmp_path: Path, bucket: S3Server) -> None:
    """The test object does not stay."""
    code, parts, complaints = check(tmp_path, depot=bucket.url)
    assert code == 0 and parts["depot"]["problem"] == "", complaints
    assert bucket.keys() == []


@pytest.mark.parametrize(
    ("depot", "secret"),
    [
        (f"s3://{BUCKET}?endpoint={{endpoint}}", "wrong"),
        (f"s3://{BUCKET}?endpoint={{closed}}", SECRET),
        ("file", SECRET),
    ],
    ids=["credentials", "closed", "file"],
)
def test_a_depot_that_does_not_work(tmp_path: Path, bucket: S3Server, depot: str, secret: str) -> None:
    (tmp_path / "file").write_text("no folder")
    url = depot.format(endpoint=bucket.endpoint, closed=f"http://127.0.0.1:{free_port()}")
    code, parts, complaints = check(tmp_path, depot=url, secret=secret)
    assert code == 3 and parts["depot"]["problem"], parts
    assert complaints.startswith("uws-service: depot (") and parts["database"]["problem"] == ""


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """The message says why, without the password."""
    code, parts, complaints = check(tmp_path, database=f"postgresql://me:geheim@127.0.0.1:{free_port()}/d")
    assert code == 3 and "can't be used" in parts["database"]["problem"]
    assert "geheim" not in complaints + json.dumps(parts)


def test_issuers(tmp_path: Path) -> None:
    """One that answers, and one that is not there."""
    issuer = NanoIdp(tmp_path / "idp")
    issuer.start()
    closed = f"http://127.0.0.1:{free_port()}"
    try:
        works = issuer.settings()
        code, parts, complaints = check(tmp_path, auth={"issuers": [works]})
        assert code == 0 and "key" in parts["issuer"]["remark"], complaints
        code, parts, complaints = check(tmp_path, auth={"issuers": [works, {"url": closed, "audience": "uws"}]})
        assert code == 3 and len(complaints.splitlines()) == 1 and f"issuer ({closed})" in complaints, complaints
    finally:
        issuer.stop()


def test_clusters_that_can_not_be_reached(tmp_path: Path) -> None:
    """No kubeconfig, one without a context, and an API server that does not answer."""
    cluster = {"server": f"https://127.0.0.1:{free_port()}", "insecure-skip-tls-verify": True}
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "down.yaml").write_text(yaml.safe_dump(kubeconfig))
    site = {"kind": "kubernetes", "agent_url": "https://uws.example.org", "agent_image": "agent"}
    code, parts, complaints = check(
        tmp_path,
        sites=[
            {"name": "missing", "kubeconfig": "none.yaml", **site},
            {"name": "context", "kubeconfig": "down.yaml", "context": "y", **site},
            {"name": "down", "kubeconfig": "down.yaml", **site},
        ],
    )
    assert code == 3 and len(complaints.splitlines()) == 3, complaints
    assert "none.yaml" in parts["site missing"]["problem"] and "down.yaml" in parts["site context"]["problem"]
    assert "127.0.0.1" in parts["site down"]["problem"] or "connect" in parts["site down"]["problem"].lower()
