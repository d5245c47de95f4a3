"""A command on the pool that looks for what is not its own."""

from __future__ import annotations

import json

import httpx2

from tests.batch.condor import CondorPool
from tests.batch.service import BatchServer

LOOK = r"""
# The ticket and the agent's token: in files, in the environment of anything, in arguments, in memory. The patterns are
# written so that they do not match themselves.
grep -rlsa -e 'attempt[-]ticket' -e '"ticke[t]"' -e 'eyJ[A-Za-z0-9_-]\{20,\}\.eyJ' \
    /srv /tmp /var/tmp /run /home /root /etc "$UWS_OUTPUT_DIR/.." > $UWS_OUTPUT_DIR/result 2>/dev/null
for process in /proc/[0-9]*; do
    for part in environ cmdline; do
        tr '\0' '\n' < $process/$part 2>/dev/null | grep -aqs 'eyJ[A-Za-z0-9_-]\{20,\}\.eyJ' && echo "$process/$part"
    done
    grep -aqs 'eyJ[A-Za-z0-9_-]\{20,\}\.eyJ' $process/mem 2>/dev/null && echo "$process/mem"
    ls $process/fd/ >/dev/null 2>&1 && for fd in $process/fd/*; do readlink $fd; done | grep -s 'attempt[.]json'
done >> $UWS_OUTPUT_DIR/result
true
"""
NEIGHBOURS = r"""
for folder in {execute}/dir_*; do
    case "$UWS_OUTPUT_DIR" in $folder/*) continue ;; esac
    ls "$folder" 2>/dev/null && echo "OPEN $folder"
done > $UWS_OUTPUT_DIR/result
ls {spool}/*/* >> $UWS_OUTPUT_DIR/result 2>/dev/null
cat {passwords}/* {tokens}/* >> $UWS_OUTPUT_DIR/result 2>/dev/null
condor_q -all -af UwsAttempt Environment Args >> $UWS_OUTPUT_DIR/result 2>/dev/null
true
"""


def run(server: BatchServer[CondorPool], application: str, text: str) -> str:
    """Return what an attacker's command has found."""
    with server.client(application) as user:
        job = user.create({"PHASE": "RUN", "TEXT": text})
        assert user.wait(job) == "COMPLETED", user.get(f"{job}/error").text
        answer = user.get(f"{job}/results/result")
        assert answer.status_code == 200
        return answer.text


def test_no_ticket_and_no_token(server: BatchServer[CondorPool]) -> None:
    """The ticket is gone before the command starts, and the token is in no file, environment or readable memory."""
    assert run(server, "script", LOOK) == ""


def test_no_token_inside_an_image(server: BatchServer[CondorPool]) -> None:
    assert run(server, "boxed", LOOK) == ""


def test_no_folders_of_others(server: BatchServer[CondorPool]) -> None:
    """Other jobs' folders, spooled files and the pool's keys are closed; what everybody can read holds no secret."""
    pool = server.system
    with server.client() as victim:
        job = victim.create({"PHASE": "RUN", "TEXT": "echo precious > $UWS_OUTPUT_DIR/result; sleep 20"})
        server.wait_run(job)
        places = {name: f"{pool.inner}/{name}" for name in ("execute", "spool")}
        places |= {"passwords": f"{pool.inner}/passwords.d", "tokens": f"{pool.inner}/client"}
        text = run(server, "script", NEIGHBOURS.format(**places))
        assert "OPEN" not in text and "precious" not in text and "eyJ" not in text and "attempt.json\n" not in text
        victim.post(f"{job}/phase", {"PHASE": "ABORT"})


def test_a_copy_of_the_ticket_is_worthless(server: BatchServer[CondorPool]) -> None:
    """Whoever keeps a spooled ticket gets nothing for it: the agent has used it, or the attempt is closed."""
    with server.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": server.hold()})
        server.wait_run(job)
        orders = list((server.system.folder / "spool").rglob("attempt.json"))
        assert orders, "the schedd keeps it until the job leaves"
        for path in orders:
            ticket = json.loads(path.read_text())["ticket"]
            answer = httpx2.post(
                f"{server.url}/agent/v1/claim",
                json={"uid": "0123456789abcdef", "heartbeat": 30},
                headers={"Authorization": f"Bearer {ticket}"},
                timeout=60,
            )
            assert answer.status_code in (401, 403), answer.text
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"
