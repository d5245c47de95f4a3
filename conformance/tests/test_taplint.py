"""Agreement with STILTS' taplint.

On correct servers, on mutants, and on another server.
"""

from __future__ import annotations

import re
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
from reference import Reference
from reference_documents import Answer, Request
from reference_http import serve
from uws_conformance.profile import load
from uws_conformance.registry import all_checks

from tests.conformance import check_list
from tests.server import Server
from tests.tiers import require

# Mutants whose fault taplint can see, with its code.
CODES_BY_MUTANT = {
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
CONDITIONAL_FEATURE = re.compile(r'<languageFeatures type="[^"]*features-adql-conditional">.*?</languageFeatures>')
SHARED = tuple(prefix for prefixes in taplint.CHECKS_BY_CODE.values() for prefix in prefixes)


def open_reference(mutant: Mutant | None) -> Reference:
    """Build a TAP service that takes everybody for alice.

    taplint sends no token.
    """
    reference = build(replace(mutant, face="tap") if mutant else None, "tap")
    guarded = reference.answer

    def answer(request: Request) -> Answer:
        reply = guarded(replace(request, caller=request.caller or "alice"))
        # STILTS 3.4.7 does not know this feature of ADQL 2.1.
        return replace(reply, body=CONDITIONAL_FEATURE.sub("", reply.body))

    reference.answer = answer  # type: ignore[method-assign]
    return reference


def judge_both(name: str) -> tuple[set[str], list[str]]:
    """Return what taplint and the checks say of a mutant.

    An empty name stands for the correct server.
    """
    mutant = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    with serve(open_reference(mutant)) as url:
        codes = taplint.reported_codes(url.rpartition("/")[0])
    only = [check.id for check in all_checks() if check.id.startswith(SHARED)]
    faces = {"uws", "tap"} if mutant is None else {mutant.face}
    return codes, [check_id for face in faces for check_id in matrix.broken(matrix.run_checks(mutant, only, face))]


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, tuple[set[str], list[str]]]]:
    """Judge every mutant with both, two at a time."""
    require("stilts")
    names = ["", *CODES_BY_MUTANT]
    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(names, pool.map(judge_both, names), strict=True))


def test_both_accept_the_correct_server(verdicts: dict[str, tuple[set[str], list[str]]]) -> None:
    assert verdicts[""] == (set(), [])


@pytest.mark.parametrize("name", CODES_BY_MUTANT)
def test_both_see_a_fault(name: str, verdicts: dict[str, tuple[set[str], list[str]]]) -> None:
    codes, broken = verdicts[name]
    assert CODES_BY_MUTANT[name] in codes
    shared_code = next(code for code in taplint.CHECKS_BY_CODE if CODES_BY_MUTANT[name].startswith(code))
    assert any(check_id.startswith(taplint.CHECKS_BY_CODE[shared_code]) for check_id in broken), (codes, broken)


def test_both_accept_our_service(tmp_path: Path) -> None:
    server = Server(tmp_path / "service")
    server.start()
    try:
        report = check_list(f"{server.url}/tap/async", load("uws-service-tap"), prefixes=SHARED)
        codes = taplint.reported_codes(f"{server.url}/tap")
    finally:
        server.stop()
    assert matrix.broken(report) == [] and codes == set()


def test_both_agree_on_dachs() -> None:
    root = peers.dachs_root()
    if root is None:
        pytest.skip("DaCHS is not installed: apt-get install gavodachs2-server, or make conformance-peers")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server's user must be able to enter
        with peers.Dachs(root, Path(folder)) as dachs:
            report = check_list(f"{dachs.url}/tap/async", load("dachs"), prefixes=SHARED)
            codes = taplint.reported_codes(f"{dachs.url}/tap")
    assert taplint.disagreements(codes, matrix.broken(report)) == []
