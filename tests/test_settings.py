"""Messages about settings.

Place, field, what is allowed, a guess; and nonsense that is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from uws_service.depot import Depot
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings
from uws_service.settings_checks import mask_secrets
from uws_service.sites.kind import SiteParts
from uws_service.sites.kubernetes.kind import KUBERNETES
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.sites.settings import Fetch


def problems(folder: Path, text: str) -> list[str]:
    """Return the messages about a settings file, without its folder."""
    file = folder / "service.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        Settings.load(file)
    return error.value.message.replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: a\nlimts: {wait: 3}", "service.yaml:2: limts: limts is not known; did you mean limits? allowed: b"),
        ("limits:\n  wait: 5\n  uplaod: 3", "service.yaml:3: limits.uplaod: uplaod is not known; did you mean upload?"),
        ("sites:\n- slots: 1\n- {name: b, slots: 0}", "service.yaml:3: sites[1].slots: must be at least 1 (given: 0)"),
        ("sites:\n- name: a\n  nmae: b", "service.yaml:3: sites[0].nmae: nmae is not known; did you mean name?"),
        ("sites:\n- {name: a, kind: kubernets}", "service.yaml:2: sites[0].kind: 'kubernets' is not known; did you"),
        (
            "sites:\n- {name: a, kind: kubernetes, agent_image: i}",
            "service.yaml:2: sites[0].agent_url: agent_url is missing: The URL under which",
        ),
        ("auth:\n  quotas:\n    default:\n      queud: 1", "service.yaml:4: auth.quotas.default.queud: queud is not"),
        ("auth:\n  quotas:\n    groups:\n      g: {rate: x}", "service.yaml:4: auth.quotas.groups.g.rate: must be a"),
        ("log_level: inf", "service.yaml:1: log_level: must be 'debug', 'info', 'warning' or 'error'; did you"),
        ("controller: maybe", "service.yaml:1: controller: must be true or false (given: 'maybe')"),
        ("limits: 3", "service.yaml:1: limits: must be a mapping (given: 3)"),
        ("limits:\n  wait: 3\n  wait: 4", "service.yaml:3: limits.wait: is there twice"),
        ("limits:\n  body: 1 GX", "service.yaml:2: limits.body: must be a number of bytes, or a size such as 500MB"),
        ("orphan_age: 5 moons", "service.yaml:1: orphan_age: must be a number of seconds, or a duration such as 30s"),
    ],
)
def test_a_message_has_place_field_and_guess(tmp_path: Path, text: str, message: str) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(message)


def test_all_mistakes_are_listed_in_order(tmp_path: Path) -> None:
    lines = problems(tmp_path, "limits: {wait: 0}\nsites:\n- {name: A B}\nfetch: {timeout: 0}\nlog_levl: info")
    assert [line.split(": ")[0] for line in lines] == [f"service.yaml:{number}" for number in (1, 3, 4, 5)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("database", url)
            for url in ("mysql://", "mysql://u@h/d", "sqlite://", "sqlite:///", "postgresql://", "uws.db")
        ),
        *(("database", url) for url in ("postgresql:/h/d", "postgresql://host:port/d")),
        *(("depot", url) for url in ("s3//bucket", "s3://", "s3:/bucket", "s3:bucket", "http://h/b", "gs://b", " ")),
        *(
            ("depot", url)
            for url in ("s3://k:s@bucket", "s3://bucket?endpont=x", "s3://bucket?endpoint=s3.example.org")
        ),
        ("trusted_proxies", ["10.0.0/8"]),
        ("trusted_proxies", ["proxy.example.org"]),
        ("auth", {"metrics_from": ["10.0.0/8"]}),
        *(
            ("base_url", url)
            for url in ("ftp://h", "http://", "https:///path", "http://h/?a=b", "http://h:x/", "http://a b/")
        ),
        ("cors_origins", ["example.org"]),
        ("cors_origins", ["https://example.org/path"]),
        ("hosts", ["https://example.org"]),
        ("identity_header", "X Remote User"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    """From a file and from the environment's side alike.

    Before anything is opened.
    """
    (line,) = problems(tmp_path, yaml.safe_dump({field: value}))
    assert line.startswith(f"service.yaml:1: {field}") or line.startswith(f"service.yaml:2: {field}.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("database", url)
            for url in ("sqlite:////a/b.db", "sqlite:///b.db", "postgresql://u:p@h:5/d", "postgres://h/d")
        ),
        ("database", "postgresql:///uws?host=/run/postgresql"),
        *(("depot", url) for url in ("a/folder", "/a/folder", "file:///a", "s3://my-bucket", "s3://b.c/d?region=eu-1")),
        ("depot", "s3://bucket/p?endpoint=http://127.0.0.1:9000&region=x"),
        ("trusted_proxies", ["10.0.0.0/8", "::1", "10.0.0.1/8"]),
        ("base_url", "http://[::1]:80/a/"),
        ("cors_origins", ["*", "https://example.org:8443"]),
        ("hosts", ["*", "a-b.example.org", "[::1]", "localhost:80"]),
        ("identity_header", "X-Remote-User"),
    ],
)
def test_sensible_values_are_taken(field: str, value: Any) -> None:
    loaded = getattr(Settings.load(**{field: value}), field)
    assert (list(loaded) if isinstance(value, list) else loaded) == (
        value.rstrip("/") if field == "base_url" else value
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("UWS_LIMTS", "3", "environment: UWS_LIMTS: limts is not known; did you mean limits?"),
        ("UWS_LIMTS__WAIT", "3", "environment: UWS_LIMTS__WAIT: limts is not known; did you mean limits?"),
        ("UWS_LIMITS__WIAT", "3", "environment: UWS_LIMITS__WIAT: limits.wiat: wiat is not known; did you mean wait?"),
        ("UWS_LIMITS", "3", "environment: UWS_LIMITS: limits: must be a mapping (given: 3)"),
        ("UWS_SITES", "local", "environment: UWS_SITES: must be JSON"),
        ("UWS_DEPOT", "s3://", "environment: UWS_DEPOT: depot: must be a folder or s3://bucket"),
        ("UWS_SOMETHING", "1", "environment: UWS_SOMETHING: something is not known"),
        ("UWS_INPUT_DIR", "/", "environment: UWS_INPUT_DIR: input_dir is not known"),
    ],
)
def test_variables_are_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as error:
        Settings.load()
    assert error.value.message.startswith(message)


def test_a_mistake_is_blamed_on_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the same section does not take the blame for the file."""
    monkeypatch.setenv("UWS_LIMITS__WAIT", "5")
    assert problems(tmp_path, "limits:\n  body: x")[0].startswith("service.yaml:2: limits.body")
    monkeypatch.setenv("UWS_LIMITS", json.dumps({"wait": 0}))
    monkeypatch.delenv("UWS_LIMITS__WAIT")
    first, second = sorted(problems(tmp_path, "limits:\n  body: x"))
    assert first.startswith("environment: UWS_LIMITS: limits.wait") and second.startswith("service.yaml:2: limits.body")


@pytest.mark.parametrize(
    "variable",
    ["UWS_SERVICE_HOST", "UWS_PORT_80_TCP_ADDR", "UWS_DEMO_SERVICE_PORT_HTTP", "UWS_CONFIG", "UWS_CLIENT_TOKEN"],
)
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "x")
    Settings.load()


def test_variables_of_a_job_are_left_alone_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("UWS_JOB_ID", "UWS_INPUT_DIR", "UWS_PARAM_LIMITS", "UWS_CATALOGUE"):
        monkeypatch.setenv(variable, "x")
    Settings.load()


@pytest.mark.parametrize(
    "text", ["database: mysql://user:hunter2@host/d", "depot: s3://key:hunter2@bucket", "auth: {sealing_key: hunter2}"]
)
def test_no_message_repeats_a_secret(tmp_path: Path, text: str) -> None:
    assert "hunter2" not in "\n".join(problems(tmp_path, text))


def test_secrets_in_queries_are_masked() -> None:
    assert mask_secrets("postgresql://h/d?user=a&password=b&x=1") == "postgresql://h/d?user=a&password=***&x=1"


def test_sizes_and_durations_are_those_of_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWS_LIMITS__UPLOAD", "512MiB")
    file = tmp_path / "service.yaml"
    file.write_text(
        "limits: {body: 1GB, wait: 40s}\norphan_age: 2h\nreap_interval: 0.5\nevent_retention: 30d\n"
        "auth: {session: 8h, timeout: '2.5', quotas: {default: {stored: 5 GB}}}\nfetch: {timeout: 5m}\n"
        "sites: [{lost_after: 5m, access: {memory: 16GiB}}]\n"
    )
    settings = Settings.load(file)
    limits, auth = settings.limits, settings.auth
    assert (limits.body, limits.wait, limits.upload) == (10**9, 40, 512 * 2**20)
    assert (settings.orphan_age, settings.reap_interval, settings.event_retention) == (7200.0, 0.5, 30 * 86400)
    assert (auth.session, auth.timeout, auth.quotas.default.stored) == (8 * 3600, 2.5, 5 * 10**9)
    assert settings.fetch.timeout == 300.0 and settings.sites[0].absence.lost == 300_000
    assert settings.sites[0].access.memory == 16 * 2**30


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [("http://uws.example.org", False), ("HTTP://10.0.0.1:8080", False), ("https://uws.example.org", True)],
)
def test_tokens_for_data_go_over_https_alone(tmp_path: Path, url: str, is_safe: bool) -> None:
    """A site whose agents would get them over plain http is not opened; without such tokens it is."""
    site = KubernetesSite(name="a", kind="kubernetes", agent_url=url, agent_image="agent")
    depot = Depot.open(str(tmp_path / "depot"))
    KUBERNETES.open(site, SiteParts(depot, tmp_path, "service", Fetch()))
    data: Any = object()  # opening a site asks only whether there is any
    parts = SiteParts(depot, tmp_path, "service", Fetch(), data)
    if is_safe:
        KUBERNETES.open(site, parts)
    else:
        with pytest.raises(ConfigurationError, match="agent_url must begin with https://"):
            KUBERNETES.open(site, parts)
