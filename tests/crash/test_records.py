"""No attempt without its record, whenever the service is killed; ``make soak-records`` does it a thousand times."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from tests import databases
from tests.crash.records import WRONG, check, count, judge, soak
from uws_service.store import migrate

pytestmark = pytest.mark.xdist_group  # each in a worker of its own

KILLS = 5


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_each_attempt_has_one_record(database: str, tmp_path: Path) -> None:
    """ACC-071, ACC-072: attempts that were lost, aborted or of deleted jobs too."""
    url = databases.new_postgresql() if database == "postgresql" else databases.new_sqlite(tmp_path)
    judge(soak(tmp_path, url, KILLS, random.randrange(1 << 30)))


def test_the_count_can_fail(tmp_path: Path) -> None:
    """Each kind of wrong record is seen."""
    url = databases.new_sqlite(tmp_path)
    migrate(url)
    attempt = {
        "job_id": "a", "number": 1, "site": "s", "application": "x", "owner": "", "state": "CLOSED", "wanted": 0,
        "created": 0, "not_before": 0, "message": "", "cpu_requested": 1, "memory_requested": 1, "wall": 0, "cpu": 0,
        "peak_memory": 0, "bytes_in": 0, "bytes_out": 0, "claimed": "", "group": "", "lot": "", "network": 0,
    }  # fmt: skip
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
        names = ", ".join(f'"{name}"' for name in attempt)
        lite.execute(f"INSERT INTO attempt ({names}) VALUES ({', '.join('?' * len(attempt))})", [*attempt.values()])
        lite.commit()
        with pytest.raises(AssertionError, match="'missing': 1"):
            check(url, 0, 1)
        columns = [row[1] for row in lite.execute("PRAGMA table_info(usage_record)")]
        values = {"job_id": "a", "number": 1, "serial": 0, "month": 202611}
        for month in (202611, 202612):
            row = [{**values, "month": month}.get(name, 0) for name in columns]
            lite.execute(f"INSERT INTO usage_record VALUES ({', '.join('?' * len(row))})", row)
        lite.execute("UPDATE attempt SET state = 'RUNNING'")
        lite.commit()
        assert {name: count(url)[name] for name in WRONG} == {"missing": 0, "early": 1, "doubles": 1, "strays": 0}
        lite.execute("DELETE FROM attempt")
        lite.commit()
        assert count(url)["strays"] == 2
