"""Choice of a profile from VOSI capabilities.

The standardIDs of TAP and SODA say how jobs of these services are made.
"""

from __future__ import annotations

from dataclasses import replace

from uws_conformance import documents
from uws_conformance.http import Client
from uws_conformance.outcomes import Broken
from uws_conformance.profile import Profile, load

PROFILES_BY_STANDARD = {"ivo://ivoa.net/std/tap": "tap", "ivo://ivoa.net/std/soda": "soda"}


def discover(url: str, client: Client, fallback: Profile) -> Profile:
    """Return the profile of the first standard found.

    That is the first one in the capabilities beside the job list for which a profile is shipped, else ``fallback``.
    """
    capabilities_url = url.rstrip("/").rsplit("/", 1)[0] + "/capabilities"
    reply = client.send("GET", capabilities_url)
    if reply.status != 200:
        raise Broken(f"--discover: {reply}")
    root = documents.parse(reply.body, capabilities_url)
    for capability in root.iter("capability", "{*}capability"):
        standard = (capability.get("standardID") or "").lower()
        for prefix, name in PROFILES_BY_STANDARD.items():
            if standard == prefix or standard.startswith(f"{prefix}#"):
                return load(name)
    return replace(fallback, name=fallback.name)
