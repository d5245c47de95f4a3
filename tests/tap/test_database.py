"""A PostgreSQL's tables as a TAP service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from tests.databases import new_postgresql
from tests.server import Server
from tests.tap.taplint import check
from tests.tap.test_service import finished
from uws_service.tap.database import published

TABLES = """
CREATE SCHEMA stars;
CREATE TABLE stars.near (id integer PRIMARY KEY, name text, ra double precision, dec double precision, seen timestamp,
                         shape double precision[], odd inet);
COMMENT ON TABLE stars.near IS 'Stars near the Sun';
COMMENT ON COLUMN stars.near.ra IS '[deg; pos.eq.ra;meta.main] Right ascension';
COMMENT ON COLUMN stars.near.dec IS '[deg; pos.eq.dec;meta.main] Declination';
COMMENT ON COLUMN stars.near.name IS 'Usual name';
INSERT INTO stars.near VALUES (1, 'Sirius', 101.287, -16.716, '2024-01-02 03:04:05', '{1,2,3}', '1.2.3.4'),
                              (2, 'Wolf 359', 164.12, 7.015, NULL, NULL, NULL);
CREATE TABLE stars.planet (star integer REFERENCES stars.near (id), letter text);
INSERT INTO stars.planet VALUES (2, 'b');
CREATE VIEW stars.names AS SELECT name FROM stars.near;
CREATE TABLE public.secret (word text);
INSERT INTO public.secret VALUES ('hidden');
"""
DESCRIPTOR = """
name: stars
title: Stars
description: Stars in a database.
protocol: tap
catalogue: {postgresql: STARS_DATABASE, schemas: [stars]}
"""


@pytest.fixture(scope="module")
def url() -> str:
    """Create a database with a published and a private schema."""
    database_url = new_postgresql()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)
    return database_url


@pytest.fixture(scope="module")
def stars(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("stars")
    (folder / "stars.yaml").write_text(DESCRIPTOR)
    settings = {"UWS_APPLICATIONS": f'["{folder}/stars.yaml"]', "UWS_BUILTIN_APPLICATIONS": "false"}
    server = Server(folder, {**settings, "STARS_DATABASE": url})
    server.start()
    yield server
    server.stop()


def rows(server: Server, query: str) -> list[str]:
    parameters = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"}
    answer = requests.post(f"{server.url}/stars/sync", data=parameters, timeout=180)
    assert answer.status_code == 200, answer.text
    return answer.text.splitlines()[1:]


def test_metadata(url: str) -> None:
    """Types, comments, keys and kinds become metadata."""
    tables = {item.table.name: item.table for item in published(url, ["stars"])}
    near = {item.name: item for item in tables["near"].columns}
    assert list(near) == ["id", "name", "ra", "dec", "seen", "shape"]
    assert (near["ra"].unit, near["ra"].ucd, near["ra"].description) == (
        "deg",
        "pos.eq.ra;meta.main",
        "Right ascension",
    )
    assert (near["seen"].xtype, near["shape"].arraysize, near["id"].indexed) == ("timestamp", "*", True)
    assert tables["near"].position == ("ra", "dec")
    assert tables['"names"'].kind == "view"  # a word of ADQL's own: published with its quotes
    assert [(key.target, key.columns) for key in tables["planet"].foreign_keys] == [("stars.near", ("star",))]


def test_a_tap_schema_of_its_own_counts() -> None:
    """The database's own TAP_SCHEMA gives units and UCDs."""
    database = new_postgresql()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA tap_schema; CREATE TABLE tap_schema.columns (table_name text, column_name text,"
            " description text, unit text, ucd text, utype text, xtype text, principal int, std int);"
            "CREATE TABLE public.t (v real);"
            "INSERT INTO tap_schema.columns VALUES ('public.t', 'v', 'Speed', 'km/s', 'phys.veloc', NULL, NULL, 1, 0)"
        )
    (table,) = published(database, [])
    assert (table.table.columns[0].unit, table.table.columns[0].ucd) == ("km/s", "phys.veloc")


def test_queries(stars: Server) -> None:
    """A cone, TAP_SCHEMA, and a job with the URL."""
    cone = "SELECT name, seen FROM stars.near WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(101.3, -16.7, 1))"
    assert rows(stars, cone) == ["Sirius,2024-01-02T03:04:05"]
    assert "stars.near" in rows(stars, "SELECT table_name FROM TAP_SCHEMA.tables")
    assert rows(stars, 'SELECT COUNT(*) AS n FROM stars."names"') == ["2"]
    parameters = {"LANG": "ADQL", "QUERY": "SELECT * FROM stars.near", "MAXREC": 1, "RESPONSEFORMAT": "csv"}
    assert len(requests.post(f"{stars.url}/stars/sync", data=parameters, timeout=180).text.splitlines()) == 2
    parameters = {
        "LANG": "ADQL",
        "QUERY": "SELECT name FROM stars.near ORDER BY id",
        "RESPONSEFORMAT": "csv",
        "PHASE": "RUN",
    }
    created = requests.post(f"{stars.url}/stars/async", data=parameters, timeout=180, allow_redirects=False)
    job = created.headers["location"]
    assert finished(job) == "COMPLETED", requests.get(f"{job}/error", timeout=180).text
    assert requests.get(f"{job}/results/result", timeout=180).text.splitlines() == ["name", "Sirius", "Wolf 359"]


def test_taplint(stars: Server) -> None:
    """STILTS' suite passes on PostgreSQL; there are no examples."""
    check(f"{stars.url}/stars", failures=frozenset({"F-EXA-EXNO"}))


def test_only_what_is_published(stars: Server, url: str) -> None:
    """Nothing else is readable; the URL never appears."""
    for table in ("public.secret", "secret", "pg_catalog.pg_user", "information_schema.tables"):
        parameters = {"LANG": "ADQL", "QUERY": f"SELECT * FROM {table}"}
        answer = requests.post(f"{stars.url}/stars/sync", data=parameters, timeout=180)
        assert answer.status_code == 400 and "hidden" not in answer.text
    port = url.rpartition("/")[0].rpartition(":")[2]
    for path in ("stars", "stars/capabilities", "stars/tables", "stars/availability"):
        assert port not in requests.get(f"{stars.url}/{path}", timeout=180).text.replace(stars.url, "")
    assert url not in stars.log.read_text()
