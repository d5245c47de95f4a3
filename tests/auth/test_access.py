"""Access to every route by every kind of caller.

Also sharing, quotas, browsers' forms, and secrets in logs and database.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lxml import etree

from tests.auth.conftest import PROBE, auth_settings
from tests.auth.test_tokens import bad_tokens
from tests.issuers import NanoIdp, OidcProvider
from tests.server import Server
from uws_service.auth.policy import Policy
from uws_service.runtime import running
from uws_service.settings import Settings
from uws_service.web.resource import Resource
from uws_service.web.routes import routes

POLICIES: dict[str, dict[str, Policy]] = {
    "/": {"GET": Policy.OPEN},
    "/livez": {"GET": Policy.PROBE},
    "/readyz": {"GET": Policy.PROBE},
    "/metrics": {"GET": Policy.OPERATE},
    "/static/{name}": {"GET": Policy.PROBE},
    "/login": {"GET": Policy.OPEN, "POST": Policy.OPEN},
    "/login/start/{number:int}": {"GET": Policy.OPEN},
    "/login/callback": {"GET": Policy.OPEN},
    "/login/callback/{issuer}": {"GET": Policy.OPEN},
    "/logout": {"POST": Policy.OPEN},
    "/agent/v1/claim": {"POST": Policy.AGENT},
    "/agent/v1/inputs/{index:int}": {"GET": Policy.AGENT},
    "/agent/v1/outputs/{name}": {"PUT": Policy.AGENT},
    "/agent/v1/progress": {"POST": Policy.AGENT},
    "/agent/v1/token": {"POST": Policy.AGENT},
    "/agent/v1/report": {"POST": Policy.AGENT},
    "/{application}": {"GET": Policy.OPEN},
    "/{application}/availability": {"GET": Policy.PROBE},
    "/{application}/capabilities": {"GET": Policy.OPEN},
    "/{application}/examples": {"GET": Policy.OPEN},
    "/{application}/tables": {"GET": Policy.USE},
    "/{application}/tables/{name}": {"GET": Policy.USE},
    "/{application}/sync": {"GET": Policy.USE, "POST": Policy.USE},
    "/{application}/bulk": {"POST": Policy.USE},
    "/{application}/links": {"GET": Policy.USE, "POST": Policy.USE},
    "/{application}/async": {"GET": Policy.LIST, "POST": Policy.USE},
    "/{application}/async/{job_id}": {"GET": Policy.READ, "POST": Policy.WRITE, "DELETE": Policy.WRITE},
    "/{application}/async/{job_id}/phase": {"GET": Policy.READ, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/results": {"GET": Policy.READ},
    "/{application}/async/{job_id}/results/{name}": {"GET": Policy.READ},
    "/{application}/async/{job_id}/parameters": {"GET": Policy.READ, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/parameters/{name}": {"GET": Policy.READ, "PUT": Policy.WRITE},
    "/{application}/async/{job_id}/executionduration": {"GET": Policy.READ, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/destruction": {"GET": Policy.READ, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/quote": {"GET": Policy.READ},
    "/{application}/async/{job_id}/owner": {"GET": Policy.READ},
    "/{application}/async/{job_id}/error": {"GET": Policy.READ},
    "/{application}/async/{job_id}/logs/{name}": {"GET": Policy.READ},
    "/{application}/async/{job_id}/shares": {"GET": Policy.WRITE, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/shares/{share_id}": {"DELETE": Policy.WRITE},
}
"""What every route asks of its callers, written down a second time: a change must be made on purpose."""


@pytest.mark.anyio
async def test_every_route_states_its_policy(tmp_path: Path) -> None:
    """A route that is not in the table fails."""
    auth = {"issuers": [{"url": "https://iam.example.org", "audience": "uws-api"}]}
    settings = Settings.load(data=tmp_path, controller=False, auth=auth)
    async with running(settings) as runtime:
        table = routes(runtime.backend())
        policies: dict[str, dict[str, Policy]] = {}
        for route in table:
            resource: Any = getattr(route, "endpoint", None)
            assert isinstance(resource, Resource), route
            assert resource.policies.keys() == resource.handlers.keys()
            assert resource.policies.get("HEAD") == resource.policies.get("GET")
            path: str = getattr(route, "path", "")
            policies[path] = {verb: policy for verb, policy in resource.policies.items() if verb != "HEAD"}
    assert policies == POLICIES


def test_a_resource_needs_a_policy() -> None:
    with pytest.raises(TypeError):
        Resource("x", get=None)  # type: ignore[call-arg]


# --- the matrix ---------------------------------------------------------------------------------------------------


class Caller:
    """A caller with a token, or without."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.root = server.url
        self.jobs = f"{server.url}/probe/async"
        self.token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx2.Client(timeout=180, headers=headers)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, **data: str) -> str:
        answer = self.http.post(self.jobs, data=data)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def wait(self, job: str) -> str:
        for _ in range(30):
            phase = self.http.get(f"{job}/phase").text
            if phase not in ("QUEUED", "EXECUTING"):
                return phase
            self.http.get(f"{job}?WAIT=8&PHASE={phase}")
        raise AssertionError("the job does not end")


@pytest.fixture(scope="module")
def callers(secured: Server, nano: NanoIdp) -> Iterator[dict[str, Caller]]:
    callers_by_name = {name: Caller(secured, nano.token(name)) for name in ("alice", "bob", "carol", "root")}
    callers_by_name["nobody"] = Caller(secured)
    yield callers_by_name
    for caller in callers_by_name.values():
        caller.http.close()


def requests_of(path: str) -> list[tuple[str, Policy]]:
    """Return the verbs of a route, HEAD with GET."""
    verbs = [(verb, policy) for verb, policy in POLICIES[path].items()]
    return verbs + [("HEAD", policy) for verb, policy in verbs if verb == "GET"]


def filled(path: str, job: str) -> str:
    application = {"/{application}/links": "cutout"}.get(path, "tap" if "/tables" in path else "probe")
    values = {"application": application, "job_id": job, "name": "stdout", "share_id": "none", "issuer": "x"}
    return path.replace("{number:int}", "0").replace("{index:int}", "0").format(**values)


def expected(policy: Policy, path: str, caller: str) -> set[int] | None:
    """Return the allowed statuses; None: any but 401 and 403."""
    if policy is Policy.AGENT:
        return {401}
    if policy is Policy.PROBE:
        return None
    if path.startswith("/login/callback"):
        return {401}
    if policy in (Policy.OPEN, Policy.OPERATE):  # the tests come from this machine, which may read the metrics
        return None
    if caller == "nobody":
        return {401}
    if policy in (Policy.USE, Policy.LIST) or caller in ("alice", "root"):
        return None
    if caller == "carol" and policy is Policy.READ:
        return None
    return {403}


@pytest.mark.parametrize("path", POLICIES)
def test_matrix(path: str, callers: dict[str, Caller], secured: Server) -> None:
    """U-161, U-163, A-005: 403 for others, 401 without a token."""
    for name, caller in callers.items():
        for verb, policy in requests_of(path):
            job = callers["alice"].create(TAG="x").rpartition("/")[2] if "{job_id}" in path else ""
            if job:
                share = callers["alice"].http.post(f"{callers['alice'].jobs}/{job}/shares", data={"GROUP": "ska/team"})
                assert share.status_code == 201, share.text
            answer = caller.http.request(verb, secured.url + filled(path, job))
            statuses = expected(policy, path, name)
            details = (name, verb, path, answer.status_code, answer.text[:200])
            assert answer.status_code not in (401, 403) if statuses is None else answer.status_code in statuses, details
            assert answer.status_code < 500, details
            if answer.status_code == 401:
                assert answer.headers.get_list("www-authenticate"), details
            if policy in (Policy.PROBE, Policy.AGENT) or name == "nobody":
                assert "x-vo-authenticated" not in answer.headers, details
            else:
                assert answer.headers["x-vo-authenticated"].startswith(f"{name}@127.0.0.1"), details


@pytest.mark.parametrize("path", [path for path in POLICIES if not path.startswith("/agent")])
def test_matrix_of_bad_tokens(path: str, nano: NanoIdp, secured: Server, callers: dict[str, Caller]) -> None:
    """A bad token is 401, also where none is needed."""
    job = callers["alice"].create().rpartition("/")[2]
    for fault, (token, words) in bad_tokens(nano).items():
        for verb, policy in requests_of(path):
            headers = {"Authorization": f"Bearer {token}"}
            bad = callers["nobody"].http.request(verb, secured.url + filled(path, job), headers=headers)
            details = (fault, verb, path, bad.status_code, bad.text[:200])
            if policy is Policy.PROBE:
                assert bad.status_code != 401, details
                continue
            assert bad.status_code == 401, details
            assert 'error="invalid_token"' in bad.headers["www-authenticate"], details
            if verb != "HEAD":
                assert words in bad.text and "Traceback" not in bad.text, details


@pytest.mark.parametrize("application", ["tap", "cutout"])
def test_tables_and_images(application: str, callers: dict[str, Caller], secured: Server, nano: NanoIdp) -> None:
    """T-002, S-001: TAP and SODA follow the same policies as jobs."""
    parameters = {
        "tap": {"LANG": "ADQL", "QUERY": "SELECT TOP 1 name FROM openngc.objects", "RESPONSEFORMAT": "csv"},
        "cutout": {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.005"},
    }[application]
    base = f"{secured.url}/{application}"
    paths = {"tap": ["tables", "tables/openngc.objects"], "cutout": ["links?ID=x"]}[application]
    bad = bad_tokens(nano)["expired"][0]
    for name, http in {
        **{name: caller.http for name, caller in callers.items()},
        "bad": callers["nobody"].http,
    }.items():
        headers = {"Authorization": f"Bearer {bad}"} if name == "bad" else {}
        answers = [http.get(f"{base}/{path}", headers=headers) for path in paths]
        answers += [http.get(f"{base}/sync", params=parameters, headers=headers)]
        answers += [http.post(f"{base}/sync", data=parameters, headers=headers)]
        for answer in answers:
            status = 401 if name in ("nobody", "bad") else 200
            assert answer.status_code == status, (name, str(answer.url), answer.text[:300])
        created = http.post(f"{base}/async", data={**parameters, "PHASE": "RUN"}, headers=headers)
        assert created.status_code == (401 if name in ("nobody", "bad") else 303)
        if name not in ("nobody", "bad"):
            job = created.headers["location"]
            phase = callers[name].wait(job)
            assert phase == "COMPLETED", http.get(f"{job}/error").text
            result = http.get(job, headers={"Accept": "application/json"}).json()["results"][0]["href"]
            statuses = {name: caller.http.get(result).status_code for name, caller in callers.items()}
            allowed = {name, "root"}
            assert statuses == {name: 200 if name in allowed else 401 if name == "nobody" else 403 for name in statuses}
            assert http.get(f"{base}/async").text.count("<uws:jobref ") == 1


def test_bulk(callers: dict[str, Caller], secured: Server, nano: NanoIdp) -> None:
    """Jobs of a table belong to its sender alone."""
    url, files = f"{secured.url}/probe/bulk", {"TABLE": ("t.csv", b"TAG\n1\n2\n")}
    created = callers["alice"].http.post(url, files=files, data={"RUNID": "table"})
    assert created.status_code == 303
    accept = {"Accept": "application/json"}
    jobs = [
        job["href"] for job in callers["alice"].http.get(created.headers["location"], headers=accept).json()["jobs"]
    ]
    assert len(jobs) == 2
    for name, status in {"alice": 200, "root": 200, "bob": 403, "carol": 403, "nobody": 401}.items():
        assert {callers[name].http.get(job).status_code for job in jobs} == {status}, name
    for name in ("bob", "carol", "root"):
        assert callers[name].http.get(created.headers["location"], headers=accept).json()["jobs"] == []
    assert callers["nobody"].http.post(url, files=files).status_code == 401
    assert httpx2.post(f"{secured.url}/sleep/bulk", files={"TABLE": b"SECONDS\n1\n"}).status_code == 401
    for fault, (token, _) in bad_tokens(nano).items():
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx2.post(url, files=files, headers=headers).status_code == 401, fault


def test_agents_are_not_callers(secured: Server, nano: NanoIdp) -> None:
    """A person's token opens nothing below /agent."""
    headers = {"Authorization": f"Bearer {nano.token('root')}"}
    assert httpx2.post(f"{secured.url}/agent/v1/claim", headers=headers).status_code in (401, 503)


# --- what a request may look like ---------------------------------------------------------------------------------


def test_credentials_that_are_none(secured: Server, nano: NanoIdp) -> None:
    """Each with a clear answer."""
    token = nano.token("alice")
    url = f"{secured.url}/probe/async"

    def answer(headers: list[tuple[str, str]], query: str = "") -> httpx2.Response:
        return httpx2.get(url + query, headers=headers)

    assert answer([("Authorization", f"Bearer {token}")]).status_code == 200
    assert answer([("Authorization", f"bearer   {token}")]).status_code == 200
    for headers, query, status, words in [
        (
            [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
            "",
            400,
            "several Authorization",
        ),
        ([], f"?access_token={token}", 400, "in the URL"),
        ([("Authorization", f"Bearer {token}")], f"?LAST=1&ACCESS_TOKEN={token}", 400, "in the URL"),
        ([("Authorization", "Basic !!!")], "", 401, "not base64"),
        ([("Authorization", "Basic YWxpY2U=")], "", 401, "holds no password"),
        ([("Authorization", "Basic YWxpY2U6c2VjcmV0")], "", 401, "not a signed JWT|not known to its issuer"),
        ([("Authorization", "Bearer")], "", 401, "holds no token"),
        ([("Authorization", "Bearer a b")], "", 401, "characters that no token has"),
        ([("Authorization", "Bearer " + "a" * 20000)], "", 401, "at most"),
        ([("Authorization", "Negotiate abc")], "", 401, "'Negotiate' is not known"),
        ([("Cookie", "uws_session=abc.def")], "", 401, "log in"),
    ]:
        response = answer(headers, query)
        assert response.status_code == status, (headers, response.text)
        assert any(phrase in response.text for phrase in words.split("|")), (words, response.text)
        assert token not in response.text
    posted = httpx2.post(url, data={"access_token": token}, headers={"Authorization": f"Bearer {token}"})
    assert posted.status_code == 400 and "no parameter" in posted.text


def test_challenges(secured: Server, nano: NanoIdp, provider: OidcProvider) -> None:
    """A-003, A-010, A-011, A-017: one header for each scheme."""
    for method in ("GET", "HEAD"):
        refused = httpx2.request(method, f"{secured.url}/probe/async")
        optional = httpx2.request(method, f"{secured.url}/sleep/capabilities")
        assert (refused.status_code, optional.status_code) == (401, 200)
        for answer in (refused, optional):
            values = answer.headers.get_list("www-authenticate")
            assert [value.partition(" ")[0] for value in values] == [
                "Bearer",
                "Basic",
                "ivoa_cookie",
                "ivoa_bearer",
                "ivoa_bearer",
            ]
            assert f'access_url="{secured.url}/login"' in values[2]
            assert f'discovery_url="{nano.url}/.well-known/openid-configuration"' in values[3]
            assert f'discovery_url="{provider.url}/.well-known/openid-configuration"' in values[4]
    headers = {"Authorization": f"Bearer {nano.token('alice')}"}
    authenticated = httpx2.get(f"{secured.url}/sleep/capabilities", headers=headers)
    assert "www-authenticate" not in authenticated.headers
    page = httpx2.get(f"{secured.url}/probe/async", headers={"Accept": "text/html,application/xhtml+xml"})
    schemes = [value.partition(" ")[0] for value in page.headers.get_list("www-authenticate")]
    assert page.status_code == 401 and "Basic" not in schemes
    assert "/login?next=/probe/async" in page.text


def test_security_methods(secured: Server) -> None:
    """A-001, T-002, V-002: security methods where they belong."""
    for application, anonymous in (("probe", False), ("sleep", True), ("tap", False), ("cutout", False)):
        document = etree.fromstring(httpx2.get(f"{secured.url}/{application}/capabilities").content)
        for interface in document.iter("interface"):
            url = interface.find("accessURL")
            methods = [method.get("standardID") for method in interface.findall("securityMethod")]
            if url.text.endswith(("/async", "/sync", "/links", "/tables", "/tap")):
                assert url.get("use") == "base"
                assert (None in methods) is anonymous
                assert "ivo://ivoa.net/sso#OAuth" in methods and "ivo://ivoa.net/sso#BasicAA" in methods
            else:
                assert methods == []


def test_ownership(secured: Server, callers: dict[str, Caller], nano: NanoIdp) -> None:
    """U-160, U-162: no list shows others' jobs."""
    job = callers["alice"].create(RUNID="mine")
    assert callers["alice"].http.get(f"{job}/owner").text == f"alice@127.0.0.1:{nano.port}"
    assert job.rpartition("/")[2] in callers["alice"].http.get(callers["alice"].jobs).text
    for name in ("bob", "carol", "root"):
        assert job.rpartition("/")[2] not in callers[name].http.get(callers[name].jobs).text


def test_anonymous_jobs(secured: Server, callers: dict[str, Caller]) -> None:
    """An anonymous job's id is its key, in no list."""
    nobody = callers["nobody"].http
    created = nobody.post(f"{secured.url}/sleep/async", data={"SECONDS": "0"})
    assert created.status_code == 303
    job = created.headers["location"]
    assert nobody.get(job).status_code == 200
    listed = nobody.get(f"{secured.url}/sleep/async")
    assert listed.status_code == 200 and job.rpartition("/")[2] not in listed.text
    assert job.rpartition("/")[2] not in callers["bob"].http.get(f"{secured.url}/sleep/async").text
    assert nobody.post(f"{job}/phase", data={"PHASE": "RUN"}).status_code == 303


def test_an_idempotency_key_is_no_way_in(secured: Server) -> None:
    """A key that can be guessed is refused."""
    url, data = f"{secured.url}/sleep/async", {"SECONDS": "0"}
    refused = httpx2.post(url, data=data, headers={"Idempotency-Key": "1"})
    assert refused.status_code == 400 and "random" in refused.text
    headers = {"Idempotency-Key": "0198c1f4-77de-4f3a-9d0e-0d6f2f4f9a11"}
    locations = [httpx2.post(url, data=data, headers=headers).headers["location"] for _ in range(2)]
    assert locations[0] == locations[1]


def test_access_by_group(secured: Server, callers: dict[str, Caller]) -> None:
    """An application may be for members of a group."""
    url = f"{secured.url}/crossmatch/async"
    assert callers["alice"].http.post(url).status_code == 303
    assert callers["root"].http.post(url).status_code == 303
    refused = callers["bob"].http.post(url)
    assert refused.status_code == 403 and "/ska/team" in refused.text
    assert callers["nobody"].http.post(url).status_code == 401


def test_an_error_for_dali_sync(secured: Server) -> None:
    """D-045: /sync answers errors as VOTable."""
    refused = httpx2.get(f"{secured.url}/probe/sync")
    assert refused.status_code == 401
    assert b"QUERY_STATUS" in refused.content


# --- sharing ------------------------------------------------------------------------------------------------------


def test_a_shared_link(secured: Server, callers: dict[str, Caller]) -> None:
    """A link gives read access to one job."""
    alice, nobody = callers["alice"], callers["nobody"].http
    job, unshared = alice.create(OUTPUT="32", PHASE="RUN"), alice.create()
    assert alice.wait(job) == "COMPLETED"
    created = alice.http.post(f"{job}/shares", data={"EXPIRES": "600"})
    assert created.status_code == 201
    link, share = created.json()["link"], created.headers["location"]
    query = "?" + link.partition("?")[2]
    assert nobody.get(job).status_code == 401
    assert nobody.get(link).status_code == 200
    assert len(nobody.get(f"{job}/results/result{query}").content) == 32
    assert nobody.get(f"{job}/logs/stdout{query}").status_code == 200
    assert nobody.get(f"{unshared}{query}").status_code == 401
    assert nobody.get(f"{job}?SHARE=none").status_code == 401
    for method, path in [("DELETE", ""), ("POST", "/phase"), ("POST", "/shares"), ("GET", "/shares")]:
        assert nobody.request(method, f"{job}{path}{query}").status_code == 401, (method, path)
    assert callers["bob"].http.delete(link).status_code == 403
    with httpx2.Client(headers={"Accept": "text/html,application/xhtml+xml"}) as browser:
        page = browser.get(link)
        assert page.status_code == 200 and "httponly" in page.headers["set-cookie"].lower()
        assert browser.get(f"{job}/results/result").status_code == 200
        assert browser.get(unshared).status_code == 401
    listed = alice.http.get(f"{job}/shares").json()["shares"]
    assert [share_entry["id"] for share_entry in listed] == [created.json()["id"]]
    assert link.partition("SHARE=")[2] not in json.dumps(listed)
    assert callers["bob"].http.delete(share).status_code == 403
    assert alice.http.delete(share).status_code == 204
    assert alice.http.delete(share).status_code == 404
    assert nobody.get(link).status_code == 401


def test_shares_that_can_not_be(secured: Server, callers: dict[str, Caller]) -> None:
    alice = callers["alice"]
    job = alice.create()
    for data, words in [
        ({"EXPIRES": "0"}, "in the future"),
        ({"EXPIRES": "99999999"}, "365 days"),
        ({"EXPIRES": "soon"}, ""),
        ({"GROUP": ""}, "name of a group"),
    ]:
        refused = alice.http.post(f"{job}/shares", data=data)
        assert refused.status_code == 400 and words in refused.text
    anonymous = httpx2.post(f"{secured.url}/sleep/async").headers["location"]
    assert httpx2.post(f"{anonymous}/shares").status_code == 403


def test_shares_without_end(secured: Server, callers: dict[str, Caller]) -> None:
    """A job has a hundred at most: each reader by a link costs as much as there are."""
    job = callers["alice"].create()
    answers = [callers["alice"].http.post(f"{job}/shares") for _ in range(103)]
    assert [answer.status_code for answer in answers] == [201] * 100 + [403] * 3
    assert "100 shares already" in answers[-1].text
    assert callers["alice"].http.delete(answers[0].headers["location"]).status_code == 204
    assert callers["alice"].http.post(f"{job}/shares").status_code == 201


# --- browsers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_forms_of_other_sites(secured: Server, callers: dict[str, Caller], name: str) -> None:
    """CSRF: requests from foreign pages are refused, logged in or not."""
    http, url = callers[name].http, f"{secured.url}/sleep/async"
    job = http.post(url).headers["location"]
    for path in ("/sleep/sync", "/sleep/bulk", "/tap/sync", "/tap/async", "/cutout/sync", "/cutout/links", "/login"):
        refused = http.post(f"{secured.url}{path}", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-User": "?1"})
        assert refused.status_code == 403 and "page of another site" in refused.text, path
    for method, path in [("POST", "/shares"), ("POST", "/phase"), ("PUT", "/parameters/SECONDS"), ("DELETE", "")]:
        refused = http.request(method, job + path, headers={"Origin": "https://evil.example.org"})
        assert refused.status_code == 403 and "page of another site" in refused.text, path
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": secured.url, "Sec-Fetch-Site": "cross-site"},
    ):
        refused = http.post(url, headers=headers)
        assert refused.status_code == 403 and "page of another site" in refused.text, headers
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": secured.url}):
        assert http.post(url, headers=headers).status_code == 303, headers


def test_a_link_to_sync(secured: Server, nano: NanoIdp) -> None:
    """A foreign page can't start a query; a followed link can."""
    url = f"{secured.url}/tap/sync?LANG=ADQL&QUERY=SELECT+1+AS+a"
    with httpx2.Client() as http:
        http.post(f"{secured.url}/login", data={"password": nano.token("bob")})
        assert http.get(url).status_code == 200
        navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert http.get(url, headers=navigation).status_code == 403
        assert http.get(url, headers={**navigation, "Sec-Fetch-User": "?1"}).status_code == 200
        assert http.get(url, headers={**navigation, "Sec-Fetch-Site": "none"}).status_code == 200
        assert http.get(f"{secured.url}/tap/capabilities", headers=navigation).status_code == 200


def test_login_with_a_token_and_logout(secured: Server, nano: NanoIdp, callers: dict[str, Caller]) -> None:
    """A-002, A-004: a session that was ended stays so."""
    with httpx2.Client() as http:
        url = f"{secured.url}/login"
        assert http.post(url, data={"username": "alice"}).status_code == 400
        assert http.post(url, data={"username": "alice", "password": "x.y.z"}).status_code == 401
        token = nano.token("alice")
        entered = http.post(url, data={"username": "x", "password": token})
        assert entered.status_code == 200 and entered.headers["x-vo-bearer"] == token
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "uws_session=" in cookie
        assert token not in entered.headers["set-cookie"]
        created = http.post(f"{secured.url}/probe/async")
        assert created.status_code == 303
        job = created.headers["location"]
        assert callers["alice"].http.get(job).status_code == 200
        stolen = {"Cookie": f"uws_session={http.cookies['uws_session']}"}
        assert httpx2.get(job, headers=stolen).status_code == 200
        changed = stolen["Cookie"][:-3] + "abc"
        assert httpx2.get(job, headers={"Cookie": changed}).status_code == 401
        crossing = httpx2.delete(job, headers={**stolen, "Origin": "https://evil.example.org"})
        assert crossing.status_code == 403
        assert http.post(f"{secured.url}/logout").status_code == 200
        assert httpx2.get(job, headers=stolen).status_code == 401


def test_where_a_login_leads(secured: Server, nano: NanoIdp) -> None:
    """Never to another site."""
    headers = {"Accept": "text/html,application/xhtml+xml"}
    for path, leads in [
        ("/probe/async", "/probe/async"),
        ("//evil.example.org", "/"),
        ("https://evil.example.org", "/"),
        ("/\\evil.example.org", "/"),
        ("/login", "/"),
    ]:
        data = {"password": nano.token("alice"), "next": path}
        entered = httpx2.post(f"{secured.url}/login", data=data, headers=headers)
        assert entered.status_code == 303 and entered.headers["location"] == secured.url + leads


def test_a_callback_that_nobody_waits_for(secured: Server) -> None:
    """A login of another browser is refused."""
    started = httpx2.get(f"{secured.url}/login/start/0")
    assert started.status_code == 303 and "code_challenge_method=S256" in started.headers["location"]
    state = httpx2.URL(started.headers["location"]).params["state"]
    for url, cookies in (
        (f"{secured.url}/login/callback?code=x&state={state}", {}),
        (f"{secured.url}/login/callback?code=x&state=other", dict(started.cookies)),
        (f"{secured.url}/login/callback?state={state}&error=access_denied", dict(started.cookies)),
        (f"{secured.url}/login/callback?code=x&state={state}&iss=https://evil.example.org", dict(started.cookies)),
    ):
        assert httpx2.get(url, cookies=cookies).status_code == 401, url
    assert httpx2.get(f"{secured.url}/login/start/9").status_code == 404


# --- quotas -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, nano: NanoIdp) -> Iterator[Server]:
    """Yield a service with narrow quotas."""
    quotas = {
        "default": {"queued": 0, "running": 1, "stored": 1000},
        "groups": {"/ska/team": {"queued": 2}},
        "owners": {f"root@127.0.0.1:{nano.port}": {"rate": 1}, f"dave@127.0.0.1:{nano.port}": {"running": 1}},
        "anonymous": {"queued": 0},
    }
    auth = {**auth_settings(nano, None), "quotas": quotas, "metrics_from": []}
    settings = {
        "UWS_APPLICATIONS": f'["{PROBE}"]',
        "UWS_AUTH": json.dumps(auth),
        "UWS_SITES": '[{"name": "local", "slots": 1}]',
    }
    server = Server(tmp_path_factory.mktemp("small"), settings)
    server.start()
    yield server
    server.stop()


def test_quotas(small: Server, nano: NanoIdp) -> None:
    """429 where waiting helps, 403 where deleting does."""
    with Caller(small, nano.token("alice")) as alice, Caller(small, nano.token("bob")) as bob:
        _quotas(small, alice, bob)


def _quotas(small: Server, alice: Caller, bob: Caller) -> None:
    pending = bob.create()
    refused = bob.http.post(f"{pending}/phase", data={"PHASE": "RUN"})
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert "0 are allowed" in refused.text and bob.http.get(f"{pending}/phase").text == "PENDING"
    assert httpx2.post(f"{small.url}/sleep/async", data={"PHASE": "RUN"}).status_code == 429
    first = alice.create(SECONDS="60", PHASE="RUN")
    while alice.http.get(f"{first}/phase").text == "QUEUED":
        alice.http.get(f"{first}?WAIT=2&PHASE=QUEUED")
    queued = [alice.create(SECONDS="60", PHASE="RUN") for _ in range(2)]
    over = alice.http.post(alice.jobs, data={"PHASE": "RUN"})
    assert over.status_code == 429 and "2 jobs that wait" in over.text
    votable = alice.http.get(f"{small.url}/probe/sync")
    assert votable.status_code == 429 and b"QUERY_STATUS" in votable.content
    table = {"TABLE": b"TAG\n1\n2\n3\n"}
    refused_table = alice.http.post(f"{small.url}/probe/bulk", files=table, data={"PHASE": "RUN", "RUNID": "whole"})
    assert refused_table.status_code == 403 and "3 jobs at once" in refused_table.text
    table = {"TABLE": b"TAG\n1\n2\n"}
    refused_table = alice.http.post(f"{small.url}/probe/bulk", files=table, data={"PHASE": "RUN", "RUNID": "whole"})
    assert refused_table.status_code == 429 and int(refused_table.headers["retry-after"]) > 0
    assert "<uws:jobref " not in alice.http.get(f"{alice.jobs}?RUNID=whole").text
    cutout = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.005"}
    assert alice.http.get(f"{small.url}/cutout/sync", params=cutout).status_code == 429
    for job in (first, *queued):
        alice.http.delete(job)
    upload = {"FILE": ("f", b"x" * 600)}
    created = bob.http.post(bob.jobs, data={"TAG": "x" * 100}, files=upload)
    assert created.status_code == 303
    full = bob.http.post(bob.jobs, data={"TAG": "x" * 200})
    assert full.status_code == 403 and "1000 are allowed" in full.text
    for words in ({"data": {"TAG": "x" * 200}}, {"files": upload}):
        assert bob.http.post(f"{pending}/parameters", **words).status_code == 403, words
    bob.http.delete(created.headers["location"])
    assert bob.http.post(bob.jobs).status_code == 303


def test_queries_beside_jobs(small: Server, nano: NanoIdp) -> None:
    """A synchronous query counts as a running job."""
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 name FROM openngc.objects"}
    with Caller(small, nano.signed(sub="dave")) as dave:
        job = dave.create(SECONDS="60", PHASE="RUN")
        while dave.http.get(f"{job}/phase").text == "QUEUED":
            dave.http.get(f"{job}?WAIT=2&PHASE=QUEUED")
        refused = dave.http.post(f"{small.url}/tap/sync", data=query)
        assert refused.status_code == 429 and refused.headers["retry-after"] and "1 jobs and 0 queries" in refused.text
        dave.http.delete(job)
        assert dave.http.post(f"{small.url}/tap/sync", data=query).status_code == 200


def test_what_a_caller_writes_into_the_log(small: Server, nano: NanoIdp) -> None:
    """Line ends and control characters are escaped."""
    with Caller(small, nano.token("carol")) as carol:
        assert carol.http.post(f"{small.url}/%1b[2Jcarol%0acarol writes%c2%9b31m").status_code == 405
        query = {"LANG": "ADQL", "QUERY": "SELECT 1 AS a", "RUNID": "a\nb"}
        assert "control characters" in carol.http.post(f"{small.url}/tap/sync", data=query).text
        assert "control characters" in carol.http.post(f"{small.url}/probe/sync", data={"RUNID": "a\0"}).text
    log = small.log.read_bytes()
    assert b"[2Jcarol" in log and b"\x1b" not in log and b"\xc2\x9b" not in log
    assert not any(line.startswith(b"carol") for line in log.splitlines())


def test_rates(small: Server, nano: NanoIdp) -> None:
    """Ten seconds' worth at once, then 429."""
    with Caller(small, nano.token("root")) as root, Caller(small, nano.token("bob")) as bob:
        answers = [root.http.get(root.jobs) for _ in range(25)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
        assert bob.http.get(bob.jobs).status_code == 200


def test_metrics(small: Server, nano: NanoIdp) -> None:
    """Administrators alone, where no network is named."""
    url = f"{small.url}/metrics"
    assert httpx2.get(url).status_code == 401
    assert httpx2.get(url, headers={"Authorization": f"Bearer {nano.token('bob')}"}).status_code == 403
    admin = {"Authorization": f"Bearer {nano.signed(sub='chief', groups=['ska/uws/admin'])}"}
    assert httpx2.get(url, headers=admin).status_code == 200


def test_where_a_request_comes_from(secured: Server) -> None:
    """The address that a trusted proxy adds counts."""
    headers = {"X-Forwarded-For": "127.0.0.1, 198.51.100.7, 203.0.113.9"}
    assert httpx2.post(f"{secured.url}/probe/async", headers=headers).status_code == 401
    assert '"origin": "203.0.113.9"' in secured.log.read_text()
    assert httpx2.get(f"{secured.url}/metrics").status_code == 200
    assert httpx2.get(f"{secured.url}/metrics", headers=headers).status_code == 401


# --- traces -------------------------------------------------------------------------------------------------------


def test_no_secret_is_left_behind(secured: Server, callers: dict[str, Caller], nano: NanoIdp) -> None:
    """No secret of the tests above is in log, database or files.

    The log says who did what.
    """
    alice = callers["alice"]
    with httpx2.Client() as http:
        http.post(f"{secured.url}/login", data={"password": alice.token or ""})
        cookie = http.cookies["uws_session"]
        http.get(f"{secured.url}/probe/async?access_token={alice.token}")
        http.post(f"{secured.url}/nothing/{alice.token}")  # paths are logged
    job = alice.create(PHASE="RUN")
    link = alice.http.post(f"{job}/shares").json()["link"].partition("SHARE=")[2]
    httpx2.get(f"{job}?SHARE={link}")
    httpx2.get(f"{secured.url}/tap/sync?SHARE={link}", cookies={"uws_session": cookie, "uws_share": link})
    query = {"LANG": "ADQL", "QUERY": "SELECT 1 AS a", "PHASE": "RUN"}
    assert alice.wait(alice.http.post(f"{secured.url}/tap/async", data=query).headers["location"]) == "COMPLETED"
    alice.http.post(f"{secured.url}/probe/bulk", files={"TABLE": b"TAG\n1\n2\n"}, data={"PHASE": "RUN"})
    alice.http.post(f"{secured.url}/tap/sync", data={**query, "UPLOAD": f"t,http://x:{alice.token}@[::1]/"})
    alice.wait(job)
    secrets = [item.token for item in callers.values() if item.token] + [cookie, cookie.partition(".")[0], link]
    secrets += [token for token, _ in bad_tokens(nano).values() if len(token) > 60]
    log = secured.log.read_text(errors="replace")
    database = sqlite3.connect(f"file:{secured.folder}/data/uws.db?mode=ro", uri=True)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    content = "\n".join(str(row) for table in tables for row in database.execute(f'SELECT * FROM "{table}"'))
    database.close()
    for secret in secrets:
        for part in (secret, secret.rpartition(".")[2] if secret.count(".") == 2 else secret):
            if len(part) >= 16:
                assert part not in log
                assert part not in content
    files = [item for item in (secured.folder / "data").rglob("*") if item.is_file()]
    assert any("depot" in item.parts for item in files) and any("work" in item.parts for item in files)
    for item in files:
        content_bytes = b""
        with contextlib.suppress(FileNotFoundError):  # a work folder that has just been cleared
            content_bytes = item.read_bytes()
        assert not [secret for secret in secrets if len(secret) >= 16 and secret.encode() in content_bytes], item
    assert "Traceback" not in log
    assert "/nothing/[removed]" in log
    audit = [json.loads(line) for line in log.splitlines() if '"audit"' in line]
    entries = [item for item in audit if item["path"] == f"/probe/async/{job.rpartition('/')[2]}/shares"]
    assert (
        entries
        and entries[0]["actor"].startswith("alice@")
        and entries[0]["status"] == 201
        and entries[0]["by"] == "token"
    )
    assert f"alice@127.0.0.1:{nano.port}" in content
