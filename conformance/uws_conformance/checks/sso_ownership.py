"""UWS 1.1 §3 and SSO: identities, challenges and other people's jobs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.http import ANONYMOUS
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check


def known(see: Bench) -> None:
    if see.client.identity is ANONYMOUS:
        raise Skipped("no credentials were given (--token, --basic or --cookie)")


@check("U-160", "MUST", "UWS 1.1 §2.1.8", "The job of an authenticated client has its ownerId.")
def owner_known(see: Bench) -> str:
    known(see)
    found = documents.value(see.pending().documents["get"], "ownerId")
    expect(found, "ownerId is nil or empty")
    return str(found)


@check("A-005", "SHOULD", "SSO 2.0 §AuthVO 4.3", "An authenticated client is told who it is: X-VO-Authenticated.")
def told_identity(see: Bench) -> str:
    known(see)
    found = see.get(f"{see.base}/capabilities").headers.get("x-vo-authenticated")
    expect(found, "no X-VO-Authenticated")
    return str(found)


@check("A-005", "SHOULD", "SSO 2.0 §AuthVO 4.3", "An anonymous client gets no X-VO-Authenticated.")
def anonymous_identity(see: Bench) -> str:
    found = see.anonymous("GET", f"{see.base}/capabilities").headers.get("x-vo-authenticated")
    expect(found is None, f"X-VO-Authenticated: {found}")
    return "none"


@check("A-004", "MUST", "SSO 2.0 §AuthVO 4", "A 401 has a challenge.", "RFC 9110 demands WWW-Authenticate.")
def challenge(see: Bench) -> str:
    reply = see.anonymous("GET", see.jobs)
    if reply.status != 401:
        raise Skipped(f"{reply}: no 401 to look at")
    expect(reply.challenges, f"{reply} without WWW-Authenticate")
    return ", ".join(reply.challenges)


@check(
    "A-015",
    "TRAP",
    "SSO 2.0 §clients",
    "Credentials that are not valid give 401 or 403, no login page.",
    "A redirect to HTML breaks every client.",
)
def bad_token(see: Bench) -> str:
    known(see)
    reply = see.client.send("GET", see.jobs, headers={"Authorization": "Bearer not-a-token"})
    expect(reply.status in (401, 403), str(reply))
    return str(reply)


def foreign(method: str, child: str, form: tuple[tuple[str, str], ...] | None) -> None:
    label = f"{method} {child or 'job'}"

    @check(
        "U-161",
        "MUST",
        "UWS 1.1 §3",
        f"{label} of somebody else's job is not allowed.",
        "403; 404 hides it.",
        name=f"other-{label}".replace(" ", "-"),
    )
    def denied(see: Bench) -> str:
        known(see)
        reply = see.second(method, f"{see.pending().url}{child}", form)
        expect(reply.status in (401, 403, 404), str(reply))
        return str(reply)


for _child in ("", "/phase", "/results", "/parameters", "/owner", "/destruction"):
    foreign("GET", _child, None)
foreign("POST", "/phase", (("PHASE", "ABORT"),))
foreign("POST", "/parameters", (("RUNID", "x"),))
foreign("DELETE", "", None)


@check(
    "U-161", "AMBIG", "UWS 1.1 §3", "Somebody else's job answers 403.", "404 is common to hide ids, the text says 403."
)
def other_403(see: Bench) -> str:
    known(see)
    reply = see.second("GET", see.pending().url)
    expect(reply.status == 403, str(reply))
    return str(reply)


@check("U-162", "TRAP", "UWS 1.1 §3", "The list of somebody else does not show the job.", "Never list others' jobs.")
def other_list(see: Bench) -> str:
    known(see)
    name = see.pending().url.rsplit("/", 1)[-1]
    reply = see.second("GET", see.jobs)
    expect(f'"{name}"' not in reply.text, f"{name} is in the list of the second identity")
    return str(reply)


MECHANISMS = {
    f"ivo://ivoa.net/sso#{one}".lower()
    for one in ("BasicAA", "tls-with-password", "tls-with-certificate", "cookie", "OAuth", "saml2.0", "OpenID")
}


@check(
    "A-001", "SHOULD", "SSO 2.0 §2", "Ways to log in are named by the standardIDs of SSO; an empty one is anonymous."
)
def security_methods(see: Bench) -> str:
    reply = see.get(f"{see.base}/capabilities")
    expect(reply.status == 200, str(reply))
    found = [one.get("standardID") for one in documents.parse(reply.body, reply.url).iter("{*}securityMethod")]
    strange = [one for one in found if one and one.lower() not in MECHANISMS]
    expect(not strange, f"unknown: {', '.join(map(str, strange))}")
    return ", ".join(str(one or "anonymous") for one in found) or "none is named"


def refused(see: Bench) -> tuple[str, ...]:
    reply = see.anonymous("GET", see.jobs)
    if reply.status != 401:
        raise Skipped(f"{reply}: no 401 to look at")
    return reply.challenges


@check(
    "A-010",
    "TRAP",
    "Clients §STILTS and TOPCAT",
    "A 401 offers Basic, ivoa_cookie or ivoa_x509.",
    "TOPCAT knows no other scheme; take the token as the password of Basic.",
)
def challenge_for_topcat(see: Bench) -> str:
    found = refused(see)
    known = [one for one in found if re.search(r"(^|,\s*)(Basic|ivoa_cookie|ivoa_x509)\b", one, re.I)]
    expect(known, f"the challenges are {list(found)}")
    return known[0]


@check("A-011", "SHOULD", "SSO 2.0 §clients", "Each challenge has a WWW-Authenticate header of its own.")
def one_challenge_a_header(see: Bench) -> str:
    found = refused(see)
    joined = [one for one in found if re.search(r",\s*(Basic|Bearer|Digest|Negotiate|ivoa_\w+)(\s|$)", one, re.I)]
    expect(not joined, f"joined: {joined}")
    return f"{len(found)} headers"


@check("A-017", "SHOULD", "SSO 2.0 §clients", "HEAD of capabilities has the challenges of GET.", "TOPCAT asks by HEAD.")
def challenges_of_head(see: Bench) -> str:
    url = f"{see.base}/capabilities"
    by_get, by_head = see.anonymous("GET", url).challenges, see.anonymous("HEAD", url).challenges
    expect(by_get == by_head, f"GET has {list(by_get)}, HEAD has {list(by_head)}")
    return f"{len(by_get)} challenges"


@check(
    "A-014",
    "TRAP",
    "Clients §redirects",
    "Results are on the host that was asked.",
    "Clients send the token along, and object stores refuse it; answer with a redirect or with the bytes.",
)
def results_here(see: Bench) -> str:
    known(see)
    found = [one.get(f"{{{documents.XLINK}}}href") or "" for one in see.xml(f"{see.completed().url}/results")]
    away = [one for one in found if urlsplit(one).netloc not in ("", urlsplit(see.jobs).netloc)]
    expect(not away, f"elsewhere: {', '.join(away)}")
    return f"{len(found)} results"
