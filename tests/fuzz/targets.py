"""Readers of strangers' inputs.

Each answers, or refuses with an error for the sender.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from uws_service.domain.errors import UwsError


@dataclass(frozen=True)
class Target:
    """One reader of strangers' inputs."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    may_abort: bool = False
    """Whether the library may end the process, which the service has for this alone: the job's error says so."""


def is_refusal(error: BaseException) -> bool:
    """Return whether an error tells the sender what is wrong, with a status below 500."""
    from uws_service.adql import AdqlError
    from uws_service.soda.errors import CutoutError

    if isinstance(error, UwsError):
        return error.status < 500 and bool(error.message) and len(error.message) < 2100
    return isinstance(error, AdqlError | CutoutError) and 0 < len(str(error)) < 2100


# --- forms ----------------------------------------------------------------------------------------------------


MULTIPART = (
    b"content-type: multipart/form-data; boundary=xyz\n\n"
    b'--xyz\r\nContent-Disposition: form-data; name="QUERY"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
    b"SELECT 1\r\n"
    b'--xyz\r\nContent-Disposition: form-data; name="table"; filename="t.csv"\r\nContent-Type: text/csv\r\n\r\n'
    b"a,b\r\n1,2\r\n\r\n--xyz--\r\n"
)
URLENCODED = (
    b"content-type: application/x-www-form-urlencoded; charset=utf-8\n\nLANG=ADQL&QUERY=SELECT+%C3%A9&PHASE=RUN&a=%"
)


class NoSink:
    """Takes a file's bytes and forgets them."""

    def __init__(self) -> None:
        self.size = 0
        self.sha256 = "0" * 64

    async def write(self, data: bytes) -> None:
        """Count the bytes."""
        self.size += len(data)

    async def close(self) -> NoSink:
        """Return what was stored."""
        return self

    async def abort(self) -> None:
        """Forget it."""


def read_forms(data: bytes) -> object:
    """Read a form.

    The head stands before the first empty line, the body comes in pieces.
    """
    from uws_service.web.forms import FormLimits, read_form

    head, _, body = data.partition(b"\n\n")
    headers = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    limits = FormLimits(body=1 << 20, fields=200, field_size=1 << 16, files=10, file_size=1 << 18, text=1 << 20)
    return asyncio.run(read_form(headers, pieces(), limits=limits, open_file=lambda _: NoSink()))


# --- tables ---------------------------------------------------------------------------------------------------


@cache
def example() -> Any:
    """Return a table with a column of each kind."""
    import numpy as np
    from astropy.table import MaskedColumn, Table

    table = Table()
    table["id"] = MaskedColumn([1, 2**62, 3], mask=[False, False, True])
    table["ra"] = np.array([10.5, np.nan, 359.9])
    table["name"] = ["M 31", "", "é"]
    table["flag"] = [True, False, True]
    table["pair"] = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]], dtype="f4")
    return table


def written(form: str, table: Any = None, **options: Any) -> bytes:
    """Return a table, or the example, in a format of astropy's."""
    table = example() if table is None else table
    if form.startswith("ascii."):
        text = io.StringIO()
        table.write(text, format=form)
        return text.getvalue().encode()
    out = io.BytesIO()
    table.write(out, format=form, **options)
    return out.getvalue()


def votables() -> list[bytes]:
    """Return VOTables in the three forms of data."""
    full = example().copy()
    full["id"] = [1, 2**62, 3]  # the form BINARY can't say that a whole number is missing
    forms = (("tabledata", example()), ("binary", full), ("binary2", example()))
    return [written("votable", table, tabledata_format=form) for form, table in forms]


def texts() -> list[bytes]:
    """Return a CSV and an ECSV file."""
    return [written("ascii.csv", example()["id", "ra", "name", "flag"]), written("ascii.ecsv")]


def parquets() -> list[bytes]:
    """Return a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"id": [1, None, 3], "name": ["a", "", "é"], "list": [[1.0], [], None]}), out)
    return [out.getvalue()]


def read_tables(data: bytes) -> object:
    """Read a table to its end as an upload is read."""
    from uws_service.tap.readers import read_table

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return sum(batch.num_rows for batch in read_table(Path(file.name)).batches)


# --- ADQL -----------------------------------------------------------------------------------------------------


@cache
def queries() -> list[bytes]:
    """Return the queries of the corpus."""
    from tests.adql.test_corpus import CORPUS

    return [case["query"].encode() for cases in CORPUS.values() for case in cases]


def read_queries(data: bytes) -> object:
    """Translate a query into the SQL of each engine."""
    from tests.adql.sky import TABLES, UPLOAD
    from uws_service.adql import translate

    text = data.decode("utf-8", "replace")
    return [translate(text, [*TABLES, UPLOAD], dialect) for dialect in ("duckdb", "postgresql")]


# --- SODA -----------------------------------------------------------------------------------------------------


def read_cutouts(data: bytes) -> object:
    """Read SODA's parameters from lines of NAME=VALUE."""
    from uws_service.soda.request import parse

    values: dict[str, list[str]] = {"ID": ["a"]}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        name, _, value = line.partition("=")
        values.setdefault(name.upper(), []).append(value)
    return parse(values)


CUTOUTS = [
    b"ID=ivo://example/images?m31\nCIRCLE=10.68 41.27 0.1\nBAND=500e-9 600e-9\nTIME=51544 51545.5\nPOL=I\nPOL=Q",
    b"ID=a\nPOLYGON=10 20 11 20 11 21 10 21",
    b"ID=a\nPOS=RANGE 12.0 12.5 34.0 36.0\nBAND=-Inf 300",
]


# --- tokens ---------------------------------------------------------------------------------------------------


ISSUER = "https://iam.example.org"


@cache
def signer() -> tuple[Any, Any]:
    """Return a key, and the issuer's settings."""
    from joserfc.jwk import ECKey

    from uws_service.auth.settings import Issuer

    return ECKey.generate_key("P-256", {"kid": "k1"}), Issuer(url=ISSUER, audience="uws-api")


def signed(claims: Any) -> bytes:
    """Return claims as a token that the issuer has signed."""
    from joserfc import jwt

    return jwt.encode({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, claims, signer()[0]).encode()


CLAIMS = (
    b'{"iss": "https://iam.example.org", "sub": "alice", "aud": "uws-api", "exp": 4000000000, "iat": 1700000000, '
    b'"nbf": 1700000000, "scope": "openid uws", "groups": ["a/b", "c"], "preferred_username": "alice"}'
)


def tokens() -> list[bytes]:
    """Return a good token, and claims that are to be signed."""
    import json

    return [signed(json.loads(CLAIMS)), CLAIMS]


def read_tokens(data: bytes) -> object:
    """Verify a token with the issuer's key.

    What begins with a brace is signed first, as a hostile issuer would.
    """
    import json

    from joserfc import jwt
    from joserfc.errors import JoseError

    from uws_service.auth.claims import identity_of, is_jwt, peek, require_claims, require_form
    from uws_service.auth.credentials import invalid, token_of

    if data[:1] == b"{":
        try:
            claims = json.loads(data)
            data = signed(claims)
        except (ValueError, TypeError, AttributeError, RecursionError, JoseError):
            return None
    key, issuer = signer()
    token = token_of([b"Bearer " + data])
    if not is_jwt(token):
        return None
    peeked, kind = peek(token)
    require_form(peeked, kind, issuer)
    try:
        claims = jwt.decode(token, key, algorithms=list(issuer.algorithms)).claims
    except (JoseError, ValueError, TypeError):
        raise invalid("The signature is not that of the issuer.") from None
    require_claims(claims, issuer, ISSUER, 1_800_000_000.0, 60.0)
    return identity_of(claims, issuer)


TARGETS = (
    Target("forms", lambda: [MULTIPART, URLENCODED], read_forms),
    Target("votable", votables, read_tables),
    Target("csv", texts, read_tables),
    Target("fits", lambda: [written("fits", example()["id", "ra", "flag", "pair"])], read_tables),
    Target("parquet", parquets, read_tables, may_abort=True),
    Target("adql", queries, read_queries),
    Target("soda", lambda: CUTOUTS, read_cutouts),
    Target("tokens", tokens, read_tokens),
)
