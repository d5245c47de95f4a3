"""UWS 1.1 §2.1.11 and §2.2.2.4, DALI 1.1 §3.4.5: parameters.

Files by reference, unreadable bodies, and parameters that are posted again.
"""

from __future__ import annotations

from urllib.parse import urljoin

from lxml import etree

from uws_conformance.bench import VOTABLE, Bench
from uws_conformance.outcomes import Broken, Unsupported, expect
from uws_conformance.registry import check

SECTION = "UWS 1.1 §2.1.11"
TOPCAT_BOUNDARY = "<<<--------------MULTIPART-BOUNDARY------->>>"


def listed_parameters(bench: Bench, url: str) -> list[tuple[str, str]]:
    """Return upper-case names and values of parameters."""
    return [
        ((parameter.get("id") or "").upper(), parameter.text or "") for parameter in bench.get_xml(f"{url}/parameters")
    ]


def parameter_by_reference(bench: Bench) -> etree._Element:
    """Return the first parameter by reference."""
    job = bench.upload()
    for parameter in job.documents["parameters"]:
        if parameter.get("byReference") in ("true", "1"):
            return parameter
    raise Unsupported("no parameter is by reference")


@check("U-124", "MAY", SECTION, "A job can be made with a file in the multipart form.", "A part beside the parameters.")
def upload_taken(bench: Bench) -> str:
    bench.require_shared("job with an upload", bench.upload)
    return bench.upload().url


@check(
    "U-124", "SHOULD", SECTION, "The parameter of a file is listed by reference.", 'byReference="true" with its URL.'
)
def upload_by_reference(bench: Bench) -> str:
    try:
        return (parameter_by_reference(bench).text or "").strip()
    except Unsupported as error:
        raise Broken(str(error)) from error


@check("U-038", "MUST", "UWS 1.1 §2.2.2.4", "The URL of a parameter by reference gives the bytes that were sent.")
def upload_bytes(bench: Bench) -> str:
    text = (parameter_by_reference(bench).text or "").strip()
    # In DALI the value is name,URL where a service takes several tables.
    url = urljoin(f"{bench.upload().url}/parameters", text.rpartition(",")[2])
    reply = bench.get(url)
    expect(reply.status == 200, str(reply))
    expect(reply.body == VOTABLE, f"{len(reply.body)} bytes, sent were {len(VOTABLE)}")
    return f"{len(VOTABLE)} bytes"


@check("U-121", "MUST", "UWS 1.1 §2.2.3.1", "A creating POST that cannot be read is refused with 4xx, not with 5xx.")
def unreadable_creation(bench: Bench) -> str:
    reply = bench.create((), content=b"no form at all", headers={"Content-Type": "multipart/form-data"})
    if reply.status == 303:
        raise Unsupported(f"{reply}: the server takes it for an empty form")
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check(
    "U-126",
    "TRAP",
    "Clients §STILTS and TOPCAT",
    "A chunked multipart POST with TOPCAT's quoted boundary creates a job.",
    "No Content-Length; the boundary has angle brackets.",
)
def topcat_multipart(bench: Bench) -> str:
    reply = bench.create(bench.job_form("short"), files={}, boundary=TOPCAT_BOUNDARY, chunked=True)
    expect(reply.status == 303, str(reply))
    names = [key for key, _ in listed_parameters(bench, reply.location)]
    for key, _ in bench.job_form("short"):
        expect(key.upper() in names, f"{key} was sent, listed are {names}")
    return str(reply)


@check(
    "D-014", "AMBIG", "DALI 1.1 §2.1", "A parameter that is posted again has the new value, alone or beside the old."
)
def posted_again(bench: Bench) -> str:
    key, value = bench.changeable_parameter()
    job = bench.create_job(())
    for text in (value, f"{value}0"):
        reply = bench.post(f"{job.url}/parameters", (key, text))
        expect(reply.status < 400, str(reply))
    values = [text for name, text in listed_parameters(bench, job.url) if name == key.upper()]
    expect(f"{value}0" in values, f"{key} is {values}, sent were {value} and {value}0")
    return ", ".join(values)


@check("U-039", "MAY", "UWS 1.1 §2.2.1", "PUT of one parameter of a pending job sets it, or is refused with 4xx.")
def put_parameter(bench: Bench) -> str:
    key, value = bench.changeable_parameter()
    job = bench.create_job(((key, value),))
    reply = bench.client.send(
        "PUT", f"{job.url}/parameters/{key}", content=f"{value}1".encode(), headers={"Content-Type": "text/plain"}
    )
    if 400 <= reply.status < 500:
        raise Unsupported(str(reply))
    expect(reply.status < 400, str(reply))
    expect((key.upper(), f"{value}1") in listed_parameters(bench, job.url), f"{reply}, and {key} is not {value}1")
    return str(reply)
