"""Commands for tokens: ``login``, ``logout``, ``token``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import EXIT_FAILURE, EXIT_USAGE, Stop, guarded, note
from uws_service.cli.values import url_of

if TYPE_CHECKING:
    from uws_service.client.login import Device, Offer

ServiceArgument = Annotated[
    str, typer.Argument(metavar="URL", help="URL of the service, or of anything in it.", show_default=False)
]


def login(
    url: ServiceArgument,
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="Log in at this issuer, if there are several.", show_default=False)
    ] = None,
    client_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Public client at the issuer. By default the service's.", show_default=False),
    ] = None,
    scope: Annotated[str | None, typer.Option(metavar="WORDS", help="Scopes to ask for.", show_default=False)] = None,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Keep the tokens in the OS's keyring and not in a file.")
    ] = False,
) -> None:
    """Log in at a service: open a link anywhere, and the commands here are let in.

    The tokens are kept in ~/.config/uws-service/tokens.json, which nobody else can read, and are refreshed by
    themselves.
    """
    from dataclasses import replace

    from uws_service.client.login import log_in, offers
    from uws_service.client.tokens import Keeper, config_folder

    with guarded():
        offer = _chosen(offers(url_of(url)), url, issuer)
        offer = replace(offer, client_id=client_id or offer.client_id, scope=scope or offer.scope)
        login = log_in(offer, _show)
        keeper = Keeper(config_folder(os.environ))
        with keeper.locked():
            keeper.save(login, keyring=keyring)
    note(f"Logged in at {offer.service}.")


def _chosen(offers: list[Offer], url: str, issuer: str | None) -> Offer:
    if not offers:
        raise Stop(EXIT_FAILURE, f"{url} does not say how to log in; give a token by --token")
    matching = [offer for offer in offers if issuer is None or offer.issuer.rstrip("/") == issuer.rstrip("/")]
    issuers = ", ".join(offer.issuer for offer in offers)
    if not matching:
        raise Stop(EXIT_USAGE, f"the service does not take tokens of {issuer}; it takes those of: {issuers}")
    usable = [offer for offer in matching if offer.client_id] if len(matching) > 1 else matching
    if len(usable) != 1:
        raise Stop(EXIT_USAGE, f"the service has several issuers; choose one by --issuer: {issuers}")
    return usable[0]


def _show(device: Device) -> None:
    if device.complete:
        note(f"Open {device.complete} and log in. The code is {device.code}.")
    else:
        note(f"Open {device.url}, log in, and enter the code {device.code}.")


def logout(url: ServiceArgument) -> None:
    """Forget the tokens for a service, and tell the issuer that they are no longer needed."""
    from uws_service.client.login import revoke
    from uws_service.client.tokens import Keeper, config_folder

    with guarded():
        keeper = Keeper(config_folder(os.environ))
        with keeper.locked():
            login = keeper.find(url_of(url))
            if login is None:
                raise Stop(EXIT_FAILURE, f"there is no login at {url}")
            keeper.remove(login.service)
        revoked = revoke(login)
    note(f"Logged out of {login.service}." + ("" if revoked else " The issuer could not be told."))


def token(url: ServiceArgument) -> None:
    """Print a token for a service, for other programs.

    Such as curl -H "Authorization: Bearer $(uws-service token URL)".
    """
    from uws_service.client.tokens import Source

    with guarded():
        token = Source(url_of(url), os.environ)()
    if token is None:
        raise Stop(EXIT_FAILURE, f"there is no token for {url}; log in: uws-service login {url}")
    print(token.partition(" ")[2])


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("login")(login)
    app.command("logout")(logout)
    app.command("token")(token)
