"""The application ``sleep``: sleeps, reports progress, writes bytes.

It ends with the requested exit code. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

BLOCK_BYTES = 65536
STEPS = 50


def main() -> int:
    """Run; return the requested exit code."""
    parser = argparse.ArgumentParser(prog="sleep", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--exit", type=int, default=0)
    parser.add_argument("--output", type=int, default=64)
    options = parser.parse_args()
    print(f"sleeping for {options.seconds:g} s", flush=True)
    _sleep(options.seconds)
    with open(os.path.join(os.environ["UWS_OUTPUT_DIR"], "result"), "wb") as file:
        remaining = options.output
        pattern = bytes(range(256)) * (BLOCK_BYTES // 256)
        while remaining > 0:
            remaining -= file.write(pattern[: min(remaining, BLOCK_BYTES)])
    if options.exit:
        print(f"ending with code {options.exit}, as asked", file=sys.stderr)
    return int(options.exit)


def _sleep(seconds: float) -> None:
    """Sleep, and report progress about every second."""
    end = time.monotonic() + seconds
    steps = max(1, min(STEPS, int(seconds)))
    for step in range(1, steps + 1):
        time.sleep(max(0.0, end - seconds * (steps - step) / steps - time.monotonic()))
        _progress(step / steps, f"{seconds * step / steps:.0f} of {seconds:g} s")


def _progress(fraction: float, text: str) -> None:
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.3f} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
