"""Finished jobs as an Atom feed, and by mail to an address that the issuer has verified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import feedparser
import httpx2
import pytest

from tests.auth.conftest import auth_settings
from tests.issuers import NanoIdp
from tests.server import Server
from tests.smtp import MailServer
from tests.sse import eventually

# The server that takes mail is on this machine.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
PASSWORD = "word-of-the-mail-server"
EMAIL = {"email": "ada@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    server = MailServer(PASSWORD)
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, nano: NanoIdp, mail: MailServer) -> Iterator[Server]:
    """Start a service that sends mail, with a digest each second."""
    settings = {"host": "127.0.0.1", "port": mail.port, "security": "none", "sender": "jobs@example.org"}
    login = {"user": "uws", "password": PASSWORD, "digest": 1}
    running = Server(
        tmp_path_factory.mktemp("mail"),
        {
            "UWS_AUTH": json.dumps(auth_settings(nano, None)),
            "UWS_NOTIFICATIONS": json.dumps({"mail": {**settings, **login}}),
        },
    )
    running.start()
    yield running
    running.stop()


def client(service: Server, nano: NanoIdp, **claims: Any) -> httpx2.Client:
    token = nano.signed(**{"sub": "ada", **claims})
    return httpx2.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def ended_jobs(http: httpx2.Client, number: int, run_id: str = "") -> list[str]:
    jobs = [str(http.post("/sleep/async", data={"RUNID": run_id}).headers["location"]) for _ in range(number)]
    for job in jobs:
        assert http.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
    return jobs


def test_one_mail_for_many_jobs(service: Server, nano: NanoIdp, mail: MailServer) -> None:
    """A digest: links alone, to the address of the login."""
    with client(service, nano, **EMAIL) as http:
        entry = http.post("/notifications", data={"KIND": "mail"}).json()
        assert entry["target"] == "ada@example.org" and "mail" in http.get("/notifications").json()["kinds"]
        jobs = ended_jobs(http, 5)
        count = 0

        def all_are_told() -> bool:
            texts = [message.get_payload(decode=True).decode() for message in mail.messages]
            return all(any(job in text for text in texts) for job in jobs)

        eventually(all_are_told, "a mail about every job")
        count = len(mail.messages)
        assert count <= 3  # five jobs in a moment are one digest, or two, in which one job is told once
        message = mail.messages[0]
        assert message["To"] == "ada@example.org" and message["From"] == "jobs@example.org"
        assert "ABORTED" in message["Subject"] and message["Auto-Submitted"] == "auto-generated"
        assert all(recipients == ["ada@example.org"] for recipients in mail.recipients)
        texts = "".join(message.get_payload(decode=True).decode() for message in mail.messages)
        assert all(texts.count(job) == 1 for job in jobs)
        mail.refusal = "451 later"
        ended_jobs(http, 1)
        eventually(lambda: http.get(f"/notifications/{entry['id']}").json()["message"], "a refusal")
        assert PASSWORD not in http.get(f"/notifications/{entry['id']}").text
        mail.refusal = None
        mail.wait(count + 1)
        assert http.delete(f"/notifications/{entry['id']}").status_code == 204
    assert PASSWORD not in service.log.read_text()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "ada@example.org"},
        {"email": "ada@example.org", "email_verified": "true"},
        {"email": "ada@example.org,eve@example.org", "email_verified": True},
        {"email": "ada@example.org\r\nBcc: eve@example.org", "email_verified": True},
    ],
)
def test_addresses_that_nobody_has_verified(service: Server, nano: NanoIdp, claims: dict[str, Any]) -> None:
    """Mail goes nowhere else: callers can't name an address."""
    with client(service, nano, **claims) as http:
        answer = http.post("/notifications", data={"KIND": "mail", "URL": "eve@example.org"})
        assert answer.status_code == 403 and "verified" in answer.text


def test_a_feed(service: Server, nano: NanoIdp, tmp_path: Path) -> None:
    """By a link that ends, or as oneself; as a reader of feeds reads it."""
    with client(service, nano, sub="fay") as http, httpx2.Client(timeout=60) as reader:
        empty = http.post("/notifications", data={"KIND": "feed"}).json()
        parsed = feedparser.parse(reader.get(empty["link"]).content)
        assert not parsed.bozo and parsed.version == "atom10" and parsed.entries == []
        first = ended_jobs(http, 1, run_id="a & b <c>")[0]
        second = ended_jobs(http, 1)[0]
        answer = reader.get(empty["link"])
        assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
        parsed = feedparser.parse(answer.content)
        assert not parsed.bozo and [entry.link for entry in parsed.entries] == [second, first]
        assert parsed.entries[1].title.startswith("ABORTED: sleep (a & b ")
        again = reader.get(empty["link"], headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert feedparser.parse(http.get("/feed").content).entries[0].link == second
        assert reader.get(f"{service.url}/feed").status_code == 401
        for wrong in (empty["link"][:-1], f"{service.url}/feed?SHARE=x", f"{service.url}/feed?SHARE={'a' * 16}.b"):
            assert reader.get(wrong).status_code == 403
        with client(service, nano, sub="eve") as eve:
            assert feedparser.parse(eve.get("/feed").content).entries == []
        chosen = http.post("/notifications", data={"KIND": "feed", "PHASES": "ERROR"}).json()
        assert feedparser.parse(reader.get(chosen["link"]).content).entries == []
        assert http.delete(f"/notifications/{empty['id']}").status_code == 204
        assert reader.get(empty["link"]).status_code == 403
    secret = empty["link"].rpartition("=")[2]
    assert secret not in service.log.read_text()
