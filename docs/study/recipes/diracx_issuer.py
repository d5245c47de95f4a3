"""The smallest identity provider that DiracX accepts: ``diracx_issuer.py PORT``.

It knows Alice alone, approves at once, and is for recipes on the loopback address. It runs in DiracX's environment.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlparse

from joserfc import jwk, jwt

PORT = int(sys.argv[1])
ISSUER = f"http://127.0.0.1:{PORT}"
KEY = jwk.RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
TOKEN_SECONDS = 600
REQUESTS: dict[str, dict[str, str]] = {}
"""What each code was asked for with."""


def fields(query: str) -> dict[str, str]:
    """Return the first value of each field of a form."""
    return {name: values[0] for name, values in parse_qs(query).items()}


class Handler(BaseHTTPRequestHandler):
    """Answers discovery, keys, authorisation and tokens."""

    def log_message(self, *_: Any) -> None:
        """Log nothing: requests hold codes."""

    def answer(self, document: Any) -> None:
        """Answer with a JSON document."""
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Answer discovery and keys; approve a request by a redirect with a code."""
        url = urlparse(self.path)
        if url.path == "/.well-known/openid-configuration":
            addresses = {f"{name}_endpoint": f"{ISSUER}/{name.split('_')[0]}" for name in ("authorization", "token")}
            algorithms = {"id_token_signing_alg_values_supported": ["RS256"]}
            self.answer({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks", **addresses, **algorithms})
        elif url.path == "/jwks":
            self.answer({"keys": [KEY.as_dict(private=False)]})
        elif url.path == "/authorization":
            request = fields(url.query)
            code = secrets.token_urlsafe(16)
            REQUESTS[code] = request
            self.send_response(302)
            self.send_header(
                "Location", f"{request['redirect_uri']}?{urlencode({'code': code, 'state': request['state']})}"
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Exchange a code for an identity token of Alice's."""
        form = fields(self.rfile.read(int(self.headers["Content-Length"])).decode())
        request = REQUESTS.pop(form["code"])
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": request["client_id"],
            "sub": "alice-sub",
            "preferred_username": "alice",
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "nonce": request.get("nonce", ""),
        }
        token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, KEY)
        self.answer({"access_token": secrets.token_urlsafe(16), "id_token": token, "token_type": "Bearer"})


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
