"""Kubeconfig files of a site, with everything in them, so that they can be copied anywhere on this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.rig.components import Layout

LEEWAY_SECONDS = 60


def render(layout: Layout, user: Mapping[str, str], namespace: str = "default") -> str:
    """Return the text of a kubeconfig for a user."""
    authority = base64.b64encode(Path(layout.certificate("ca.crt")).read_bytes()).decode()
    cluster = {"server": layout.server, "certificate-authority-data": authority}
    context = {"cluster": layout.name, "user": "user", "namespace": namespace}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": layout.name,
            "clusters": [{"name": layout.name, "cluster": cluster}],
            "users": [{"name": "user", "user": dict(user)}],
            "contexts": [{"name": layout.name, "context": context}],
        },
        sort_keys=False,
    )


def write(path: Path, text: str) -> None:
    """Replace a kubeconfig, for its owner only and in one step, so that a reader never sees half of it."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.rename(path)


def certificate_user(layout: Layout, name: str) -> dict[str, str]:
    """Return a user who shows a client certificate."""
    files = {"client-certificate-data": f"{name}.crt", "client-key-data": f"{name}.key"}
    return {
        field: base64.b64encode(Path(layout.certificate(file)).read_bytes()).decode() for field, file in files.items()
    }


def short_token(layout: Layout, namespace: str, service_account: str, *, uid: str, now: float, lifetime: float) -> str:
    """Return a service account's token, signed with the site's own key, that is accepted for about so many seconds.

    The API server accepts a token for a minute beyond its end, and one that it has just seen for ten seconds more.
    """
    key = serialization.load_pem_private_key(Path(layout.certificate("tokens.key")).read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    claims = {
        "iss": layout.server,
        "aud": [layout.server],
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
        "iat": int(now - LEEWAY_SECONDS),
        "nbf": int(now - LEEWAY_SECONDS),
        "exp": int(now + lifetime - LEEWAY_SECONDS),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": service_account, "uid": uid}},
    }
    text = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{_encode(signature)}"


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
