"""A command that tells what it finds itself in; for processes that are forked, and for programs."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

if os.environ.get("START_A_THREAD"):  # as a library may do when it is imported
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def surroundings() -> dict[str, object]:
    """Return all that a command has of its process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    umask = os.umask(0)
    os.umask(umask)
    return {
        "arguments": sys.argv[1:],
        "environment": dict(sorted(os.environ.items())),
        "folder": os.getcwd(),
        "umask": umask,
        "limits": {
            name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")
        },
        "signals": {name: status[name].strip() for name in ("SigBlk", "SigIgn", "NoNewPrivs", "Seccomp")},
        "handlers": {kind.name: str(signal.getsignal(kind)).partition(" at ")[0] for kind in signal.Signals},
        "is_leader": os.getsid(0) == os.getpid() == os.getpgid(0),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
        "priority": os.nice(0),
        "ids": (os.getresuid(), os.getresgid(), os.getgroups()),
        "files": {
            number: os.readlink(f"/proc/self/fd/{number}")
            for number in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{number}") and int(number) < 64
        },
        "temporary": tempfile.gettempdir(),
        "encodings": (sys.stdout.encoding, sys.getfilesystemencoding(), sys.stdin.read()),
        "tracer": status["TracerPid"].strip(),
    }


def main() -> int | None:
    """Do what the first argument says."""
    output = Path(os.environ["UWS_OUTPUT_DIR"])
    match sys.argv[1:]:
        case ["surroundings"]:
            (output / "r").write_text(json.dumps(surroundings()))
        case ["code", code]:
            return int(code)
        case ["exit", code]:
            sys.exit(int(code))
        case ["words"]:
            sys.exit("in words")
        case ["fault"]:
            raise RuntimeError("on purpose")
        case ["ledger", path]:
            with open(path, "a") as file:
                file.write(f"{os.environ['UWS_JOB_ID']}\n")
        case ["wait", text]:
            (output / "r").write_text(str(os.getpid()))
            while not (Path(os.environ["UWS_INPUT_DIR"]) / "on").exists():
                time.sleep(0.01)
            print(text)
        case ["large", size]:
            try:
                (output / "r").write_bytes(bytes(int(size)))
            except OSError as error:
                print(error.strerror, file=sys.stderr)
                return 4
    return None


if __name__ == "__main__":
    sys.exit(main())
