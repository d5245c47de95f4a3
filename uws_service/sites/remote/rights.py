"""What the operator of a site that only calls out has to set there. Pure."""

from __future__ import annotations

from uws_service.sites.kind import Right
from uws_service.sites.remote.settings import RemoteSite

_RUNNER = """\
service: https://uws.example.org   # this service, as the site reaches it
site: {name}
{proof}
data: /var/lib/uws-runner
local: {{kind: local, slots: {slots}}}   # what the runner drives, with the fields of that kind of site
"""
_KEY = "key_file: /etc/uws-runner/key   # made by `uws-service runner-key`, which prints the digest for `keys`"
_CLIENT = """\
client:   # of an issuer in this service's `auth.issuers`; its tokens' subject is one of: {clients}
  token_url: https://iam.example.org/token
  client_id: uws-{name}
  secret_file: /etc/uws-runner/secret"""


def rights(site: RemoteSite) -> list[Right]:
    """Return the runner's file: nothing has to reach the site."""
    proof = _CLIENT.format(name=site.name, clients=", ".join(site.clients)) if site.clients else _KEY
    text = _RUNNER.format(name=site.name, proof=proof, slots=site.slots)
    return [Right("/etc/uws-runner/runner.yaml at the site, of mode 0600; it needs HTTPS to the outside alone", text)]
