"""Access to every route by every kind of caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from lxml import etree

from tests.auth.callers import Caller
from tests.auth.test_tokens import bad_tokens
from tests.issuers import NanoIdp, OidcProvider
from tests.server import Server
from uws_service.auth.policy import Policy
from uws_service.runtime import running
from uws_service.settings import Settings
from uws_service.web.resource import Resource
from uws_service.web.routes import resources, routes

POLICIES: dict[str, dict[str, Policy]] = {
    "/": {"GET": Policy.OPEN},
    "/livez": {"GET": Policy.PROBE},
    "/readyz": {"GET": Policy.PROBE},
    "/metrics": {"GET": Policy.OPERATE},
    "/sites": {"GET": Policy.ADMINISTER},
    "/sites/{name}": {"GET": Policy.ADMINISTER},
    "/sites/{name}/drain": {"POST": Policy.ADMINISTER, "DELETE": Policy.ADMINISTER},
    "/static/{name}": {"GET": Policy.PROBE},
    "/login": {"GET": Policy.OPEN, "POST": Policy.OPEN},
    "/login/start/{number:int}": {"GET": Policy.OPEN},
    "/login/callback": {"GET": Policy.OPEN},
    "/login/callback/{issuer}": {"GET": Policy.OPEN},
    "/usage": {"GET": Policy.ACCOUNT},
    "/network": {"GET": Policy.OPEN, "POST": Policy.ADMINISTER},
    "/{application}/query": {"GET": Policy.USE, "POST": Policy.USE},
    "/{application}/async/{job_id}/results/{name}/view": {"GET": Policy.READ},
    "/{application}/async/{job_id}/results/{name}/rows": {"GET": Policy.READ},
    "/{application}/async/{job_id}/results/{name}/overview": {"GET": Policy.READ},
    "/{application}/async/{job_id}/results/{name}/sky": {"GET": Policy.READ},
    "/{application}/async/{job_id}/results/{name}/picture": {"GET": Policy.READ},
    "/logout": {"POST": Policy.OPEN},
    "/agent/v1/claim": {"POST": Policy.AGENT},
    "/agent/v1/inputs/{index:int}": {"GET": Policy.AGENT},
    "/agent/v1/logs/{name}": {"PUT": Policy.AGENT},
    "/agent/v1/outputs/{name}": {"PUT": Policy.AGENT},
    "/agent/v1/progress": {"POST": Policy.AGENT},
    "/agent/v1/token": {"POST": Policy.AGENT},
    "/agent/v1/report": {"POST": Policy.AGENT},
    "/runner/v1/{site}/session": {"POST": Policy.RUNNER, "DELETE": Policy.RUNNER},
    "/runner/v1/{site}/orders": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/report": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/inputs/{index:int}": {"GET": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/data": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/logs/{name}": {"PUT": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/live/{name}": {"PUT": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/claim": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/inputs/{index:int}": {"GET": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/outputs/{name}": {"PUT": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/progress": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/report": {"POST": Policy.RUNNER},
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
    "/{application}/async/events": {"GET": Policy.LIST},
    "/{application}/async/{job_id}/events": {"GET": Policy.READ},
    "/events": {"GET": Policy.OWN},
    "/feed": {"GET": Policy.OPEN},
    "/jobs": {"GET": Policy.OWN, "POST": Policy.OWN},
    "/{application}/async/{job_id}/name": {"GET": Policy.READ, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/extend": {"POST": Policy.WRITE},
    "/{application}/async/{job_id}/download": {"GET": Policy.READ},
    "/notifications": {"GET": Policy.OWN, "POST": Policy.OWN},
    "/notifications/{notification_id}": {"GET": Policy.OWN, "POST": Policy.OWN, "DELETE": Policy.OWN},
    "/{application}/async/{job_id}/notifications": {"GET": Policy.WRITE, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/notifications/{notification_id}": {"DELETE": Policy.WRITE},
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
    "/{application}/async/{job_id}/provenance": {"GET": Policy.READ},
    "/{application}/async/{job_id}/crate": {"GET": Policy.READ},
    "/{application}/async/{job_id}/crate.zip": {"GET": Policy.READ},
    "/{application}/async/{job_id}/rerun": {"GET": Policy.READ, "POST": Policy.READ},
    "/provsap": {"GET": Policy.OPEN},
    "/{application}/async/{job_id}/shares": {"GET": Policy.WRITE, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/shares/{share_id}": {"DELETE": Policy.WRITE, "POST": Policy.WRITE},
    "/{application}/async/{job_id}/copy": {"GET": Policy.READ, "POST": Policy.READ},
    "/{application}/new": {"GET": Policy.USE, "POST": Policy.USE},
    "/{application}/check": {"POST": Policy.USE},
    "/agent/v1/live/{name}": {"PUT": Policy.AGENT},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/heartbeat": {"POST": Policy.RUNNER},
    "/runner/v1/{site}/attempts/{job_id}/{number:int}/agents/{voice}/logs/{name}": {"PUT": Policy.RUNNER},
    "/account": {"GET": Policy.OWN},
}
"""What every route asks of its callers, written down a second time: a change must be made on purpose."""


@pytest.mark.anyio
async def test_every_route_states_its_policy(tmp_path: Path) -> None:
    """A route that is not in the table fails."""
    auth = {"issuers": [{"url": "https://iam.example.org", "audience": "uws-api"}]}
    settings = Settings.load(data=tmp_path, controller=False, auth=auth)
    async with running(settings) as runtime:
        table = routes(resources(runtime.backend()))
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
        Resource("x", get=None)  # type: ignore[call-arg, arg-type]


# --- the matrix ---------------------------------------------------------------------------------------------------


def requests_of(path: str) -> list[tuple[str, Policy]]:
    """Return the verbs of a route, HEAD with GET."""
    verbs = [(verb, policy) for verb, policy in POLICIES[path].items()]
    return verbs + [("HEAD", policy) for verb, policy in verbs if verb == "GET"]


def filled(path: str, job: str) -> str:
    application = {"/{application}/links": "cutout"}.get(path, "tap" if "/tables" in path else "probe")
    values = {"application": application, "job_id": job, "name": "stdout", "share_id": "none", "issuer": "x"}
    values["notification_id"] = "none"
    values |= {"site": "far", "voice": "site"}
    return path.replace("{number:int}", "0").replace("{index:int}", "0").format(**values)


def answered(http: httpx2.Client, verb: str, url: str, **options: Any) -> httpx2.Response:
    """Return an answer.

    Of a stream of events, which has no end, the head alone.
    """
    with http.stream(verb, url, **options) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx2.Response(answer.status_code, headers=answer.headers)
        answer.read()
        return answer


def expected(policy: Policy, path: str, caller: str) -> set[int] | None:
    """Return the allowed statuses.

    None: any but 401 and 403.
    """
    if policy in (Policy.AGENT, Policy.RUNNER):
        return {401}
    if policy is Policy.PROBE:
        return None
    if path.startswith("/login/callback") or (path == "/feed" and caller == "nobody"):
        return {401}
    if path == "/network":  # for everybody where the settings say so
        policy = Policy.ADMINISTER
    if policy in (Policy.OPEN, Policy.OPERATE):  # the tests come from this machine, which may read the metrics
        return None
    if caller == "nobody":
        return {401}
    if policy is Policy.ADMINISTER:  # root asks for a site that there is not
        return {404} if caller == "root" and "{name}" in path else None if caller == "root" else {403}
    if policy in (Policy.USE, Policy.LIST, Policy.ACCOUNT, Policy.OWN) or caller in ("alice", "root"):
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
            answer = answered(caller.http, verb, secured.url + filled(path, job))
            statuses = expected(policy, path, name)
            details = (name, verb, path, answer.status_code, answer.text[:200])
            assert answer.status_code not in (401, 403) if statuses is None else answer.status_code in statuses, details
            assert answer.status_code < 500, details
            if answer.status_code == 401:
                assert answer.headers.get_list("www-authenticate"), details
            if policy in (Policy.PROBE, Policy.AGENT, Policy.RUNNER) or name == "nobody":
                assert "x-vo-authenticated" not in answer.headers, details
            else:
                assert answer.headers["x-vo-authenticated"].startswith(f"{name}@127.0.0.1"), details


@pytest.mark.parametrize("path", [path for path in POLICIES if not path.startswith(("/agent", "/runner"))])
def test_matrix_of_bad_tokens(path: str, nano: NanoIdp, secured: Server, callers: dict[str, Caller]) -> None:
    """A bad token is 401, also where none is needed."""
    job = callers["alice"].create().rpartition("/")[2]
    for fault, (token, words) in bad_tokens(nano).items():
        for verb, policy in requests_of(path):
            headers = {"Authorization": f"Bearer {token}"}
            bad = answered(callers["nobody"].http, verb, secured.url + filled(path, job), headers=headers)
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
    of_script = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    answer = httpx2.post(f"{secured.url}/probe/check", headers=of_script)
    schemes = [value.partition(" ")[0] for value in answer.headers.get_list("www-authenticate")]
    assert answer.status_code == 401 and schemes[0] == "Bearer" and "Basic" not in schemes


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


def test_records_of_others(secured: Server, callers: dict[str, Caller]) -> None:
    """P-011: a record is for those who may read the job, and a graph holds no job that is not; a rerun is one's own."""
    alice, bob, carol, nobody = (callers[name].http for name in ("alice", "bob", "carol", "nobody"))
    job = callers["alice"].create(TAG="private", PHASE="RUN")
    assert callers["alice"].wait(job) == "COMPLETED"
    follower = callers["bob"].create(UPLOAD=f"mine,{job}/results/result", PHASE="RUN")
    assert callers["bob"].wait(follower) == "ERROR"  # it may not fetch the result, but its record names it
    for path in ("provenance", "crate", "crate.zip", "rerun"):
        statuses = {name: caller.http.get(f"{job}/{path}").status_code for name, caller in callers.items()}
        assert statuses == {"alice": 200, "root": 200, "bob": 403, "carol": 403, "nobody": 401}, path
    graph = f"{secured.url}/provsap"
    for http, status in ((alice, 200), (bob, 403), (nobody, 401)):
        assert http.get(graph, params={"ID": job}).status_code == status
    everything = {"DEPTH": "ALL"}
    forward = alice.get(graph, params={"ID": job, "DIRECTION": "FORWARD", **everything})
    assert forward.status_code == 200 and follower.rpartition("/")[2] not in forward.text
    back = bob.get(graph, params={"ID": follower, **everything})
    assert back.status_code == 200 and job.rpartition("/")[2] in back.text and "private" not in back.text
    assert "private" in callers["root"].http.get(graph, params={"ID": follower, **everything}).text
    assert bob.post(f"{job}/rerun").status_code == 403 and nobody.post(f"{job}/rerun").status_code == 401
    assert alice.post(f"{job}/shares", data={"GROUP": "ska/team"}).status_code == 201
    created = carol.post(f"{job}/rerun")
    assert created.status_code == 303, created.text
    copy = created.headers["location"]
    assert carol.get(f"{copy}/owner").text.startswith("carol@")
    assert alice.get(copy).status_code == 403
    link = alice.post(f"{job}/shares").json()["link"]
    assert nobody.get(link.replace("?", "/provenance?")).status_code == 200
    assert nobody.post(link.replace("?", "/rerun?")).status_code == 401  # a link lets nobody run anything
    origin = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert alice.post(f"{job}/rerun", headers=origin).status_code == 403


def test_a_rerun_tells_nothing_of_others(secured: Server, callers: dict[str, Caller]) -> None:
    """Whether another's result is there, is gone or never was: the plan says the same."""
    job = callers["alice"].create(PHASE="RUN")
    assert callers["alice"].wait(job) == "COMPLETED"
    plans = []
    for source in (f"{job}/results/result", f"{job[:-4]}0000/results/result"):
        own = callers["bob"].create(UPLOAD=f"mine,{source}", PHASE="RUN")
        assert callers["bob"].wait(own) == "ERROR"
        plans.append(callers["bob"].http.get(f"{own}/rerun").json()["missing"])
    assert plans[0] == [sentence.replace(f"{job[:-4]}0000", job) for sentence in plans[1]] != []


def test_an_error_for_dali_sync(secured: Server) -> None:
    """D-045: /sync answers errors as VOTable."""
    refused = httpx2.get(f"{secured.url}/probe/sync")
    assert refused.status_code == 401
    assert b"QUERY_STATUS" in refused.content


def test_where_a_request_comes_from(secured: Server) -> None:
    """The address that a trusted proxy adds counts."""
    headers = {"X-Forwarded-For": "127.0.0.1, 198.51.100.7, 203.0.113.9"}
    assert httpx2.post(f"{secured.url}/probe/async", headers=headers).status_code == 401
    assert '"origin": "203.0.113.9"' in secured.log.read_text()
    assert httpx2.get(f"{secured.url}/metrics").status_code == 200
    assert httpx2.get(f"{secured.url}/metrics", headers=headers).status_code == 401
