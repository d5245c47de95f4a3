"""The process in which HTCondor's library runs, one for each site.

The library is C++, has one configuration for a whole process and may end it; so it does not run in the service's own.
Requests come by standard input and answers go out by standard output, both as lines of JSON; the order of the answers
is that of their ends. It imports nothing of the service, ends with the service, and keeps nothing that can't be lost:
a job whose files were not brought is one that never runs.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 4
LOG_BYTES = 64 * 1024


class Pool:
    """The schedd that jobs are handed to.

    Parameters
    ----------
    collector
        Host and port of the pool's collector.
    schedd
        Name of the schedd; empty: the only one of the pool.
    work
        Folder for the jobs' files on their way; nobody else may read it.
    """

    def __init__(self, collector: str, schedd: str, work: str) -> None:
        import htcondor2

        self.library: Any = htcondor2
        self.collector = collector
        self.name = schedd
        self.work = os.path.realpath(work)
        self._lock = threading.Lock()
        self._schedd: Any = None
        self._created: dict[str, tuple[Any, str]] = {}
        """What `submit` returned and the folder with the files, of jobs that can't run yet."""

    def schedd(self) -> Any:
        """Return the schedd, looked up once."""
        with self._lock:
            if self._schedd is None:
                self._schedd = self.library.Schedd(self._locate())
            return self._schedd

    def _locate(self) -> Any:
        condition = f"Name == {json.dumps(self.name)}" if self.name else "true"
        collector = self.library.Collector(self.collector)
        names = ["Name", "MyAddress", "CondorVersion"]
        found = collector.query(self.library.AdType.Schedd, constraint=condition, projection=names)
        if len(found) != 1:
            others = ", ".join(sorted(str(ad["Name"]) for ad in found)) or "none"
            wanted = f"named {self.name}" if self.name else "(the setting `schedd` says which)"
            raise LookupError(f"the pool has {len(found)} schedds {wanted}: {others}")
        return found[0]

    def lose(self) -> None:
        """Look the schedd up again at the next call: it may have another address."""
        with self._lock:
            self._schedd = None

    # -- calls -----------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Return the schedd's name and version, asked for now."""
        ad = self._locate()
        self.schedd().query(constraint="false", projection=["ClusterId"])
        return {"name": str(ad["Name"]), "version": str(ad["CondorVersion"])}

    def slots(self) -> list[dict[str, Any]]:
        """Return what kinds of machines the pool has."""
        names = ["Machine", "Cpus", "TotalSlotCpus"]
        ads = self.library.Collector(self.collector).query(
            self.library.AdType.Startd, constraint='SlotType =!= "Dynamic"', projection=names
        )
        return [{name: _plain(ad, name) for name in names} for ad in ads]

    def submit(self, description: Mapping[str, str], files: Mapping[str, str]) -> str:
        """Create a job that waits for its files, and return its id."""
        folder = tempfile.mkdtemp(dir=self.work)
        for name, content in files.items():
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
                file.write(base64.b64decode(content))
        try:
            created = self.schedd().submit(self.library.Submit({**description, "initialdir": folder}), spool=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        handle = f"{created.cluster()}.{created.first_proc()}"
        self._created[handle] = created, folder
        return handle

    def spool(self, handle: str) -> None:
        """Bring the files of a job that `submit` of this process created: from now on it may run."""
        created, folder = self._created.pop(handle)
        try:
            self.schedd().spool(created)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def query(self, constraint: str, projection: list[str]) -> list[dict[str, Any]]:
        """Return attributes of the jobs in the queue."""
        ads = self.schedd().query(constraint=constraint, projection=projection)
        return [{name: _plain(ad, name) for name in projection} for ad in ads]

    def history(self, constraint: str, projection: list[str], match: int) -> list[dict[str, Any]]:
        """Return attributes of jobs that have left the queue."""
        ads = self.schedd().history(constraint=constraint, projection=projection, match=match)
        return [{name: _plain(ad, name) for name in projection} for ad in ads]

    def remove(self, constraint: str, condition: str, reason: str) -> None:
        """Ask the jobs to end that fulfil a condition too; it is no fault if there are none."""
        for handle in [handle for handle in self._created if constraint == _constraint(handle)]:
            _, folder = self._created.pop(handle)
            shutil.rmtree(folder, ignore_errors=True)
        both = f"{constraint} && {condition}"
        self._change(both, lambda schedd: schedd.act(self.library.JobAction.Remove, both, reason))

    def edit(self, constraint: str, name: str, value: str) -> None:
        """Change an attribute of jobs.

        It is no fault if there are none.
        """
        self._change(constraint, lambda schedd: schedd.edit(constraint, name, value))

    def _change(self, constraint: str, change: Callable[[Any], Any]) -> None:
        """Change jobs if there are any.

        The library makes an error of none, and of those that just went.
        """
        schedd = self.schedd()
        if not schedd.query(constraint=constraint, projection=["ClusterId"]):
            return
        try:
            change(schedd)
        except Exception:
            if schedd.query(constraint=constraint, projection=["ClusterId"]):
                raise

    def retrieve(self, handle: str, name: str) -> str:
        """Return the end of a file that a job has left, in base64; empty if it can't be had."""
        ads = self.schedd().query(constraint=_constraint(handle), projection=["SUBMIT_Iwd"])
        folder = os.path.realpath(str(ads[0].get("SUBMIT_Iwd", ""))) if ads else ""
        if os.path.dirname(folder) != self.work:  # the library writes the files where the ClassAd says
            return ""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            self.schedd().retrieve(_constraint(handle))
            with open(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - LOG_BYTES))
                return base64.b64encode(file.read(LOG_BYTES)).decode("ascii")
        except FileNotFoundError:
            return ""
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _constraint(handle: str) -> str:
    cluster, _, proc = handle.partition(".")
    return f"ClusterId == {int(cluster)} && ProcId == {int(proc)}"


def _plain(ad: Any, name: str) -> Any:
    """Return an attribute as JSON has it.

    None for what is not there or is no plain value.
    """
    try:
        value = ad.eval(name)
    except Exception:
        return None
    return value if isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins" else None


def answer(pool: Pool, call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one call."""
    action: Callable[..., Any] = getattr(pool, call)
    try:
        return {"value": action(**arguments)}
    except KeyError as error:
        return {"error": f"this process did not create the job {error}", "kind": "Unknown"}
    except LookupError as error:
        return {"error": str(error), "kind": "Lookup"}
    except Exception as error:  # the library has few classes of its own, and none for a schedd that is away
        pool.lose()
        return {"error": str(error) or type(error).__name__, "kind": type(error).__name__}


def main(collector: str, schedd: str, work: str) -> None:
    """Answer requests until the service closes the pipe."""
    for name in os.listdir(work):  # of a process that was killed: its jobs never got their files
        shutil.rmtree(os.path.join(work, name), ignore_errors=True)
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the library prints is for the service's log
    pool = Pool(collector, schedd, work)
    writing = threading.Lock()

    def carry_out(request: Mapping[str, Any]) -> None:
        line = json.dumps({"id": request["id"], **answer(pool, request["call"], request["arguments"])})
        with writing:
            lines.write(line + "\n")
            lines.flush()

    with ThreadPoolExecutor(THREADS) as threads:
        for line in sys.stdin:
            threads.submit(carry_out, json.loads(line))
        os._exit(0)  # calls that hang are left alone


if __name__ == "__main__":
    main(*sys.argv[1:4])
