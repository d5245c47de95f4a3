"""Tokens, cookies and links are in no log, database or file."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import httpx2

from tests.auth.callers import Caller
from tests.auth.test_tokens import bad_tokens
from tests.issuers import NanoIdp
from tests.server import Server


def test_no_secret_is_left_behind(secured: Server, callers: dict[str, Caller], nano: NanoIdp) -> None:
    """No secret of the tests above is in log, database or files.

    The log says who did what.
    """
    alice = callers["alice"]
    with httpx2.Client() as http:
        http.post(f"{secured.url}/login", data={"password": alice.token or ""})
        cookie = http.cookies["uws_session"]
        http.get(f"{secured.url}/probe/async?access_token={alice.token}")
        http.post(f"{secured.url}/nothing/{alice.token}")  # paths are logged
    job = alice.create(PHASE="RUN")
    link = alice.http.post(f"{job}/shares").json()["link"].partition("SHARE=")[2]
    httpx2.get(f"{job}?SHARE={link}")
    httpx2.get(f"{secured.url}/tap/sync?SHARE={link}", cookies={"uws_session": cookie, "uws_share": link})
    query = {"LANG": "ADQL", "QUERY": "SELECT 1 AS a", "PHASE": "RUN"}
    assert alice.wait(alice.http.post(f"{secured.url}/tap/async", data=query).headers["location"]) == "COMPLETED"
    alice.http.post(f"{secured.url}/probe/bulk", files={"TABLE": b"TAG\n1\n2\n"}, data={"PHASE": "RUN"})
    alice.http.post(f"{secured.url}/tap/sync", data={**query, "UPLOAD": f"t,http://x:{alice.token}@[::1]/"})
    alice.wait(job)
    secrets = [item.token for item in callers.values() if item.token] + [cookie, cookie.partition(".")[0], link]
    secrets += [token for token, _ in bad_tokens(nano).values() if len(token) > 60]
    log = secured.log.read_text(errors="replace")
    database = sqlite3.connect(f"file:{secured.folder}/data/uws.db?mode=ro", uri=True)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    content = "\n".join(str(row) for table in tables for row in database.execute(f'SELECT * FROM "{table}"'))
    database.close()
    for secret in secrets:
        for part in (secret, secret.rpartition(".")[2] if secret.count(".") == 2 else secret):
            if len(part) >= 16:
                assert part not in log
                assert part not in content
    files = [item for item in (secured.folder / "data").rglob("*") if item.is_file()]
    assert any("depot" in item.parts for item in files) and any("work" in item.parts for item in files)
    for item in files:
        content_bytes = b""
        with contextlib.suppress(FileNotFoundError):  # a work folder that has just been cleared
            content_bytes = item.read_bytes()
        assert not [secret for secret in secrets if len(secret) >= 16 and secret.encode() in content_bytes], item
    assert "Traceback" not in log
    assert "/nothing/[removed]" in log
    audit = [json.loads(line) for line in log.splitlines() if '"audit"' in line]
    entries = [item for item in audit if item["path"] == f"/probe/async/{job.rpartition('/')[2]}/shares"]
    assert (
        entries
        and entries[0]["actor"].startswith("alice@")
        and entries[0]["status"] == 201
        and entries[0]["by"] == "token"
    )
    assert f"alice@127.0.0.1:{nano.port}" in content
