"""The command line against the real service.

What a person does, from configuration to results.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ROOT, Server, free_port
from uws_service.cli import run
from uws_service.client import UwsClient

PROBE = ROOT / "tests" / "service" / "probe.yaml"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield one service with the tests' own application."""
    running = Server(tmp_path_factory.mktemp("service"), {"UWS_APPLICATIONS": json.dumps([str(PROBE)])})
    running.start()
    yield running
    running.stop()


@pytest.fixture
def jobs(service: Server) -> str:
    return f"{service.url}/probe/async"


def test_from_submit_to_delete(jobs: str, tmp_path: Path, capsys: Capture) -> None:
    """The whole way of a job by commands only (U-021…U-027, U-081, U-124, U-130)."""
    table = tmp_path / "table.csv"
    table.write_text("ra,dec\n1,2\n")
    upload = ["--upload", f"t1={table}", "--file", f"extra=@{table}"]
    code = run(
        ["submit", jobs, "SECONDS=0.5", "OUTPUT=1234", "--run-id", "mine", "--duration", "20", *upload, "--wait"]
    )
    out, err = capsys.readouterr()
    job = out.strip()
    assert code == 0 and job.startswith(jobs + "/"), err
    assert err.splitlines()[-1].startswith("COMPLETED")

    assert run(["show", job, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["phase"], printed["run_id"], printed["duration"], printed["version"]) == (
        "COMPLETED",
        "mine",
        20,
        "1.1",
    )
    assert printed["created"] <= printed["started"] <= printed["ended"]
    assert {parameter["name"]: parameter["by_reference"] for parameter in printed["parameters"]}["extra"] is True
    assert run(["show", job]) == 0
    assert "COMPLETED" in capsys.readouterr().out

    assert run(["results", job, "-o", str(tmp_path / "out")]) == 0
    (path,) = capsys.readouterr().out.split()
    assert Path(path).stat().st_size == 1234
    assert run(["logs", job]) == 0
    capsys.readouterr()

    assert run(["list", jobs, "--last", "1", "--phase", "COMPLETED", "--json"]) == 0
    assert [load["url"] for load in json.loads(capsys.readouterr().out)] == [job]
    assert run(["delete", job]) == 0
    capsys.readouterr()
    assert run(["show", job]) == 3
    assert "404" in capsys.readouterr().err


def test_a_misspelt_parameter_is_told(jobs: str, capsys: Capture) -> None:
    """D-022: on standard error with a guess.

    `show` has the defaults and versions of the run.
    """
    assert run(["submit", jobs, "SECNDS=1", "OUTPUT=7", "--wait"]) == 0
    out, err = capsys.readouterr()
    assert "SECNDS is no parameter here; did you mean SECONDS?" in err.splitlines()
    job = out.strip()
    assert run(["show", job, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["notices"] == ["SECNDS is no parameter here; did you mean SECONDS?"]
    assert printed["defaults"] == [["SECONDS", "0"], ["EXIT", "0"]] and len(printed["versions"]) == 2
    assert run(["show", job]) == 0
    text = capsys.readouterr().out
    assert "0 (default)" in text and "application version" in text and "did you mean SECONDS?" in text
    assert run(["submit", jobs, "OUTPUT=7"]) == 0
    assert capsys.readouterr().err == ""


def test_failure_and_abort(jobs: str, capsys: Capture) -> None:
    """U-084, U-107: exit code 1, and the reason in words."""
    assert run(["submit", jobs, "EXIT=3", "--wait"]) == 1
    assert "ended in ERROR: " in capsys.readouterr().err
    assert run(["submit", jobs, "SECONDS=60"]) == 0
    job = capsys.readouterr().out.strip()
    assert run(["abort", job]) == 0
    assert run(["wait", job]) == 1
    assert "ended in ABORTED" in capsys.readouterr().err


def test_no_run_then_run(jobs: str, capsys: Capture) -> None:
    """Nobody waits for an unstarted job.

    `run` starts it.
    """
    assert run(["submit", jobs, "--no-run"]) == 0
    job = capsys.readouterr().out.strip()
    assert run(["wait", job]) == 1
    assert "uws-service run" in capsys.readouterr().err
    assert run(["run", job]) == run(["wait", job]) == 0


def test_one_key_one_job(jobs: str, capsys: Capture) -> None:
    """The same Idempotency-Key finds the first job again.

    For another request it is refused.
    """
    command = ["submit", jobs, "SECONDS=0", "--no-run", "--idempotency-key", "k1"]
    assert run(command) == run(command) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert run(["submit", jobs, "SECONDS=1", "--no-run", "--idempotency-key", "k1"]) == 3
    assert "422" in capsys.readouterr().err


def test_wait_is_prompt_and_shows_progress(jobs: str) -> None:
    """U-151: the end is seen at once.

    The application's progress comes through.
    """
    with UwsClient(jobs) as client:
        job = client.create(jobs, [("SECONDS", "5")])
        client.run(job)
        fractions: list[float | None] = []
        document = client.wait(job, interval=1, on_change=lambda document: fractions.append(document.progress))
        assert document.phase == "COMPLETED" and document.ended is not None
        assert time.time() * 1000 - document.ended < 2000
        assert any(fraction is not None and 0 < fraction < 1 for fraction in fractions)


def test_a_waiter_survives_a_restart(tmp_path: Path) -> None:
    """C-26: the service stops and starts again while a client waits and the job runs."""
    service = Server(tmp_path, {"UWS_APPLICATIONS": json.dumps([str(PROBE)])})
    service.start()
    try:
        run_it = [sys.executable, "-m", "uws_service", "submit", f"{service.url}/probe/async", "SECONDS=3", "--wait"]
        waiter = subprocess.Popen(
            run_it, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=clean()
        )
        assert waiter.stdout is not None and waiter.stdout.readline().startswith(service.url)
        service.stop()
        assert service.process is not None and service.process.returncode == 0
        service.start()
        out, err = waiter.communicate(timeout=60)
        assert waiter.returncode == 0, out + err
    finally:
        service.stop()


# --- serve ------------------------------------------------------------------------------------------------------


def clean(**variables: str) -> dict[str, str]:
    """Return the environment without settings of the service."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UWS_")}
    return {**environment, "PYTHONPATH": str(ROOT), **variables}


def program(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "uws_service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=clean(**env),
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One line, and nothing was made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ended = program(tmp_path, "serve", "--port", str(listener.getsockname()[1]))
    assert ended.returncode == 3 and ended.stderr.count("\n") == 1, ended.stderr
    assert "can't listen at 127.0.0.1" in ended.stderr


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("port: 1", "settings.yaml:1: port: port is not known; "),
        ("limits: {wait: many}", "settings.yaml:1: limits.wait: "),
        ("a: [", "settings.yaml:"),
        ("- 1", "settings.yaml:1: must be a mapping"),
        ("applications: [no-such.yaml]", "no-such.yaml"),
        ("applications: [bad.yaml]", "bad.yaml:2: "),
    ],
)
@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_wrong_settings(config: str, words: str, command: str, tmp_path: Path) -> None:
    """Exit code 2.

    File, line and field, without a traceback.
    """
    (tmp_path / "settings.yaml").write_text(config)
    (tmp_path / "bad.yaml").write_text("name: bad\ncommand: 7\n")
    ended = program(tmp_path, command, "--config", "settings.yaml")
    assert ended.returncode == 2, ended
    assert words in ended.stderr and "Traceback" not in ended.stderr
    assert all(line.startswith("uws-service: ") for line in ended.stderr.splitlines() if "Serving at" not in line)


@pytest.mark.parametrize(
    "options",
    [
        ["--database", "mysql://h/d"],
        ["--database", "sqlite:////dev/null/x.db"],
        ["--database", "postgresql://me:geheim@127.0.0.1:1/d"],
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_database_that_does_not_work(options: list[str], workers: str, tmp_path: Path) -> None:
    """The service does not start.

    Says why, without the password.
    """
    ended = program(tmp_path, "serve", "--port", "0", "--workers", workers, *options)
    assert ended.returncode in (2, 3), ended
    assert "Traceback" not in ended.stderr and "geheim" not in ended.stderr
    assert any(line.startswith("uws-service: ") for line in ended.stderr.splitlines()), ended.stderr


def test_check_config_tells_what_it_found(tmp_path: Path) -> None:
    """Settings in force, applications.

    Passwords are not shown; nothing is made on the disk.
    """
    (tmp_path / "s.yaml").write_text(
        f"applications: [{PROBE}]\ndatabase: postgresql://me:geheim@db/uws\nlimits:\n  wait: 7\n"
    )
    ended = program(tmp_path, "check-config", "--config", "s.yaml", "--json", UWS_LIMITS__FILES="3")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["settings"]["database"] == "postgresql://me:***@db/uws"
    assert (report["settings"]["limits"]["wait"], report["settings"]["limits"]["files"]) == (7, 3)
    assert "probe" in [application["name"] for application in report["applications"]]
    text = program(tmp_path, "check-config", "--config", "s.yaml").stdout
    assert "limits.wait" in text and "probe" in text and "geheim" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    ("word", "remark"),
    [
        ("no-such-command", "there is no command 'no-such-command' in "),
        ("/nowhere/tool", "there is no command '/nowhere/tool' on this machine."),
        ("./tool", "the command './tool' is looked for in the job's folder; write an absolute path."),
        ("python", ""),
        ("{WORD}", ""),
    ],
)
def test_check_config_tells_of_commands_that_are_not_there(tmp_path: Path, word: str, remark: str) -> None:
    """What would fail only when a job runs is in the remarks, for sites that run processes."""
    descriptor = {
        "name": "tool",
        "title": "Tool",
        "description": "A tool.",
        "command": [word],
        "image": "r.example/tool:1",
        "results": [{"id": "result", "path": "result", "media_type": "text/plain"}],
    }
    descriptor["parameters"] = [{"name": "WORD", "arraysize": "*", "required": True, "description": "A word."}]
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool.yaml").write_text(json.dumps(descriptor))
    (tmp_path / "s.yaml").write_text("applications: [tool.yaml]\n")
    ended = program(tmp_path, "check-config", "--config", "s.yaml", "--json")
    assert ended.returncode == 0, ended.stderr
    remarks = json.loads(ended.stdout)["remarks"]
    assert [text.startswith(f"tool: {remark}") for text in remarks] == [True] * bool(remark), remarks
    pods = (
        '[{"name": "far", "kind": "kubernetes", "agent_url": "https://a.example", "agent_image": "r.example/agent:1"}]'
    )
    ended = program(tmp_path, "check-config", "--config", "s.yaml", "--json", UWS_SITES=pods)
    assert ended.returncode == 0 and json.loads(ended.stdout)["remarks"] == [], ended.stderr


def test_migrate(tmp_path: Path) -> None:
    """Makes the tables, and does no harm the second time; `serve` needs it unless told otherwise."""
    database = f"sqlite:///{tmp_path}/a.db"
    ended = program(tmp_path, "serve", "--port", "0", "--database", database, UWS_AUTO_MIGRATE="false")
    assert ended.returncode == 2 and "uws-service migrate" in ended.stderr, ended.stderr
    for words in ("was at nothing and is now at", "is up to date"):
        ended = program(tmp_path, "migrate", "--database", database)
        assert ended.returncode == 0 and words in ended.stderr, ended.stderr
    assert (tmp_path / "a.db").stat().st_size > 0


def test_options_of_serve(tmp_path: Path) -> None:
    """Options win over the environment and the file.

    Several processes; an orderly end.
    """
    port = free_port()
    (tmp_path / "s.yaml").write_text(f"applications: [{PROBE}]\ndata: from-file\n")
    options = ["--config", "s.yaml", "--data", "from-option", "--work", "w", "--base-url", "https://uws.example.org/x"]
    command = [sys.executable, "-m", "uws_service", "serve", "--port", str(port), "--workers", "2", *options]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=clean(UWS_DATA="from-env"), stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, server, tmp_path / "log")
        with UwsClient(url) as client:
            public = client.create(f"{url}/probe/async", [("SECONDS", "0")])
            assert public.startswith("https://uws.example.org/x/probe/async/")
            job = public.replace("https://uws.example.org/x", url)
            client.run(job)
            assert client.wait(job, timeout=30).phase == "COMPLETED"
            assert "server" not in client.http.get(job).headers
        assert (tmp_path / "from-option" / "uws.db").exists() and (tmp_path / "w").is_dir()
        assert not (tmp_path / "from-file").exists() and not (tmp_path / "from-env").exists()
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(120)
    assert code == 0, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the service says that it is ready."""
    deadline = time.monotonic() + 180
    with UwsClient(url) as client:
        while True:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                client.http.get(f"{url}/readyz", tries=1)
                return
            except Exception:
                time.sleep(0.05)


def test_stopping_answers_the_waiters(tmp_path: Path) -> None:
    """C-26: SIGTERM answers a blocked WAIT at once.

    The service ends with code 0.
    """
    service = Server(tmp_path, {"UWS_APPLICATIONS": json.dumps([str(PROBE)])})
    service.start()
    with UwsClient(service.url) as client:
        job = client.create(f"{service.url}/probe/async")
        waiter = subprocess.Popen(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", f"{job}?WAIT=40"],
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until_waiting(client, service.url)
    service.stop()
    assert service.process is not None and service.process.returncode == 0, service.tail()
    status, seconds = waiter.communicate(timeout=60)[0].split()
    assert status == "200" and float(seconds) < 35, service.tail()
    assert "Traceback" not in service.tail()


def wait_until_waiting(client: UwsClient, url: str) -> None:
    """Wait until a request blocks in WAIT."""
    deadline = time.monotonic() + 180
    while b"\nuws_waiters 1.0" not in client.http.get(f"{url}/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_usage(service: Server, jobs: str, capsys: Capture) -> None:
    """What a job used is in the accounts of the service, which goes on running."""
    assert run(["submit", jobs, "SECONDS=0.3", "OUTPUT=3000", "--wait"]) == 0
    job = capsys.readouterr().out.strip().rpartition("/")[2]
    data = ["--data", str(service.folder / "data")]
    end = time.monotonic() + 180
    while True:  # the account is closed just after the job has ended
        assert run(["usage", "--records", "--json", *data]) == 0
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        own_records = [record for record in records if record["job_id"] == job]
        if own_records:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    (record,) = own_records
    assert record["wall"] >= 0.3 and record["cpu"] > 0 and record["peak_memory"] > 1e6 and record["bytes_out"] >= 3000
    assert run(["usage", "--by", "application,site", "--csv", "--since", record["ended"], *data]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("application,site,jobs,attempts,wall_hours") and lines[0].startswith("probe,local,")
    assert run(["usage", *data]) == 0
    assert "wall hours" in capsys.readouterr().out
    assert run(["usage", "--until", "2001-01-01", *data]) == 0
    assert "No attempt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "owner,colour"], "colour: allowed are owner, group"),
        (["--since", "yesterday"], "'yesterday' is no date"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "must be later"),
        (["--csv", "--json"], "two ways"),
        (["--data", "nowhere"], "There is no database"),
    ],
)
def test_usage_that_is_wrong(options: list[str], words: str, capsys: Capture) -> None:
    assert run(["usage", *options]) == 2
    assert words in capsys.readouterr().err
