"""The command line.

What it prints, where, with which exit code, and how quickly it is there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.client.foreign import UWS, Foreign, Reply, Request, Runner, job, xml
from tests.server import ROOT, free_port
from uws_service import __version__
from uws_service.cli import _command, cli_reference, run
from uws_service.cli.reference import commands_of
from uws_service.client import parse_instant

HEAVY = ("sqlalchemy", "kubernetes", "pyvo", "astropy", "starlette", "lxml", "httpx2", "rich", "uvicorn")
SUMMARY = "<w:errorSummary type='fatal' hasDetail='false'><w:message>{}</w:message></w:errorSummary>"
Capture = pytest.CaptureFixture[str]


def program(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "uws_service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )


def only_line(capture: Capture) -> str:
    """Return what was said on standard error.

    One line, nothing on standard output.
    """
    out, err = capture.readouterr()
    assert out == "" and err.startswith("uws-service: ") and err.count("\n") == 1, (out, err)
    return err


# --- the program itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--help"], ["serve", "--help"], ["--version"]])
def test_help_is_there_at_once(arguments: list[str]) -> None:
    """Help imports nothing heavy."""
    code = (
        "import sys\nfrom uws_service.cli import run\n"
        f"status = run({arguments!r})\nprint([name for name in {HEAVY!r} if name in sys.modules], status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert ended.stdout.splitlines()[-1] == "[] 0", ended.stdout + ended.stderr


def test_the_client_needs_nothing_of_the_service() -> None:
    """The client imports no library of the server."""
    code = f"import sys, uws_service.client\nprint([name for name in {HEAVY[:6]!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert ended.stdout == "[]\n", ended.stdout + ended.stderr


def test_version_and_help_of_the_program() -> None:
    """Both ways to the help, and the version.

    Exit code 0.
    """
    assert program("--version").stdout == f"uws-service {__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        ended = program(*arguments)
        assert ended.returncode == 0 and "check-config" in ended.stdout and ended.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sumbit"], "No such command 'sumbit'"),
        (["submit"], "Missing argument 'URL'"),
        (["submit", "example.org/async"], "must be a URL"),
        (["submit", "http://h/async", "RADIUS"], "'RADIUS' must have the form NAME=VALUE"),
        (["submit", "http://h/async", "--file", "A=@/no/such/file"], "there is no file /no/such/file"),
        (["submit", "http://h/async", "--duration", "soon"], "'soon' must be a number of seconds"),
        (["submit", "http://h/async", "--destruction", "2026-13-01"], "must be an instant"),
        (["submit", "http://h/async", "--no-run", "--wait"], "makes no sense"),
        (["list", "http://h/async", "--last", "0"], "--last"),
        (["show", "http://h/1", "--header", "nonsense"], "Name: value"),
        (["show", "http://h/1", "--header", "A: b\r\nC: d"], "Name: value"),
        (["logs", "http://h/1", "--stream", "stdin"], "must be stdout, stderr or both"),
        (["serve", "--port", "70000"], "65535"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_command_lines(arguments: list[str], words: str, capsys: Capture) -> None:
    """Exit code 2, and one line that says what is wrong and where the help is."""
    assert run(arguments) == 2
    line = only_line(capsys)
    assert words in line and "--help` tells more" in line


def test_nobody_listens(capsys: Capture) -> None:
    """Exit code 3, one line."""
    assert run(["show", f"http://127.0.0.1:{free_port()}/jobs/1"]) == 3
    assert "can't connect" in only_line(capsys)


def test_traceback_only_on_demand() -> None:
    """``--debug`` shows where.

    Without it there is never a traceback.
    """
    url = f"http://127.0.0.1:{free_port()}/jobs/1"
    assert "Traceback" not in program("show", url).stderr
    assert "Traceback" in program("--debug", "show", url).stderr


def test_reader_of_a_pipe_that_ends() -> None:
    """``uws-service … | head`` is no error."""
    entries = "".join(f'<j:jobref id="job-{n}"><j:phase>ERROR</j:phase></j:jobref>' for n in range(5000))
    document = f'<j:jobs xmlns:j="{UWS}" version="1.1">{entries}</j:jobs>'
    with Foreign(lambda _: xml(document)) as server:
        command = f"{sys.executable} -m uws_service list {server.url}/jobs 2>err | head -1; cat err"
        ended = subprocess.run(
            ["bash", "-c", f"cd $(mktemp -d) && PYTHONPATH={ROOT} {command}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in ended.stdout + ended.stderr and "Error" not in ended.stdout + ended.stderr, ended


# --- jobs -------------------------------------------------------------------------------------------------------


class Service:
    """A foreign service that makes one job and remembers what it was told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runner = Runner(("EXECUTING", 0.3), ("COMPLETED", 0))
        self.running = False

    def __call__(self, request: Request) -> Reply:
        if request.method == "POST":
            self.running = self.running or request.path.endswith("/phase")
            return Reply(303, b"", {"Location": "/jobs/42"})
        if not self.running:
            return xml(job("PENDING"))
        return self.runner(request)


def test_submit_and_wait(tmp_path: Path, capsys: Capture) -> None:
    """Everything that submit can send reaches the server in a portable form (U-026, U-029, U-031, U-122, D-026)."""
    table, second = tmp_path / "t.vot", tmp_path / "o.csv"
    table.write_text("<VOTABLE/>")
    second.write_text("ra,dec\n1,2\n")
    with Foreign() as server:
        server.answer = Service(server.url)
        options = ["--file", f"IMAGE=@{second}", "--upload", f"t1={table}", "--upload", "t2=https://h.org/x?a=b"]
        times = ["--duration", "1.5h", "--destruction", "2030-01-31 12:00:00", "--run-id", "näme"]
        code = run(["submit", f"{server.url}/jobs", "RADIUS=5", "Q=a=b c", *options, *times, "--wait"])
        create, *requests_after = server.requests
    out, err = capsys.readouterr()
    assert (code, out) == (0, f"{server.url}/jobs/42\n")
    assert err.split() == ["EXECUTING", "COMPLETED"]
    head = f"Content-Type: {create.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + create.body).get_payload()
    assert isinstance(parts, list)
    bodies = {str(p.get_param("name", header="content-disposition")): p.get_payload(decode=True) for p in parts}
    assert bodies == {
        "RADIUS": b"5",
        "Q": b"a=b c",
        "UPLOAD": b"t1,param:t1;t2,https://h.org/x?a=b",
        "RUNID": "näme".encode(),
        "IMAGE": second.read_bytes(),
        "t1": table.read_bytes(),
    }
    assert [(request.path, request.form) for request in requests_after if request.method == "POST"] == [
        ("/jobs/42/executionduration", {"EXECUTIONDURATION": ["5400"]}),
        ("/jobs/42/destruction", {"DESTRUCTION": ["2030-01-31T12:00:00.000Z"]}),
        ("/jobs/42/phase", {"PHASE": ["RUN"]}),
    ]


def test_submit_without_run_and_with_a_key(capsys: Capture) -> None:
    """Only one request that makes something.

    The key is the one that was given.
    """
    with Foreign(lambda _: Reply(303, b"", {"Location": "/jobs/7"})) as server:
        code = run(["submit", f"{server.url}/jobs", "A=1", "--no-run", "--idempotency-key", "mine"])
        posts = [request for request in server.requests if request.method == "POST"]
        assert [post.headers["idempotency-key"] for post in posts] == ["mine"]
        assert {request.method for request in server.requests} <= {"POST", "GET"}
    assert (code, capsys.readouterr().out) == (0, f"{server.url}/jobs/7\n")


def test_a_table_named_like_a_parameter(tmp_path: Path) -> None:
    """The part's name gives way, the table keeps its own (D-026)."""
    table = tmp_path / "t"
    table.write_text("x")
    with Foreign(lambda _: Reply(303, b"", {"Location": "/jobs/7"})) as server:
        run(["submit", f"{server.url}/jobs", "ra=1", "--upload", f"RA={table}", "--no-run"])
        assert b"RA,param:upload_RA\r\n" in server.requests[0].body and b'name="upload_RA"' in server.requests[0].body


def test_a_job_that_was_made_is_not_lost_from_sight(capsys: Capture) -> None:
    """A refused RUN still names the job."""

    def answer(request: Request) -> Reply:
        return (
            Reply(400, "RADIUS is missing")
            if request.path.endswith("/phase")
            else Reply(303, b"", {"Location": "/j/9"})
        )

    with Foreign(answer) as server:
        assert run(["submit", f"{server.url}/jobs"]) == 3
    line = only_line(capsys)
    assert "RADIUS is missing" in line and f"the job was made: {server.url}/j/9" in line


@pytest.mark.parametrize(
    ("phase", "content", "code", "words"),
    [
        ("COMPLETED", "", 0, ""),
        ("ERROR", SUMMARY.format("No luck"), 1, "ERROR: No luck"),
        ("ABORTED", "", 1, "ended in ABORTED"),
        ("ARCHIVED", "", 1, "ended in ARCHIVED"),
        ("PENDING", "", 1, "will not start until it is told to"),
    ],
)
def test_exit_codes_of_wait(phase: str, content: str, code: int, words: str, capsys: Capture) -> None:
    """0 for COMPLETED only.

    Why a job failed is said on standard error, so it can be seen in a batch log.
    """
    with Foreign(lambda _: xml(job(phase, content))) as server:
        assert run(["wait", f"{server.url}/jobs/42"]) == code
    out, err = capsys.readouterr()
    assert out == "" and words in err


def test_detail_of_an_error_is_fetched(capsys: Capture) -> None:
    """U-086: hasDetail says that {job}/error has more."""

    def answer(request: Request) -> Reply:
        if request.path.endswith("/error"):
            return Reply(200, "Failed: column RA is missing in line 3", {"Content-Type": "text/plain"})
        summary = "<w:errorSummary type='fatal' hasDetail='true'><w:message>Failed</w:message></w:errorSummary>"
        return xml(job("ERROR", summary))

    with Foreign(answer) as server:
        assert run(["wait", f"{server.url}/jobs/42"]) == 1
        assert "ERROR: Failed: column RA is missing in line 3" in capsys.readouterr().err
        assert run(["show", f"{server.url}/jobs/42"]) == 0
        assert "column RA is missing" in capsys.readouterr().out


def test_wait_gives_up(capsys: Capture) -> None:
    """Exit code 4: the job goes on."""
    with Foreign(Runner(("EXECUTING", 60), ("COMPLETED", 0))) as server:
        assert run(["wait", f"{server.url}/jobs/42", "--timeout", "0.5"]) == 4
    assert "still EXECUTING after 0.5 s" in capsys.readouterr().err


def test_wait_as_json(capsys: Capture) -> None:
    """A failed job is one JSON document too."""
    with Foreign(lambda _: xml(job("ABORTED", "<w:creationTime>2026-01-02T03:04:05Z</w:creationTime>"))) as server:
        assert run(["wait", f"{server.url}/jobs/42", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["phase"], printed["created"], printed["ended"]) == ("ABORTED", "2026-01-02T03:04:05.000Z", None)


def test_list(capsys: Capture) -> None:
    """Filters are sent, and URLs are never cut."""
    name = "a" * 150
    document = (
        f'<j:jobs xmlns:j="{UWS}" version="1.1"><j:jobref id="{name}"><j:phase>ERROR</j:phase>'
        "<j:creationTime>2026-01-02T03:04:05.678Z</j:creationTime></j:jobref></j:jobs>"
    )
    with Foreign(lambda _: xml(document)) as server:
        url = f"{server.url}/jobs"
        assert run(["list", url, "--phase", "ERROR", "--phase", "held", "--after", "2026-01-01", "--last", "5"]) == 0
        query = {"PHASE": ["ERROR", "HELD"], "AFTER": ["2026-01-01T00:00:00.000Z"], "LAST": ["5"]}
        assert server.requests[0].query == query
        out, err = capsys.readouterr()
        assert f"{url}/{name}\n" in out and "2026-01-02T03:04:05.678Z" in out and err == "1 job\n"
        assert run(["list", url, "--json", "--after", "2h"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        assert (entry["id"], entry["phase"], entry["created"]) == (name, "ERROR", "2026-01-02T03:04:05.678Z")
        assert (parse_instant(server.requests[1].query["AFTER"][0]) or 0) > 1767323045678


def test_show_does_not_let_the_server_steer_the_terminal(capsys: Capture) -> None:
    """Control characters and rich's markup in a server's words are only characters."""
    content = "<w:runId>[red]x[/red] &#x9b;31m</w:runId>" + SUMMARY.format("[bold]no[/nonsense]&#x202e;")
    with Foreign(lambda _: xml(job("ERROR", content))) as server:
        assert run(["show", f"{server.url}/jobs/42"]) == 0
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out and "[bold]no[/nonsense]" in out
    assert not re.search(r"[\x1b\x9b\u202e]", out)


def test_show_refused(capsys: Capture) -> None:
    """Exit code 3 and what the server said."""
    with Foreign(
        lambda _: Reply(403, "This job belongs\x1b[31m to somebody else.", {"Content-Type": "text/plain"})
    ) as server:
        assert run(["show", f"{server.url}/jobs/42"]) == 3
    line = only_line(capsys)
    assert "answers 403 Forbidden: This job belongs [31m to somebody else." in line and "\x1b" not in line


def test_credentials_from_environment_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token from the environment, headers from options.

    The option wins.
    """
    monkeypatch.setenv("UWS_CLIENT_TOKEN", "t0ken\n")
    with Foreign(lambda _: xml(job("HELD"))) as server:
        run(["show", f"{server.url}/jobs/42", "-H", "X-One: 1"])
        run(["show", f"{server.url}/jobs/42", "-H", "Authorization: Basic abc"])
        first, second = server.requests
    assert (first.headers["authorization"], first.headers["x-one"]) == ("Bearer t0ken", "1")
    assert second.headers["authorization"] == "Basic abc"


def test_run_abort_delete(capsys: Capture) -> None:
    """U-026, U-027, U-023."""
    with Foreign(lambda _: Reply(303, b"", {"Location": "/jobs"})) as server:
        base = f"{server.url}/jobs"
        assert (
            run(["run", f"{base}/1"]) == run(["abort", f"{base}/1"]) == run(["delete", f"{base}/1", f"{base}/2"]) == 0
        )
        assert [(request.method, request.path, request.body) for request in server.requests] == [
            ("POST", "/jobs/1/phase", b"PHASE=RUN"),
            ("POST", "/jobs/1/phase", b"PHASE=ABORT"),
            ("DELETE", "/jobs/1", b""),
            ("DELETE", "/jobs/2", b""),
        ]


# --- results and logs -------------------------------------------------------------------------------------------

RESULTS = (
    "<w:results><w:result id='result' l:href='/d/1' size='5' mime-type='application/x-votable+xml'/>"
    "<w:result id='../../.evil' l:href='/d/2' mime-type='text/csv'/><w:result id='RESULT.vot' l:href='d3'/></w:results>"
)


def results(request: Request) -> Reply:
    return Reply(200, b"12345") if request.path != "/jobs/42" else xml(job("COMPLETED", RESULTS))


def test_results_are_listed_and_downloaded(tmp_path: Path, capsys: Capture) -> None:
    """U-081: names are made safe and distinct, nothing leaves the folder, nothing is overwritten unasked."""
    folder = tmp_path / "new" / "out"
    with Foreign(results) as server:
        url = f"{server.url}/jobs/42"
        assert run(["results", url, "--json"]) == 0
        assert [load["href"] for load in json.loads(capsys.readouterr().out)] == [
            f"{server.url}/d/1",
            f"{server.url}/d/2",
            f"{url}/d3",
        ]
        assert run(["results", url, "-o", str(folder)]) == 0
        names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
        assert names == ["result.vot", "_.._.evil", "RESULT-2.vot"]
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []
        assert all(path.read_bytes() == b"12345" for path in folder.iterdir())
        assert run(["results", url, "-o", str(folder)]) == 2
        assert "--force replaces it" in only_line(capsys)
        assert run(["results", url, "result", "-o", str(folder), "--force"]) == 0
        capsys.readouterr()
        assert run(["results", url, "nothing"]) == 3
        assert "it has: result, " in only_line(capsys)


def test_a_result_of_the_wrong_size(tmp_path: Path, capsys: Capture) -> None:
    """Exit code 3, and no file is left."""
    with Foreign(lambda request: Reply(200, b"1234") if request.path == "/d/1" else results(request)) as server:
        assert run(["results", f"{server.url}/jobs/42", "result", "-o", str(tmp_path)]) == 3
    assert "has 4 bytes; the job's document says 5" in only_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_logs(capfd: pytest.CaptureFixture[str]) -> None:
    """Links in jobInfo of our own namespace.

    Output to output, error to error.
    """
    info = (
        '<w:jobInfo xmlns:o="urn:uws-service:jobinfo:1"><o:log name="stdout" l:href="/l/out"/>'
        '<o:log name="stderr" l:href="/l/err"/></w:jobInfo>'
    )

    def answer(request: Request) -> Reply:
        texts = {"/l/out": "one\n", "/l/err": "two\n"}
        return Reply(200, texts[request.path]) if request.path in texts else xml(job("EXECUTING", info))

    with Foreign(answer) as server:
        assert run(["logs", f"{server.url}/jobs/42"]) == 0
        assert capfd.readouterr() == ("one\n", "two\n")
        assert run(["logs", f"{server.url}/jobs/42", "--stream", "stderr"]) == 0
        assert capfd.readouterr() == ("", "two\n")


def test_a_service_without_logs(capsys: Capture) -> None:
    """Exit code 3: most UWS services have none."""
    with Foreign(lambda request: Reply(404) if "logs" in request.path else xml(job("COMPLETED"))) as server:
        assert run(["logs", f"{server.url}/jobs/42"]) == 3
        assert server.paths("GET")[1:] == ["/jobs/42/logs/stdout", "/jobs/42/logs/stderr"]
    assert "has no logs" in only_line(capsys)


# --- documentation ----------------------------------------------------------------------------------------------


def test_the_reference_has_everything() -> None:
    """Each command and each option is there."""
    text = cli_reference()
    assert "`--release`" in text.split("### uws-service sites\n")[1].split("\n### ")[0]  # a group that does something
    for name, command in commands_of(_command()):
        section = text.split(f"### uws-service {name}\n")[1].split("\n### ")[0]
        for parameter in command.params:
            assert all(f"`{option}`" in section for option in parameter.opts if option.startswith("-")), parameter.name
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
    for line in text.splitlines():
        assert not line.startswith("|") or line.replace("\\|", "").count("|") == 3 or "code" in text[: text.index(line)]
