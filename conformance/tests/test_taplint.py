"""Where STILTS' taplint looks at the same thing, it agrees: on correct servers, on mutants, on a server of others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import matrix
import peers
import pytest
import taplint
from mutants import MUTANTS, Mutant, build
from reference import Answer, Reference, Request
from reference_http import serving
from uws_conformance.profile import load
from uws_conformance.registry import all_checks

from tests.conformance import look
from tests.server import Server
from tests.tiers import require

# Faults that taplint can see, with what it calls them.
SEEN = {
    "quote-500": "E-UWS-NFND",
    "executionduration-json": "E-UWS-GMIM",
    "executionduration-other-value": "E-UWS-IFMT",
    "phase-other-value": "E-UWS-JDPH",
    "destruction-other-value": "E-UWS-JDDE",
    "job-id-other": "E-UWS-JDID",
    "create-201": "E-UWS-QFAA",
    "ACTION-delete-400": "E-UWS-PORE",
    "run-holds-first": "E-UWS-RUPH",
    "delete-keeps": "E-UWS-DENO",
    "availability-wrong-root": "E-AVV-ELDF",
    "tap-upload-by-ftp": "E-CAP-MUPM",
    "tables-unnamed": "E-TME-TBLA",
}
SHARED = tuple(prefix for prefixes in taplint.SAME.values() for prefix in prefixes)


def opened(mutant: Mutant | None) -> Reference:
    """The reference TAP service with the fault; it takes whoever says nothing for alice, since taplint has no token."""
    reference = build(replace(mutant, face="tap") if mutant else None, "tap")
    guarded = reference.answer

    def answer(request: Request) -> Answer:
        return guarded(replace(request, who=request.who or "alice"))

    reference.answer = answer  # type: ignore[method-assign]
    return reference


def both(name: str) -> tuple[set[str], list[str]]:
    """What taplint and what our checks say of a mutant; of the correct server without a name."""
    mutant = next((one for one in MUTANTS if one.name == name), None)
    with serving(opened(mutant)) as url:
        codes = taplint.found(url.rpartition("/")[0])
    only = [check.id for check in all_checks() if check.id.startswith(SHARED)]
    faces = {"uws", "tap"} if mutant is None else {mutant.face}
    return codes, [one for face in faces for one in matrix.broken(matrix.look(mutant, only, face))]


@pytest.fixture(scope="module")
def said() -> Iterator[dict[str, tuple[set[str], list[str]]]]:
    """What both say, two servers at a time."""
    require("stilts")
    names = ["", *SEEN]
    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(names, pool.map(both, names), strict=True))


def test_nothing_is_said_of_the_correct_server(said: dict[str, tuple[set[str], list[str]]]) -> None:
    assert said[""] == (set(), [])


@pytest.mark.parametrize("name", SEEN)
def test_both_see_a_fault(name: str, said: dict[str, tuple[set[str], list[str]]]) -> None:
    codes, broken = said[name]
    assert SEEN[name] in codes
    theirs = next(code for code in taplint.SAME if SEEN[name].startswith(code))
    assert any(one.startswith(taplint.SAME[theirs]) for one in broken), (codes, broken)


def test_nothing_is_said_of_our_service(tmp_path: Path) -> None:
    server = Server(tmp_path / "service")
    server.start()
    try:
        report = look(f"{server.url}/tap/async", load("uws-service-tap"), only=SHARED)
        codes = taplint.found(f"{server.url}/tap")
    finally:
        server.stop()
    assert matrix.broken(report) == [] and codes == set()


def test_both_say_the_same_of_dachs() -> None:
    root = peers.installed()
    if root is None:
        pytest.skip("DaCHS is not installed: apt-get install gavodachs2-server, or make conformance-peers")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server's user has to get in
        with peers.Dachs(root, Path(folder)) as dachs:
            report = look(f"{dachs.url}/tap/async", load("dachs"), only=SHARED)
            codes = taplint.found(f"{dachs.url}/tap")
    assert taplint.disagreements(codes, matrix.broken(report)) == []
