"""``make demo``: start the service, run a real cross-match with pyvo, print the table, keep serving.

Everything is embedded: SQLite, a folder and local processes under ``build/demo``. Nothing is deleted, so the job and
its results can be looked at with any client afterwards. With ``--auth`` an issuer of tokens runs beside the service,
somebody logs in by device flow, and the job is private.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo_cutout

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
TABLE = ROOT / "uws_service" / "apps" / "data" / "alfalfa.csv"
# The table has positions of the radio sources (HI) and of their optical counterparts (OC).
PARAMETERS = {"RUNID": "make demo", "RADIUS": "30", "RA": "RAdeg_OC", "DEC": "DECdeg_OC"}
SHOWN = ["AGCNr", "Name", "RAdeg_OC", "DECdeg_OC", "ngc_name", "ngc_type", "separation"]
START_SECONDS = 60
JOB_SECONDS = 300


def main() -> int:
    """Run the demonstration; the exit status is 0 when a result was printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="port to serve at")
    parser.add_argument("--once", action="store_true", help="stop the service at the end instead of serving on")
    parser.add_argument("--auth", action="store_true", help="with an issuer of tokens and a private job")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "demo", help="where the data are kept")
    arguments = parser.parse_args()
    if not is_free(arguments.port):
        print(
            f"Port {arguments.port} is taken by another program. "
            f"Choose another one: make demo PORT={arguments.port + 1}",
            file=sys.stderr,
        )
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with contextlib.ExitStack() as stack:
            folder, token, settings = arguments.folder.resolve(), None, {}
            url = f"http://{HOST}:{arguments.port}"
            if arguments.auth:
                import demo_issuer

                folder = folder.with_name(f"{folder.name}-auth")
                settings = stack.enter_context(demo_issuer.issuer(folder / "issuer", url))
            process = stack.enter_context(service(arguments.port, folder, settings))
            if arguments.auth:
                token = demo_issuer.log_in(url, alone=arguments.once)
            job = crossmatch(url, token)
            print_result(job)
            demo_cutout.cutout(url, folder, token)
            cone_search(url, token)
            print_urls(url, job.url, private=token is not None)
            if not arguments.once:
                print("\nThe service keeps running. Ctrl-C stops it.", flush=True)
                process.wait()
                print(f"The service ended with exit status {process.returncode}.", file=sys.stderr)
                return 1
    except DemoFailed as failure:
        print(f"\nThe demonstration failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


class DemoFailed(Exception):
    """One line for the person who typed ``make demo``."""


def is_free(port: int) -> bool:
    """Whether a server can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def service(port: int, folder: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own, from ready to stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "service.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "uws_service", "serve", "--host", HOST, "--port", str(port)],
            env={**environment, "UWS_DATA": str(folder / "data"), **settings},
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        await_ready(process, port, log)
        print(f"Serving   http://{HOST}:{port}  (log: {log})")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the readiness probe is green; tell why if the service ends or does not come up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text(errors="replace")[-2000:]
            raise DemoFailed(f"the service ended at once with exit status {process.returncode}:\n{tail}")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise DemoFailed(f"the service was not ready after {START_SECONDS} s; its log is {log}")


def crossmatch(url: str, token: str | None = None) -> Any:
    """Upload a real table with pyvo, run the job, wait for its end; the finished pyvo job."""
    from pyvo.dal import AsyncTAPJob
    from pyvo.dal.exceptions import DALServiceError
    from pyvo.utils.http import create_session

    session = create_session()
    if token is not None:
        session.headers["Authorization"] = f"Bearer {token}"
    begun = time.monotonic()
    try:
        # pyvo's job class speaks plain UWS; only its `create` is for TAP queries, so the job is made by hand.
        created = session.post(f"{url}/crossmatch/async", data=PARAMETERS)
        created.raise_for_status()
        job = AsyncTAPJob(created.url, session=session, delete=False)
        print(f"Created   {job.url}  ({job.phase}{f', of {job.owner}' if job.owner else ''})")
        job.upload(objects=str(TABLE))
        print(f"Uploaded  {TABLE.name}: 45 galaxies of the ALFALFA survey")
        job.run()
        job.wait(timeout=JOB_SECONDS)
        print(f"Finished  {job.phase} after {time.monotonic() - begun:.1f} s")
        job.raise_if_error()
    except DALServiceError as error:
        raise DemoFailed(str(error)) from error
    return job


def print_result(job: Any) -> None:
    """The result as a table: columns of the input beside those of the catalogue."""
    table = job.fetch_result().to_table()
    if len(table) == 0:
        raise DemoFailed(f"the result of {job.url} has no rows")
    table["separation"].info.format = ".2f"
    print(f"\n{len(table)} of them are NGC or IC objects (some of the result's {len(table.colnames)} columns):\n")
    for line in table[SHOWN].pformat(max_lines=30, max_width=118, show_unit=True):
        print(f"  {line}")


CONE = """\
SELECT name, type, ra, dec, vmag
FROM openngc.objects
WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(187.7, 12.4, 1.0))
ORDER BY vmag"""


def cone_search(url: str, token: str | None = None) -> None:
    """Ask the service's own TAP, by pyvo, for what is around the galaxy M 87."""
    from pyvo.dal import TAPService
    from pyvo.dal.exceptions import DALServiceError
    from pyvo.utils.http import create_session

    session = create_session()
    if token is not None:
        session.headers["Authorization"] = f"Bearer {token}"
    begun = time.monotonic()
    try:
        table = TAPService(f"{url}/tap", session=session).run_sync(CONE).to_table()
    except DALServiceError as error:
        raise DemoFailed(str(error)) from error
    if len(table) == 0:
        raise DemoFailed("the cone search has found nothing")
    print("\nA cone search in ADQL on OpenNGC, by pyvo:\n")
    for line in CONE.splitlines():
        print(f"  {line}")
    print(f"\n{len(table)} objects after {time.monotonic() - begun:.1f} s:\n")
    for name in ("ra", "dec"):
        table[name].info.format = ".4f"
    for line in table.pformat(max_lines=15, max_width=118, show_unit=True):
        print(f"  {line}")


def print_urls(url: str, job_url: str, *, private: bool = False) -> None:
    """Where to go on, with a browser or with curl."""
    print(f"\nLook at it in a browser:  {url}/")
    print(f"Queries in ADQL:          {url}/tap/examples")
    print(f"This job:                 {job_url}")
    print(f"All its results:          {job_url}/results")
    header = f' -H "Authorization: Bearer $(uws-service token {url})"' if private else ""
    print(f"With curl:                curl{header} {job_url}/phase")


if __name__ == "__main__":
    sys.exit(main())
