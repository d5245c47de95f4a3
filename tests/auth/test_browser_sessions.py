"""What browsers send by themselves.

Cookies, forms of other sites, logins.
"""

from __future__ import annotations

import httpx2
import pytest

from tests.auth.callers import Caller
from tests.issuers import NanoIdp
from tests.server import Server


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


def test_log_out_everywhere(secured: Server, nano: NanoIdp) -> None:
    """All sessions of the caller end, whoever asks for it; those of others go on."""

    def log_in(http: httpx2.Client, name: str) -> None:
        assert http.post("/login", data={"password": nano.token(name)}).status_code == 200
        assert http.get("/account").status_code == 200

    first, second, other = (httpx2.Client(base_url=secured.url) for _ in range(3))
    with first, second, other:
        for http, name in ((first, "alice"), (second, "alice"), (other, "bob")):
            log_in(http, name)
        assert "Log out everywhere" in first.get("/account", headers={"accept": "text/html,application/xhtml+xml"}).text
        nobody = httpx2.post(f"{secured.url}/logout", data={"EVERYWHERE": "1"})
        assert nobody.status_code == 200 and first.get("/account").status_code == 200
        assert first.post("/logout", data={"EVERYWHERE": "1"}).status_code == 200
        assert [http.get("/account").status_code for http in (first, second, other)] == [401, 401, 200]
        log_in(first, "alice")
        by_token = {"authorization": f"Bearer {nano.token('alice')}"}
        assert httpx2.post(f"{secured.url}/logout", data={"EVERYWHERE": "1"}, headers=by_token).status_code == 200
        assert first.get("/account").status_code == 401


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
