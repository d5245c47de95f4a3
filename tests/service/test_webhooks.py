"""Webhooks of a real service to a real server, read by the libraries of those who made the standards (E-020…E-025)."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.receiver import Notice, Receiver
from tests.server import Server
from tests.sse import eventually
from uws_service.domain.notification import GIVE_UP_MS, Delivery, Kind, Subscription, Wish
from uws_service.protocol import webhook
from uws_service.service.access import JobAccess
from uws_service.service.deliveries import Deliveries
from uws_service.service.notification_settings import NotificationSettings
from uws_service.service.notifications import MAX_OF_JOB, MAX_SUBSCRIPTIONS, Notices
from uws_service.service.receiver import Receivers
from uws_service.store import Store

OPEN = {"UWS_IDENTITY_HEADER": "X-Auth-Request-User", "UWS_NOTIFICATIONS": '{"webhooks": {"allow_private": true}}'}
ADA = {"X-Auth-Request-User": "ada"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a service that may send to this machine."""
    running = Server(tmp_path_factory.mktemp("webhooks"), OPEN)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def ada(service: Server) -> Iterator[httpx2.Client]:
    """Open a client of a known caller.

    Its notifications end with the test.
    """
    with httpx2.Client(base_url=service.url, headers=ADA, timeout=60) as http:
        yield http
        for entry in http.get("/notifications").json()["notifications"]:
            assert http.delete(f"/notifications/{entry['id']}").status_code == 204


def subscribe(http: httpx2.Client, url: str, where: str = "/notifications", **form: Any) -> dict[str, Any]:
    answer = http.post(where, data={"URL": url, **form})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(f"{where}/{answer.json()['id']}")
    return dict(answer.json())


def verified(secret: str, notice: Notice) -> BaseCloudEvent:
    """Return a notice as its libraries read it, which refuse what is not signed or no CloudEvent."""
    Webhook(secret).verify(notice.body, notice.headers)
    return from_structured_event(HTTPMessage(notice.headers, notice.body), JSONFormat())


def ended_job(http: httpx2.Client) -> str:
    answer = http.post("/sleep/async")
    job = str(answer.headers["location"])
    assert http.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
    return job


def test_a_signed_event(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-021, E-022, E-023: a CloudEvent of the end of a job, and of nothing else."""
    entry = subscribe(ada, receiver.url)
    job = ended_job(ada)
    (notice,) = receiver.wait(1)
    event = verified(entry["secret"], notice)
    assert notice.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert (event.get_source(), event.get_subject()) == (job, job.rpartition("/")[2])
    assert event.get_type() == "org.srcnet.uws.job.phase.v1" and event.get_id() == notice.headers["webhook-id"]
    data = event.get_data()
    assert isinstance(data, dict) and data["phase"] == "ABORTED" and data["job"] == job
    assert len(notice.body) < 2000
    with pytest.raises(WebhookVerificationError):
        Webhook(entry["secret"]).verify(notice.body.replace(b"ABORTED", b"PENDING"), notice.headers)
    shown_text = ada.get(f"/notifications/{entry['id']}").json()
    assert "secret" not in shown_text and shown_text["message"] is None
    assert ada.get("/notifications").json()["kinds"] == ["webhook", "feed"]


def test_what_is_chosen(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-020: by event, phase and application; others' jobs are not told of."""
    subscribe(ada, receiver.url, EVENTS="phase,deleted", PHASES="PENDING", APPLICATIONS="sleep")
    httpx2.post(f"{str(ada.base_url).rstrip('/')}/sleep/async", headers={"X-Auth-Request-User": "eve"})
    ada.post("/crossmatch/async")
    job = ended_job(ada)
    ada.delete(job)
    notices = receiver.wait(2)
    events = [json.loads(notice.body) for notice in notices]
    assert sorted(event["data"]["event"] for event in events) == ["deleted", "phase"]
    assert {event["data"]["job"] for event in events} == {job}
    time.sleep(0.5)
    assert len(receiver.notices) == 2


def test_one_job(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-020: until its end was told, then the notification is gone."""
    job = str(ada.post("/sleep/async").headers["location"])
    path = job.removeprefix(str(ada.base_url).rstrip("/"))
    entry = subscribe(ada, receiver.url, f"{path}/notifications", PHASES="ALL")
    ended_job(ada)
    ada.post(f"{job}/phase", data={"PHASE": "ABORT"})
    (notice,) = receiver.wait(1)
    assert verified(entry["secret"], notice).get_source() == job
    eventually(lambda: ada.get(f"{job}/notifications").json()["notifications"] == [], "the end of the notification")
    for _ in range(MAX_OF_JOB):
        subscribe(ada, receiver.url, f"{path}/notifications")
    assert ada.post(f"{job}/notifications", data={"URL": receiver.url}).status_code == 403


def test_tests_and_other_secrets(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-022: while a secret rotates, both sign."""
    entry = subscribe(ada, receiver.url)
    url = f"/notifications/{entry['id']}"
    assert ada.post(url, data={"ACTION": "TEST"}).status_code == 200
    (notice,) = receiver.wait(1)
    assert verified(entry["secret"], notice).get_type() == "org.srcnet.uws.job.test.v1"
    fresh = ada.post(url, data={"ACTION": "ROTATE"}).json()["secret"]
    assert fresh != entry["secret"]
    ada.post(url, data={"ACTION": "TEST"})
    notice = receiver.wait(2)[1]
    for secret in (entry["secret"], fresh):
        verified(secret, notice)
    chosen = "whsec_" + base64.b64encode(b"k" * 24).decode()
    assert subscribe(ada, receiver.url, SECRET=chosen)["secret"] == chosen
    for secret in ("whsec_abc", "k" * 24, "whsec_" + base64.b64encode(b"short").decode()):
        assert ada.post("/notifications", data={"URL": receiver.url, "SECRET": secret}).status_code == 400
    assert ada.post(url, data={"ACTION": "DANCE"}).status_code == 400


def test_failures_are_tried_again(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-024: the same id each time; a redirect is a failure, and is not followed."""
    elsewhere = Receiver()
    try:
        receiver.status, receiver.headers = 302, {"location": elsewhere.url}
        entry = subscribe(ada, receiver.url)
        job = ended_job(ada)
        receiver.wait(1)
        url = f"/notifications/{entry['id']}"
        eventually(lambda: ada.get(url).json()["message"], "a message")
        shown_text = ada.get(url).json()
        assert "302" in shown_text["message"] and shown_text["failingSince"]
        receiver.status, receiver.headers = 204, {}
        count = len(receiver.notices)
        assert ada.post(url, data={"ACTION": "ENABLE"}).status_code == 200  # in place of a long pause
        notices = receiver.wait(count + 1)
        first, second = notices[0], notices[-1]
        assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
        assert verified(entry["secret"], second).get_source() == job
        eventually(lambda: ada.get(url).json()["failingSince"] is None, "the end of the failure")
        assert elsewhere.notices == []
    finally:
        elsewhere.close()


def test_the_page(ada: httpx2.Client, receiver: Receiver) -> None:
    """Without script: add, see the secret once, end."""
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = ada.post("/notifications", data={"URL": receiver.url}, headers=browser)
    assert page.status_code == 200 and "whsec_" in page.text and receiver.url in page.text
    page = ada.get("/notifications", headers=browser)
    assert "whsec_" not in page.text and receiver.url in page.text
    assert "/feed?SHARE=" in ada.post("/notifications", data={"KIND": "feed"}, headers=browser).text
    for entry in ada.get("/notifications").json()["notifications"]:
        assert ada.post(f"/notifications/{entry['id']}", data={"ACTION": "END"}, headers=browser).status_code == 303
    assert "There are none" in ada.get("/notifications", headers=browser).text


def test_gone(ada: httpx2.Client, receiver: Receiver) -> None:
    """E-024: 410 ends the notification."""
    receiver.status = 410
    entry = subscribe(ada, receiver.url)
    ended_job(ada)
    receiver.wait(1)
    eventually(lambda: ada.get(f"/notifications/{entry['id']}").status_code == 404, "the end of the notification")


def test_whose_notifications(ada: httpx2.Client, service: Server, receiver: Receiver) -> None:
    """Another's are not there; unknown callers have none, nor do anonymous jobs."""
    entry = subscribe(ada, receiver.url)
    url = f"{service.url}/notifications/{entry['id']}"
    eve = {"X-Auth-Request-User": "eve"}
    for method in ("GET", "DELETE"):
        assert httpx2.request(method, url, headers=eve).status_code == 404
    assert httpx2.post(url, data={"ACTION": "ROTATE"}, headers=eve).status_code == 404
    assert httpx2.get(f"{service.url}/notifications", headers=eve).json()["notifications"] == []
    job = ended_job(ada)
    assert httpx2.post(f"{job}/notifications", data={"URL": receiver.url}, headers=eve).status_code == 403
    assert httpx2.post(f"{service.url}/notifications", data={"URL": receiver.url}).status_code == 403
    nobody = httpx2.post(f"{service.url}/sleep/async").headers["location"]
    assert httpx2.post(f"{nobody}/notifications", data={"URL": receiver.url}).status_code == 403
    for _ in range(MAX_SUBSCRIPTIONS - 1):
        subscribe(ada, receiver.url)
    answer = ada.post("/notifications", data={"URL": receiver.url})
    assert answer.status_code == 403 and "end some" in answer.text


def test_secrets_are_not_in_the_database(ada: httpx2.Client, service: Server, receiver: Receiver) -> None:
    entry = subscribe(ada, receiver.url)
    with sqlite3.connect(service.folder / "data" / "uws.db") as database:
        rows = database.execute("SELECT * FROM subscription").fetchall()
    database.close()
    assert rows and not any(entry["secret"].removeprefix("whsec_") in str(row) for row in rows)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a service with the rules of every day."""
    running = Server(tmp_path_factory.mktemp("strict"), {"UWS_IDENTITY_HEADER": "X-Auth-Request-User"})
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://192.0.2.1/", "https URL"),
        ("https://127.0.0.1/", "inner network"),
        ("https://localhost/", "inner network"),
        ("https://[::1]/", "inner network"),
        ("https://[::ffff:127.0.0.1]/", "inner network"),
        ("https://10.1.2.3:8443/", "inner network"),
        ("https://169.254.169.254/latest/meta-data/", "inner network"),
        ("https://0x7f.1/", "inner network"),
        ("https://user:word@example.org/", "without a user"),
        ("https://@example.org/", "without a user"),
        ("https://example.org:22/", "at port"),
        ("https://example.org:99999/", "https URL"),
        ("https://example.org/#here", "fragment"),
        ("https://example.org/a b", "without spaces"),
        ("https://example.org/\r\nX: y", "without spaces"),
        ("ftp://example.org/", "https URL"),
        ("https://", "https URL"),
        ("//example.org/", "https URL"),
        ("https://example.org/" + "a" * 2000, "2000 characters"),
    ],
)
def test_servers_that_may_not_be_named(strict: Server, url: str, words: str) -> None:
    """E-025: the rules are those of what jobs fetch."""
    answer = httpx2.post(f"{strict.url}/notifications", data={"URL": url}, headers=ADA)
    assert answer.status_code == 400 and words in answer.text, answer.text


def test_rules_hold_when_it_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    """E-025: a name may lead elsewhere by then, and settings change."""
    server = Server(tmp_path, OPEN)
    server.start()
    try:
        with httpx2.Client(base_url=server.url, headers=ADA, timeout=60) as http:
            entry = subscribe(http, receiver.url)
            server.stop()
            server.settings.pop("UWS_NOTIFICATIONS")
            server.start()
            ended_job(http)
            url = f"/notifications/{entry['id']}"
            eventually(lambda: http.get(url).json()["message"], "a refusal")
            assert "https URL" in http.get(url).json()["message"]
        assert receiver.notices == []
    finally:
        server.stop()


def test_a_restart_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """E-025: killed between the event and its delivery, the notices come all the same."""
    server = Server(tmp_path, OPEN)
    server.start()
    try:
        with httpx2.Client(base_url=server.url, headers=ADA, timeout=60) as http:
            receiver.status = 503
            entry = subscribe(http, receiver.url)
            jobs = {ended_job(http) for _ in range(3)}
            receiver.wait(1)
            server.kill()
            receiver.status = 200
            count = len(receiver.notices)
            server.start()
            assert http.post(f"/notifications/{entry['id']}", data={"ACTION": "ENABLE"}).status_code == 200
            sources: set[str] = set()
            while sources != jobs:
                count += 1
                sources.add(str(verified(entry["secret"], receiver.wait(count, 240)[count - 1]).get_source()))
    finally:
        server.stop()


@pytest.fixture
async def loop_parts(store: Store) -> AsyncIterator[tuple[Store, Notices]]:
    """Open subscriptions of a store, for a loop with a clock of its own."""
    settings = NotificationSettings.model_validate({"webhooks": {"allow_private": True}})
    receivers = Receivers(settings.webhooks, "test")
    access = JobAccess(store, lambda: 0)
    yield store, Notices(access, settings, receivers, (), b"key", lambda: 0)
    await receivers.close()


@pytest.mark.anyio
async def test_a_receiver_that_fails_for_days(loop_parts: tuple[Store, Notices], receiver: Receiver) -> None:
    """E-024: after three days it is given up; what waits is dropped."""
    store, notices = loop_parts
    now = 1_000_000
    deliveries = Deliveries(store, notices, None, clock=lambda: now)
    locked = webhook.new_secret()
    from uws_service.auth.encryption import lock

    entry = Subscription(
        "a" * 16,
        Kind.WEBHOOK,
        "ada",
        receiver.url,
        Wish(),
        "http://x",
        now,
        locked=lock(b"key", "webhook " + "a" * 16, locked),
    )
    assert await store.notifications.add(entry, 20, 1000)
    payload = {"seq": 1, "job_id": "j", "version": 1, "at": now, "kind": "PHASE", "phase": "ERROR", "application": "a"}
    for number in (1, 2):
        text = json.dumps({**payload, "owner_key": "", "seq": number})
        await store.notifications.put(Delivery(entry.id, number, text, now, 0, now))

    async def serve() -> None:
        (group,) = await store.notifications.take(now, now + 1000, receivers=5, page=5)
        await deliveries._serve(group, now + 1000)

    receiver.status, receiver.headers = 503, {"retry-after": "600"}
    await serve()
    assert len(receiver.notices) == 1  # the second one waits with the first
    stored = await store.notifications.get(entry.id)
    assert stored is not None and stored.failing_since == now and "503" in stored.message
    assert 600_000 <= (await store.notifications.next_due() or 0) - now <= 720_000
    now += GIVE_UP_MS
    await serve()
    stored = await store.notifications.get(entry.id)
    assert stored is not None and stored.disabled == now and len(receiver.notices) == 2
    assert await store.notifications.next_due() is None
    await store.notifications.enable(entry.id, now)
    stored = await store.notifications.get(entry.id)
    assert stored is not None and stored.disabled is None and stored.failing_since is None


@pytest.mark.anyio
async def test_two_processes_claim_once(store: Store, peer: Store) -> None:
    """A notice that one process has taken is not there for the other, until the lease ends."""
    for number in range(40):
        await store.notifications.put(Delivery(f"s{number % 4}", number, "{}", 0, 0, 0))
    first = await store.notifications.take(5, 1000, receivers=3, page=4)
    second = await peer.notifications.take(5, 1000, receivers=9, page=50)
    numbers = [delivery.number for group in [*first, *second] for delivery in group]
    assert [len(group) for group in first] == [4, 4, 4] and sorted(numbers) == list(range(40))
    assert await peer.notifications.take(999, 2000, receivers=9, page=50) == []
    assert len(await peer.notifications.take(1000, 2000, receivers=9, page=50)) == 4
