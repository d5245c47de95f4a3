"""Rules of access, quotas, challenges and cookies, without any network."""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.applications import AccessSpec, Application
from uws_service.auth import ANONYMOUS, Identity
from uws_service.auth.policy import Rules, most_generous
from uws_service.auth.quotas import MAX_BUCKETS, Buckets, Holding, Rates, require_room
from uws_service.auth.settings import Auth, Quota
from uws_service.auth.signed_cookies import cookie_value, pack, seal, unpack, unseal
from uws_service.cli.operator_commands import shown_settings
from uws_service.configuration import applications_of
from uws_service.domain.errors import AuthenticationRequired, ConfigurationError, Forbidden, TooManyRequests
from uws_service.domain.job import Phase
from uws_service.protocol.challenges import challenges, quoted
from uws_service.settings import Settings
from uws_service.telemetry import scrubbed

ISSUER = {"url": "https://iam.example.org", "audience": "uws-api"}
UNKNOWN = Identity(challenged=True)
HOST = "iam.example.org"
ALICE = Identity(
    "alice@iam",
    groups=frozenset({f"/ska/a@{HOST}", f"/ska/b@{HOST}"}),
    scopes=frozenset({"compute"}),
    issuer="https://iam.example.org",
)
MEMBER = Identity("a", group=f"/x@{HOST}", groups=frozenset({f"/x@{HOST}"}))


def rules(**auth: Any) -> Rules:
    return Rules(Auth.model_validate({"issuers": [ISSUER], **auth}))


def application(access: AccessSpec | None = None) -> Application:
    return Application("app", "title", "description", ("true",), access=access)


def test_what_applies_when_nothing_is_said() -> None:
    """Embedded: everybody. With an issuer: verified callers only."""
    Rules(Auth()).require_use(application(), ANONYMOUS)
    with pytest.raises(AuthenticationRequired):
        rules().require_use(application(), UNKNOWN)
    rules().require_use(application(), ALICE)


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (AccessSpec(groups=("/ska/c",)), "members of /ska/c"),
        (AccessSpec(scopes=("compute", "more")), "scope 'more'"),
        (AccessSpec(groups=("ska/a",), scopes=("none",)), "scope 'none'"),
    ],
)
def test_what_is_refused(access: AccessSpec, reason: str) -> None:
    with pytest.raises(Forbidden, match=reason):
        rules().require_use(application(access), ALICE)
    with pytest.raises(AuthenticationRequired):
        rules().require_use(application(access), UNKNOWN)
    with pytest.raises(Forbidden, match="not for anonymous"):
        Rules(Auth()).require_use(application(access), ANONYMOUS)
    chief = rules(administrators=["alice@iam"]).ranked(ALICE)
    rules().require_use(application(access), chief)


def test_what_wins() -> None:
    """Settings for one application win, then its descriptor."""
    opened = application(AccessSpec(anonymous=True))
    rules().require_use(opened, UNKNOWN)
    rules(access={"anonymous": True}).require_use(application(), UNKNOWN)
    with pytest.raises(Forbidden):
        rules(access={"anonymous": True}).require_use(application(AccessSpec(groups=("/x",))), ALICE)
    with pytest.raises(AuthenticationRequired):
        rules(applications={"app": {}}).require_use(opened, UNKNOWN)
    rules().require_use(application(AccessSpec(groups=("ska/b/",), scopes=("compute",))), ALICE)


def test_access_that_contradicts_itself() -> None:
    with pytest.raises(ValueError, match="opens the application to all"):
        Auth.model_validate({"access": {"anonymous": True, "groups": ["a"]}})
    with pytest.raises(ValueError, match="permissions needs issuers"):
        Auth.model_validate({"permissions": {"url": "https://x/api/v1"}})


def test_whose_share_counts() -> None:
    """The caller's first accounting group counts."""
    assert rules().ranked(MEMBER).group == f"/x@{HOST}"
    listed = rules(accounting_groups=["ska/c", "ska/b", "ska/a"])
    assert listed.ranked(ALICE).group == f"/ska/b@{HOST}"
    assert listed.ranked(MEMBER).group == ""


def test_quotas_of_a_caller() -> None:
    limited = rules(
        quotas={
            "default": {"queued": 1},
            "anonymous": {"queued": 0},
            "groups": {"ska/a": {"queued": 5, "running": 2}, "/ska/b": {"queued": 3}},
            "owners": {"bob@iam": {"queued": 99}},
        }
    )
    assert limited.quota(Identity("x")).queued == 1
    assert limited.quota(UNKNOWN).queued == 0
    assert limited.quota(Identity("bob@iam", groups=ALICE.groups)).queued == 99
    mixed = limited.quota(ALICE)
    assert mixed.queued == 5 and mixed.running is None  # no limit is more generous than any
    assert limited.has_quotas and not limited.has_rates and not rules().has_quotas
    assert most_generous([Quota(stored=1), Quota(stored=2)]).stored == 2


def test_room() -> None:
    full = Holding({Phase.QUEUED: 2, Phase.EXECUTING: 1, Phase.COMPLETED: 50}, stored=1000)
    require_room(Quota(queued=3, running=2, stored=1001), full, run=True, new=True)
    require_room(Quota(queued=2, running=1), full, run=False, new=True)
    require_room(Quota(stored=10), full, run=True, new=False)
    require_room(Quota(running=1), full, run=True, new=False)  # it waits in the queue
    with pytest.raises(TooManyRequests) as error:
        require_room(Quota(queued=2), full, run=True, new=False)
    assert error.value.retry_after
    with pytest.raises(Forbidden, match="none of yours may run"):
        require_room(Quota(running=0), full, run=True, new=False)
    with pytest.raises(Forbidden, match="Delete jobs"):
        require_room(Quota(stored=1000), full, run=False, new=True)


def test_rates() -> None:
    """Ten seconds' worth at once, for each caller."""
    rates = Rates()
    for _ in range(20):
        rates.take("a", 2.0, 100.0)
    with pytest.raises(TooManyRequests) as error:
        rates.take("a", 2.0, 100.0)
    assert error.value.retry_after == 1
    rates.take("b", 2.0, 100.0)
    rates.take("a", 2.0, 100.5)
    with pytest.raises(TooManyRequests):
        rates.take("a", 2.0, 100.5)
    slow = Rates()
    slow.take("a", 0.01, 0.0)
    with pytest.raises(TooManyRequests) as error:
        slow.take("a", 0.01, 0.0)
    assert error.value.retry_after == 100


def test_buckets() -> None:
    """A clock that is set back empties none; the least recently used one goes first."""
    buckets = Buckets()
    assert buckets.take("a", 1.0, 2.0, 1000.0) == 0
    assert buckets.take("a", 1.0, 2.0, 0.0) == 0
    assert buckets.take("a", 1.0, 2.0, 0.0) == 1.0
    buckets.give_back("a")
    assert buckets.take("a", 1.0, 2.0, 0.0) == 0
    for number in range(MAX_BUCKETS):
        buckets.take(f"b{number}", 1.0, 2.0, 0.0)
    assert buckets.take("a", 1.0, 2.0, 0.0) == 0
    for number in range(2):
        assert buckets.take(f"b{MAX_BUCKETS - 1}", 1.0, 2.0, 0.0) == number


def test_challenges_are_well_formed() -> None:
    """A-004, A-011: parameters are quoted."""
    evil = 'x" y\r\nSet-Cookie: a=b\\'
    values = challenges("r", "https://x/login", ["https://a/.well-known"], error="invalid_token", message=evil)
    assert not any("\r" in value or "\n" in value for value in values)
    assert quoted(evil) == '"x\\" y??Set-Cookie: a=b\\\\"'
    assert [value.split()[0] for value in values] == ["Bearer", "Basic", "ivoa_cookie", "ivoa_bearer"]
    assert len(challenges("r", "https://x/login", [], basic=False)) == 2


def test_seals() -> None:
    key = b"k" * 32
    sealed = seal(key, "login", pack({"a": "ü", "n": 1}))
    assert unpack(unseal(key, "login", sealed) or "") == {"a": "ü", "n": 1}
    assert unseal(key, "session", sealed) is None
    assert unseal(b"other" * 8, "login", sealed) is None
    for broken in ("", ".", "a", "a.b", sealed[:-1], sealed + "a", "x" + sealed, "ü.ü"):
        assert unseal(key, "login", broken) is None, broken


def test_cookies_beside_ours() -> None:
    header = b'other="; {bad}; uws_session=abc.def; uws_session2=x'
    assert cookie_value(header, "uws_session") == "abc.def"
    assert cookie_value(header, "uws_login") is None


def test_what_is_scrubbed() -> None:
    """Tokens wherever they stand; words of people stay."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    for text in (
        f"GET /x?access_token={token} failed",
        f"Authorization: Bearer {token}",
        f"{{'token': '{token}'}}",
        "POST https://x/token?code=0123456789abcdef0123",
        "cookie uws_session=0123456789abcdef0123.abcdef",
        "Basic dXNlcjpwYXNzd29yZC1vZi11c2Vy",
        "https://x/sleep/async/1?SHARE=abcdefghijklmnopqrstuvwx",
    ):
        safe_text = scrubbed(text)
        assert "[removed]" in safe_text and token not in safe_text and "0123456789abcdef" not in safe_text, safe_text
        assert "dXNlcjpw" not in safe_text and "abcdefghijkl" not in safe_text
    for text in ("the basic idea of the service", "a job of alice@iam.example.org was made", "PHASE=EXECUTING"):
        assert scrubbed(text) == text


def test_settings_that_are_wrong_do_not_tell_secrets() -> None:
    """The message names the field and repeats no secret."""
    issuer = {"url": "https://iam.example.org", "client_id": "uws", "client_secret": "very-secret-word"}
    with pytest.raises(ConfigurationError) as error:
        Settings.load(auth={"issuers": [issuer]})
    assert "audience is missing" in error.value.message and "very-secret-word" not in error.value.message
    settings = Settings.load(auth={"issuers": [{**issuer, "audience": "a"}]})
    assert "very-secret-word" not in f"{settings!r} {shown_settings(settings)}"
    with pytest.raises(ConfigurationError, match="no application 'none'"):
        applications_of(Settings.load(auth={"applications": {"none": {}}}))
