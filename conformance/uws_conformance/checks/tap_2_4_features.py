"""TAP 1.1 §2.4 with TAPRegExt 1.0 §2.3: what capabilities announce works, asked with one query for each feature."""

from __future__ import annotations

import re
from collections.abc import Mapping

from uws_conformance import votable
from uws_conformance.bench import Bench
from uws_conformance.checks.tap_2_7_queries import FROM, ask
from uws_conformance.checks.tap_2_resources import AT, REGEXT, capability
from uws_conformance.http import Reply
from uws_conformance.outcomes import Broken, Unsupported, expect
from uws_conformance.registry import check

TABLES = "FROM TAP_SCHEMA.tables"
HINT = "Announce only what the query language of the server has."


def computed(expression: str) -> str:
    return f"SELECT TOP 1 {expression} AS answer {TABLES}"


GEOMETRY = {
    "POINT": computed("POINT('ICRS', 10, 20)"),
    "CIRCLE": computed("CIRCLE('ICRS', 10, 20, 1)"),
    "BOX": computed("BOX('ICRS', 10, 20, 1, 1)"),
    "POLYGON": computed("POLYGON('ICRS', 10, 20, 11, 20, 11, 21)"),
    "REGION": computed("CONTAINS(POINT('ICRS', 10, 20), REGION('CIRCLE ICRS 10 20 1'))"),
    "CONTAINS": computed("CONTAINS(POINT('ICRS', 10, 20), CIRCLE('ICRS', 10, 20, 1))"),
    "INTERSECTS": computed("INTERSECTS(CIRCLE('ICRS', 10, 20, 1), CIRCLE('ICRS', 10, 21, 1))"),
    "DISTANCE": computed("DISTANCE(POINT('ICRS', 10, 20), POINT('ICRS', 11, 20))"),
    "AREA": computed("AREA(CIRCLE('ICRS', 10, 20, 1))"),
    "CENTROID": computed("CENTROID(CIRCLE('ICRS', 10, 20, 1))"),
    "COORD1": computed("COORD1(POINT('ICRS', 10, 20))"),
    "COORD2": computed("COORD2(POINT('ICRS', 10, 20))"),
    "COORDSYS": computed("COORDSYS(POINT('ICRS', 10, 20))"),
}
STRINGS = {
    "LOWER": computed("LOWER('NGC')"),
    "UPPER": computed("UPPER('ngc')"),
    "ILIKE": f"SELECT TOP 1 table_name {TABLES} WHERE table_name ILIKE 'TAP%'",
}
SETS = {
    word: f"SELECT table_name {TABLES} {word} SELECT table_name {FROM}" for word in ("UNION", "EXCEPT", "INTERSECT")
}
COMMON = {"WITH": f"WITH few AS (SELECT table_name {TABLES}) SELECT TOP 1 table_name FROM few"}
TYPES = {"CAST": computed("CAST('7' AS INTEGER)")}
CONDITIONAL = {"COALESCE": computed("COALESCE(NULL, 'a')")}
OFFSET = {"OFFSET": f"SELECT column_name {FROM} ORDER BY column_name OFFSET 1"}
USER_DEFINED = {
    "IVO_HEALPIX_INDEX": computed("ivo_healpix_index(5, 10.0, 20.0)"),
    "IVO_HEALPIX_CENTER": computed("ivo_healpix_center(5, 100)"),
    "IVO_HASWORD": computed("ivo_hasword('a spiral galaxy', 'spiral')"),
    "IVO_NOCASEMATCH": computed("ivo_nocasematch('Spiral', 'spiral')"),
    "IVO_HASHLIST_HAS": computed("ivo_hashlist_has('a#b', 'a')"),
    "IVO_INTERVAL_OVERLAPS": computed("ivo_interval_overlaps(1, 2, 1, 3)"),
}
"""Functions of the IVOA's catalogue of user-defined functions; nobody knows how to call others."""


def refusal(reply: Reply) -> str:
    """Return the words in which a query was refused, nothing if it was answered."""
    if reply.status >= 400:
        return f"{reply}: {reply.text[:200]}"
    try:
        table = votable.read(reply.body, reply.url)
    except Broken as error:
        return str(error)
    return table.message[:200] or "QUERY_STATUS is ERROR" if "ERROR" in table.states else ""


def announced(see: Bench, kind: str) -> list[str]:
    """Return the names of the features of a kind, in upper case."""
    found: list[str] = []
    for features in capability(see).iterfind("language/languageFeatures"):
        if (features.get("type") or "").lower() == f"{REGEXT}{kind}":
            forms = [(form.text or "").strip() for form in features.iterfind("feature/form")]
            found += [re.split(r"[\s(]", form, maxsplit=1)[0].upper() for form in forms if form]
    return list(dict.fromkeys(found))


def works(kind: str, queries: Mapping[str, str]) -> None:
    """Register the check of one kind of features."""

    @check("T-006", "MUST", AT, f"Each feature announced in {kind} can be used in a query.", HINT, name=kind)
    def used(see: Bench) -> str:
        names = [name for name in announced(see, kind) if name in queries]
        if not names:
            raise Unsupported(f"{kind} announces nothing that can be asked for")
        faults = [f"{name}: {words}" for name in names if (words := refusal(ask(see, queries[name])))]
        expect(not faults, "; ".join(faults))
        return ", ".join(names)


works("features-adqlgeo", GEOMETRY)
works("features-adql-string", STRINGS)
works("features-adql-sets", SETS)
works("features-adql-common-table", COMMON)
works("features-adql-type", TYPES)
works("features-adql-conditional", CONDITIONAL)
works("features-adql-offset", OFFSET)
works("features-udf", USER_DEFINED)


@check("T-006", "MUST", AT, "Each output format that is announced can be asked for.", "Announce only what works.")
def output_formats(see: Bench) -> str:
    texts = [
        (element.text or "").strip()
        for output in capability(see).iterfind("outputFormat")
        for element in (*output.iterfind("mime"), *output.iterfind("alias"))
    ]
    names = list(dict.fromkeys(text for text in texts if text))
    if not names:
        raise Unsupported("no output format is declared")
    replies = {name: ask(see, f"SELECT TOP 1 column_name {FROM}", ("RESPONSEFORMAT", name)) for name in names}
    faults = [f"{name}: {reply}" for name, reply in replies.items() if reply.status != 200]
    expect(not faults, "; ".join(faults))
    return ", ".join(names)
