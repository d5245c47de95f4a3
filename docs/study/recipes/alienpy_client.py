"""alienpy, the client of JAliEn, from the package registry: what it takes to install, and what it knows of tokens.

No server of JAliEn is in any package, so the client gets an address at which nobody listens.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from recipe import ALIENPY, MIB, Show, main

from tests.server import free_port

INSTALL_SECONDS = 600
TOKEN_WORDS = re.compile(r"oidc|oauth|bearer", re.IGNORECASE)


def install(folder: Path) -> Path:
    """Install the client into a fresh environment; return the folder of its programs."""
    target = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", target], check=True, timeout=INSTALL_SECONDS)
    pip = (target / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--require-hashes", "-r", ALIENPY.lock], check=True, timeout=INSTALL_SECONDS)
    return target / "bin"


def measure(folder: Path, show: Show) -> None:
    """Install, ask for a list of files without a certificate, and look for words of tokens in the code."""
    began = time.perf_counter()
    programs = install(folder)
    show("alienpy.install", time.perf_counter() - began, "s, of which the network decides most")
    [package] = programs.parent.glob("lib/python3*/site-packages/alienpy")
    files = [path for path in programs.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    show("alienpy.size", sum(path.stat().st_size for path in files) / MIB, "MiB with all that it needs")
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    show("alienpy.token_words", len(TOKEN_WORDS.findall(code)), "words OIDC, OAuth or bearer in its code")
    nobody = {"ALIENPY_JCENTRAL": "127.0.0.1", "ALIENPY_JCENTRAL_PORT": str(free_port()), "HOME": str(folder)}
    listing = subprocess.run(
        [programs / "alien.py", "ls"], env={**os.environ, **nobody}, capture_output=True, text=True, timeout=120
    )
    assert "No valid user certificate or token" in listing.stdout + listing.stderr, listing


if __name__ == "__main__":
    main(__doc__, measure)
