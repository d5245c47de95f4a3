"""UWS 1.1 §3 and SSO 2.0: identities, challenges, ownership."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.http import ANONYMOUS
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check


def require_credentials(bench: Bench) -> None:
    """Skip the check unless credentials were given."""
    if bench.client.identity is ANONYMOUS:
        raise Skipped("no credentials were given (--token, --basic or --cookie)")


@check("U-160", "MUST", "UWS 1.1 §2.1.8", "The job of an authenticated client has its ownerId.")
def owner_known(bench: Bench) -> str:
    require_credentials(bench)
    owner = documents.value(bench.pending().documents["get"], "ownerId")
    expect(owner, "ownerId is nil or empty")
    return str(owner)


@check("A-005", "SHOULD", "SSO 2.0 §AuthVO 4.3", "X-VO-Authenticated tells an authenticated client who it is.")
def told_identity(bench: Bench) -> str:
    require_credentials(bench)
    identity = bench.get(f"{bench.base_url}/capabilities").headers.get("x-vo-authenticated")
    expect(identity, "no X-VO-Authenticated")
    return str(identity)


@check("A-005", "SHOULD", "SSO 2.0 §AuthVO 4.3", "An anonymous client gets no X-VO-Authenticated.")
def anonymous_identity(bench: Bench) -> str:
    identity = bench.send_anonymously("GET", f"{bench.base_url}/capabilities").headers.get("x-vo-authenticated")
    expect(identity is None, f"X-VO-Authenticated: {identity}")
    return "none"


@check("A-004", "MUST", "SSO 2.0 §AuthVO 4", "A 401 has a challenge.", "RFC 9110 demands WWW-Authenticate.")
def challenge(bench: Bench) -> str:
    reply = bench.send_anonymously("GET", bench.list_url)
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
def bad_token(bench: Bench) -> str:
    require_credentials(bench)
    reply = bench.client.send("GET", bench.list_url, headers={"Authorization": "Bearer not-a-token"})
    expect(reply.status in (401, 403), str(reply))
    return str(reply)


def add_ownership_check(method: str, child: str, form: tuple[tuple[str, str], ...] | None) -> None:
    """Register the check of a request by somebody else."""
    label = f"{method} {child or 'job'}"

    @check(
        "U-161",
        "MUST",
        "UWS 1.1 §3",
        f"{label} of somebody else's job is not allowed.",
        "403; 404 hides it.",
        name=f"other-{label}".replace(" ", "-"),
    )
    def denied(bench: Bench) -> str:
        require_credentials(bench)
        reply = bench.send_as_other(method, f"{bench.pending().url}{child}", form)
        expect(reply.status in (401, 403, 404), str(reply))
        return str(reply)


for _child in ("", "/phase", "/results", "/parameters", "/owner", "/destruction"):
    add_ownership_check("GET", _child, None)
add_ownership_check("POST", "/phase", (("PHASE", "ABORT"),))
add_ownership_check("POST", "/parameters", (("RUNID", "x"),))
add_ownership_check("DELETE", "", None)


@check(
    "U-161", "AMBIG", "UWS 1.1 §3", "Somebody else's job answers 403.", "404 is common to hide ids, the text says 403."
)
def other_403(bench: Bench) -> str:
    require_credentials(bench)
    reply = bench.send_as_other("GET", bench.pending().url)
    expect(reply.status == 403, str(reply))
    return str(reply)


@check("U-162", "TRAP", "UWS 1.1 §3", "The list of somebody else does not show the job.", "Never list others' jobs.")
def other_list(bench: Bench) -> str:
    require_credentials(bench)
    name = bench.pending().url.rsplit("/", 1)[-1]
    reply = bench.send_as_other("GET", bench.list_url)
    expect(f'"{name}"' not in reply.text, f"{name} is in the list of the second identity")
    return str(reply)


METHOD_IDS = {
    f"ivo://ivoa.net/sso#{name}".lower()
    for name in ("BasicAA", "tls-with-password", "tls-with-certificate", "cookie", "OAuth", "saml2.0", "OpenID")
}


@check("A-001", "SHOULD", "SSO 2.0 §2", "Login methods have the standardIDs of SSO; an empty one is anonymous.")
def security_methods(bench: Bench) -> str:
    reply = bench.get(f"{bench.base_url}/capabilities")
    expect(reply.status == 200, str(reply))
    method_ids = [
        method.get("standardID") for method in documents.parse(reply.body, reply.url).iter("{*}securityMethod")
    ]
    unknown = [identifier for identifier in method_ids if identifier and identifier.lower() not in METHOD_IDS]
    expect(not unknown, f"unknown: {', '.join(map(str, unknown))}")
    return ", ".join(str(identifier or "anonymous") for identifier in method_ids) or "none is named"


def anonymous_challenges(bench: Bench) -> tuple[str, ...]:
    """Return the challenges of a 401 reply."""
    reply = bench.send_anonymously("GET", bench.list_url)
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
def challenge_for_topcat(bench: Bench) -> str:
    challenges = anonymous_challenges(bench)
    usable = [
        challenge for challenge in challenges if re.search(r"(^|,\s*)(Basic|ivoa_cookie|ivoa_x509)\b", challenge, re.I)
    ]
    expect(usable, f"the challenges are {list(challenges)}")
    return usable[0]


@check("A-011", "SHOULD", "SSO 2.0 §clients", "Each challenge has a WWW-Authenticate header of its own.")
def one_challenge_a_header(bench: Bench) -> str:
    challenges = anonymous_challenges(bench)
    joined = [
        challenge
        for challenge in challenges
        if re.search(r",\s*(Basic|Bearer|Digest|Negotiate|ivoa_\w+)(\s|$)", challenge, re.I)
    ]
    expect(not joined, f"joined: {joined}")
    return f"{len(challenges)} headers"


@check("A-017", "SHOULD", "SSO 2.0 §clients", "HEAD of capabilities has the challenges of GET.", "TOPCAT asks by HEAD.")
def challenges_of_head(bench: Bench) -> str:
    url = f"{bench.base_url}/capabilities"
    by_get, by_head = bench.send_anonymously("GET", url).challenges, bench.send_anonymously("HEAD", url).challenges
    expect(by_get == by_head, f"GET has {list(by_get)}, HEAD has {list(by_head)}")
    return f"{len(by_get)} challenges"


@check(
    "A-014",
    "TRAP",
    "Clients §redirects",
    "Results are on the host that was asked.",
    "Clients send the token along, and object stores refuse it; answer with a redirect or with the bytes.",
)
def results_here(bench: Bench) -> str:
    require_credentials(bench)
    results = bench.get_xml(f"{bench.completed().url}/results")
    urls = [result.get(f"{{{documents.XLINK}}}href") or "" for result in results]
    foreign_urls = [url for url in urls if urlsplit(url).netloc not in ("", urlsplit(bench.list_url).netloc)]
    expect(not foreign_urls, f"elsewhere: {', '.join(foreign_urls)}")
    return f"{len(urls)} results"
