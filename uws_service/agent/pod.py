"""Entry of the agent in a pod.

``python -I -m uws_service.agent.pod`` (``… ready`` is its startup probe).

It runs as a native sidecar. First it claims the attempt and brings the inputs; then the probe lets Kubernetes start
the user's command; while that runs it passes on what the command says of its progress; when Kubernetes has ended the
command it sends SIGTERM here, and the results go to the service, with a report as the last word. Everything that can
fail for a while is tried again until the pod is killed. Nothing is kept between two starts but the files in the pod.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Mapping
from typing import Any

from uws_service.agent import closed_files, confined, digests, folder, outputs
from uws_service.agent.supervisor import Progress
from uws_service.agent.upstream import Refused, Unreachable, Upstream

PROGRESS_PAUSE_SECONDS = 0.5
"""Seconds between two looks at the command's progress."""
PROBE_SECONDS = 25.0
"""Seconds that the probe waits for the inputs; Kubernetes gives it thirty, then asks again."""
MEASURE_PAUSE_SECONDS = 2.0
"""Seconds between two looks at how much it has written; Kubernetes itself takes up to two minutes."""
MAX_PAUSE_SECONDS = 10.0
HAND_OVER_PAUSE_SECONDS = 30.0
"""Seconds between two hand-overs of one result while the command runs, if it is written again and again."""
SETTLED_SECONDS = 2.0
"""A file that was closed so many seconds before the end was not closed by the end itself."""


class Stopped(BaseException):
    """SIGTERM: the command has ended, or the pod must go."""


class Gone(Exception):
    """The attempt is over for the service.

    Whatever else it writes is not wanted.
    """


def say(text: str) -> None:
    """Write a line for the operator into the agent's log."""
    print(text, file=sys.stderr, flush=True)


class Agent:
    """One pod's agent.

    Parameters
    ----------
    root
        The folder with ``input``, ``output``, ``progress`` and ``agent``.
    upstream
        The service.
    launcher
        The program that runs the command.
    """

    def __init__(self, root: str, upstream: Upstream, launcher: str) -> None:
        self.root = root
        self.upstream = upstream
        self.launcher = launcher
        self.input = os.path.join(root, folder.INPUT)
        self.output = os.path.join(root, folder.OUTPUT)
        self.marker = ready_marker(root)
        self.progress = Progress(os.path.join(root, "progress", "progress"))
        self.closed = closed_files.Watch(self.output)
        self.early: dict[str, Mapping[str, Any]] = {}
        """What was handed over already, by result id."""
        self._handed_at: dict[str, float] = {}
        self.staged: list[dict[str, Any]] = []
        self.bytes_moved = 0
        """What was fetched, with digests."""
        self.stopping = False
        self.launch: Mapping[str, Any] = {}

    # -- the way through -------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run from the claim to the report."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            self.launch = self._insist("the claim", self._claim)
            if not os.path.exists(self.marker):
                self._stage_in()
            self.closed.start()
            with open(self.marker, "w", encoding="utf-8"):
                pass
            self._watch()
        except Gone as error:
            say(f"not wanted any more: {error}")
            self._idle()
            return 0
        except Stopped:
            pass
        self.stopping = True
        if not self.launch or not os.path.exists(self.marker):
            return 0  # the command never ran
        try:
            self._stage_out()
        except Gone as error:
            say(f"the results were refused: {error}")
        return 0

    def _stop(self, _number: int, _frame: object) -> None:
        if not self.stopping:
            self.stopping = True
            raise Stopped

    def _idle(self) -> None:
        """Stay unready for ever.

        Kubernetes does not start the command, and the service removes the pod.
        """
        with contextlib.suppress(Stopped):
            while True:
                time.sleep(3600)

    def _insist(self, action: str, ask: Any) -> Any:
        """Ask until the service answers.

        `Gone` if it refuses.
        """
        pause = 0.2
        while True:
            try:
                return ask()
            except Unreachable as error:
                say(f"{action}: {error}; again in {pause:.1f} s")
                time.sleep(pause)
                pause = min(MAX_PAUSE_SECONDS, pause * 1.7)
            except Refused as error:
                raise Gone(str(error)) from None

    # -- stage-in --------------------------------------------------------------------------------------------------

    def _claim(self) -> Any:
        launch = self.upstream.post("claim", {})
        self.upstream.renew_token(launch.get("renew_after"))
        return launch

    def _stage_in(self) -> None:
        """Bring the inputs.

        What goes wrong with one is the attempt's end, and the command never starts.
        """
        try:
            self._bring_launcher()
            data = self.launch["data"]
            if data.get("problem"):
                raise Problem(data["problem"])
            for index, item in enumerate(self.launch["inputs"]):
                self._bring(index, item)
            if data["command"]:
                folder.write_token(self.input, data["command"], 0o644)  # the command may run as somebody else
            with open(os.path.join(self.input, "parameters.json"), "w", encoding="utf-8") as file:
                file.write(self.launch["parameters"])
        except Problem as error:
            problem = str(error)
            say(f"stage-in failed: {problem}")
            self._insist("the report", lambda: self._report([], "StageIn", problem))
            self._idle()
            raise Stopped from None

    def _bring_launcher(self) -> None:
        """Bring the launcher into the pod.

        The command's image may hold nothing but the command, so what runs and measures it comes from this one.
        """
        target = os.path.join(self.root, "bin", folder.LAUNCHER)
        try:
            shutil.copyfile(self.launcher, target)
            os.chmod(target, 0o755)
        except OSError as error:
            raise Problem(f"The image of the site's agent is not complete: {error}") from None

    def _bring(self, index: int, item: Mapping[str, Any]) -> None:
        # An earlier start may have left a link in the file's place.
        head, name = os.path.split(os.path.join(self.input, item["path"]))
        path = os.path.join(os.path.realpath(head), name)
        if name in ("", ".", "..") or not path.startswith(os.path.realpath(self.input) + "/"):
            raise Problem(f"{item['name']}: the path {item['path']!r} leaves the input folder.")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if item.get("mount"):
            self._link(index, item, path)
            return
        try:
            if item["url"]:
                self._fetch(item, path)
            else:
                self._insist(item["name"], lambda: self.upstream.download(f"inputs/{index}", path))
        except Gone as error:
            raise Problem(f"{item['name']}: {error}") from None
        except OSError as error:
            raise Problem(f"{item['name']}: {error.strerror or error}") from None

    def _link(self, index: int, item: Mapping[str, Any], path: str) -> None:
        """Link a mounted file into the input folder, where the cluster's own mounts would be in the agent's way."""
        source = os.path.join(self.root, folder.DATA, str(index))
        _check_mount(item, source)
        with contextlib.suppress(FileExistsError):  # by an earlier start of this agent
            os.symlink(source, path)

    def _fetch(self, item: Mapping[str, Any], path: str) -> None:
        from uws_service.agent.fetch import FetchError, Policy  # TLS: slow to import, and seldom wanted
        from uws_service.agent.replicas import fetch_input

        policy = self.launch["fetch"]
        allowed = Policy(
            allow_private=policy["allow_private"], allow_hosts=tuple(policy["allow_hosts"]), timeout=policy["timeout"]
        )
        try:
            for problem in fetch_input(item, path, allowed, self.launch["data"]["tokens"]):
                say(f"{item['name']}: {problem}")
                with contextlib.suppress(Unreachable, Refused):
                    text = f"another replica was taken: {problem}"
                    self.upstream.post("progress", {"fraction": 0.0, "text": text[:200]})
        except FetchError as error:
            raise Problem(f"{item['name']}: {error}") from None
        if item["path"] in self.launch.get("away", ()):
            self.bytes_moved += os.stat(path).st_size
        if digests.is_to_be_described(item):
            self.staged.append(digests.described(item, path))

    # -- while the command runs ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Pass progress on, and see that the results do not outgrow their limit, until SIGTERM."""
        measured = time.monotonic()
        while True:
            time.sleep(PROGRESS_PAUSE_SECONDS)
            self.closed.read()
            if time.monotonic() - measured >= MEASURE_PAUSE_SECONDS:
                self._look_at_disk()
                self._hand_over_closed()
                measured = time.monotonic()
            progress = self.progress.read()
            if progress is not None:
                with contextlib.suppress(Unreachable, Refused):  # the next line will tell as much
                    self.upstream.post("progress", {"fraction": progress[0], "text": progress[1]})

    def _look_at_disk(self) -> None:
        """Tell the service of too much output, which ends the attempt; nothing of it is handed over."""
        limit = self.launch["max_output"]
        size, files = outputs.measure([self.output], limit)
        if limit and size > limit:
            problem = f"The results are larger than {limit} bytes."
        elif files > outputs.MAX_FILES:
            problem = f"The command wrote more than {outputs.MAX_FILES} files."
        else:
            return
        say(problem)
        self._insist("the report", lambda: self._report([], "OutputTooLarge", problem))
        raise Gone(problem)

    def _hand_over_closed(self) -> None:
        """Hand over results that the command has closed.

        So that there is less to do at its end.

        What is written again is handed over again; whether it was is told by the digest. Patterns wait for the end,
        when all of their files are there.
        """
        now = time.monotonic()
        for want in self.launch["results"]:
            path = os.path.join(self.output, want["path"])
            is_due = now - self._handed_at.get(want["id"], -HAND_OVER_PAUSE_SECONDS) >= HAND_OVER_PAUSE_SECONDS
            if "*" in want["path"] or not is_due or not self.closed.was_closed(path, now - SETTLED_SECONDS):
                continue
            self._handed_at[want["id"]] = now
            fields = {"id": want["id"], "media_type": want["media_type"]}
            with contextlib.suppress(outputs.StageOutError, OSError, Unreachable, Refused):
                outputs.describe(self.root, path, fields, deliver=self._hand_over)

    def _is_handed(self, name: str, result: Mapping[str, Any]) -> bool:
        earlier = self.early.get(name)
        return earlier is not None and (earlier["size"], earlier["sha256"]) == (result["size"], result["sha256"])

    # -- stage-out -------------------------------------------------------------------------------------------------

    def _stage_out(self) -> None:
        """Hand over the results, then say that this was all."""
        settled = time.monotonic() - SETTLED_SECONDS
        self.closed.read()
        progress = self.progress.read()
        complaint: tuple[str | None, str] = (None, "")
        expected = self.launch["results"]

        def deliver(result: Mapping[str, Any], open_file: outputs.Found) -> bool:
            nonlocal complaint
            try:
                self._insist(result["id"], lambda: self._hand_over(result, open_file))
            except Gone as error:
                complaint = ("StageOut", f"{result['id']}: {error}")
                return False
            return True

        try:
            results = outputs.collect_results(self.root, expected, deliver=deliver)
        except outputs.StageOutError as error:
            results = outputs.collect_results(self.root, expected, incomplete=(), deliver=deliver)
            complaint = ("StageOut", str(error))
        handed = []
        for result in results:
            is_settled = self.closed.was_closed(os.path.join(self.root, result["source"]), settled)
            handed.append(
                {key: result[key] for key in ("id", "media_type", "size", "sha256")} | {"settled": is_settled}
            )
        if progress is not None:
            with contextlib.suppress(Unreachable, Refused):
                self.upstream.post("progress", {"fraction": progress[0], "text": progress[1]})
        self._insist("the report", lambda: self._report(handed, *complaint))

    def _hand_over(self, result: Mapping[str, Any], open_file: outputs.Found) -> bool:
        """Send an open result, unless the service has it.

        Until its answer the service may have either.
        """
        if not self._is_handed(result["id"], result):
            self.early.pop(result["id"], None)
            self.upstream.upload(f"outputs/{result['id']}", open_file.content(), open_file.sha256)
            self.early[result["id"]] = result
        return True

    def _report(self, handed: list[dict[str, Any]], reason: str | None, message: str) -> None:
        self.upstream.post(
            "report",
            {
                "outputs": handed,
                "reason": reason,
                "message": message,
                "bytes_in": outputs.measure([self.input], 0)[0],
                "bytes_moved": self.bytes_moved,
                "inputs": self.staged,
                **usage(os.path.join(self.root, "progress", folder.USAGE)),
            },
        )


class Problem(Exception):
    """An input can't be had.

    The text is for the job's owner.
    """


def _check_mount(item: Mapping[str, Any], path: str) -> None:
    """Raise `Problem` unless a file is mounted as the catalogue describes it."""
    place = f"the storage area {item['mount'].get('area')}"
    try:
        entry = os.stat(path)
    except OSError as error:
        raise Problem(f"{item['name']} can't be had from {place}: {error.strerror or error}") from None
    if not stat.S_ISREG(entry.st_mode):  # what is not there is made as a folder by the cluster's own mount
        raise Problem(f"{item['name']} is no file at {place}.")
    if item.get("size") is not None and entry.st_size != item["size"]:
        raise Problem(f"{item['name']} has {entry.st_size} bytes instead of {item['size']} at {place}.")


def usage(path: str) -> dict[str, float]:
    """Return seconds of CPU and bytes of memory.

    ``launch.c`` wrote them; there are none if the command has spoilt its file.
    """
    try:
        words = confined.read_small(*os.path.split(path), limit=1024).split()
        cpu, memory = (min(int(word), 2**53) for word in words if word.isdigit())
    except (OSError, ValueError):
        return {}
    return {"cpu": cpu / 1e6, "peak_memory": memory}


def ready_marker(root: str) -> str:
    """Return the file that says that the inputs are there and the agent listens."""
    return os.path.join(root, "agent", "ready")


def probe(root: str) -> int:
    """Wait for the agent.

    0 once the command may start.
    """
    end = time.monotonic() + PROBE_SECONDS
    while not os.path.exists(ready_marker(root)):
        if time.monotonic() > end:
            return 1
        time.sleep(0.02)
    return 0


def main(arguments: list[str]) -> int:
    """Run the agent, or its probe."""
    root = os.environ["UWS_AGENT_ROOT"]
    if arguments == ["ready"]:
        return probe(root)
    os.umask(0o022)
    upstream = Upstream(
        os.environ["UWS_AGENT_URL"], os.environ["UWS_AGENT_TOKEN"], os.environ.get("UWS_AGENT_CA") or None
    )
    launcher = os.environ.get("UWS_AGENT_LAUNCHER") or os.path.join(sys.prefix, "bin", folder.LAUNCHER)
    return Agent(root, upstream, launcher).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
