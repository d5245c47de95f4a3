"""What callers may do with subscriptions to their own jobs (E-020)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection

from uws_service.auth.encryption import lock, unlock
from uws_service.domain.errors import AuthenticationRequired, Forbidden, NotFound
from uws_service.domain.notification import Delivery, Kind, Subscription, Wish
from uws_service.protocol import webhook
from uws_service.service.access import JobAccess
from uws_service.service.caller import Caller
from uws_service.service.notification_settings import NotificationSettings
from uws_service.service.receiver import Receivers
from uws_service.store.access import hashed
from uws_service.store.rows import json_text

MAX_SUBSCRIPTIONS = 20
"""Of one owner to all jobs."""
MAX_OF_JOB = 10
MAX_OF_JOBS = 1000
"""Of one owner to single jobs."""
ROTATION_MS = 86_400_000
"""After a new secret was made, the one before signs too for so long."""


def purpose(key: str) -> str:
    """Return what a webhook's secret is encrypted for."""
    return f"webhook {key}"


class Notices:
    """Creates, lists, tests and ends subscriptions.

    Parameters
    ----------
    key
        Encrypts the secrets of webhooks; None: there are none, since processes have no key in common.
    """

    def __init__(
        self,
        access: JobAccess,
        settings: NotificationSettings,
        receivers: Receivers,
        applications: Collection[str],
        key: bytes | None,
        clock: Callable[[], int],
    ) -> None:
        self.access = access
        self.store = access.store.notifications
        self.settings = settings
        self.receivers = receivers
        self.applications = frozenset(applications)
        self._key = key
        self._clock = clock

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds that callers may have."""
        possible = {
            Kind.WEBHOOK: self.settings.webhooks.enabled and self._key is not None,
            Kind.MAIL: self.settings.mail is not None,
            Kind.FEED: True,
        }
        return tuple(kind for kind, is_possible in possible.items() if is_possible)

    def owner_of(self, caller: Caller) -> str:
        """Return the owner of the caller's subscriptions.

        Raise if nobody knows who calls.
        """
        if caller.owner is None:
            if caller.identity.challenged:
                raise AuthenticationRequired("Notifications are for known users; log in, or send a token.")
            raise Forbidden("Notifications are for known users.")
        return caller.owner

    async def add_webhook(
        self,
        caller: Caller,
        url: str,
        wish: Wish,
        base: str,
        *,
        secret: str | None = None,
        job: tuple[str, str] = ("", ""),
    ) -> tuple[Subscription, str]:
        """Add a webhook.

        Return the subscription and its secret, which nobody gets to see again.

        ``job``: application and id of the only job, if it is one.
        """
        owner = await self._owner(caller, job)
        if Kind.WEBHOOK not in self.kinds:
            raise Forbidden("This service sends no webhooks.")
        assert self._key is not None
        secret = webhook.checked_secret(secret) if secret is not None else webhook.new_secret()
        await self.receivers.require_allowed(url)
        key = secrets.token_hex(8)
        locked = lock(self._key, purpose(key), secret)
        entry = Subscription(key, Kind.WEBHOOK, owner, url, wish, base, self._clock(), job_id=job[1], locked=locked)
        await self._add(entry)
        return entry, secret

    async def add_mail(self, caller: Caller, wish: Wish, base: str) -> Subscription:
        """Add mail to the address that the caller's issuer has verified."""
        owner = self.owner_of(caller)
        mail = self.settings.mail
        if mail is None:
            raise Forbidden("This service sends no mail.")
        address = caller.identity.email
        if not address:
            raise Forbidden("Your login has no verified e-mail address, so there is nowhere to send mail to.")
        entry = Subscription(
            secrets.token_hex(8), Kind.MAIL, owner, address, wish, base, self._clock(), delay=mail.digest * 1000
        )
        await self._add(entry)
        return entry

    async def add_feed(self, caller: Caller, wish: Wish, base: str) -> tuple[Subscription, str]:
        """Make a link to a feed of the caller's jobs; return the subscription and the link's secret."""
        owner = self.owner_of(caller)
        key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        entry = Subscription(key, Kind.FEED, owner, "", wish, base, self._clock(), locked=hashed(secret))
        await self._add(entry)
        return entry, f"{key}.{secret}"

    async def _add(self, entry: Subscription) -> None:
        limit = MAX_OF_JOB if entry.job_id else MAX_SUBSCRIPTIONS
        if not await self.store.add(entry, limit, MAX_OF_JOBS):
            raise Forbidden(f"There are {limit} notifications already, or {MAX_OF_JOBS} of single jobs; end some.")

    async def _owner(self, caller: Caller, job: tuple[str, str]) -> str:
        """Return whose subscription it is.

        The caller's, or that of the job's owner.
        """
        if not job[1]:
            return self.owner_of(caller)
        row = await self.access.get(*job, caller, write=True)
        if row.owner is None:
            raise Forbidden("The job is anonymous; notifications are for jobs of known users.")
        return row.owner

    async def entries(self, caller: Caller, job: tuple[str, str] = ("", "")) -> list[Subscription]:
        """Return the caller's subscriptions to all jobs, or those to one job."""
        return await self.store.entries(await self._owner(caller, job), job[1])

    async def get(self, caller: Caller, key: str, job: tuple[str, str] = ("", "")) -> Subscription:
        """Return a subscription; another's is not there."""
        owner = await self._owner(caller, job)
        entry = await self.store.get(key)
        if entry is None or entry.owner != owner or entry.job_id != job[1]:
            raise NotFound(f"There is no notification {key[:64]!r}.")
        return entry

    async def end(self, caller: Caller, key: str, job: tuple[str, str] = ("", "")) -> None:
        """End a subscription; what waits is dropped."""
        await self.store.delete((await self.get(caller, key, job)).id)

    async def rotate(self, caller: Caller, key: str) -> str:
        """Give a webhook another secret and return it.

        For a day both sign.
        """
        entry = await self.get(caller, key)
        if entry.kind is not Kind.WEBHOOK or self._key is None:
            raise Forbidden("Only webhooks have a secret that can be changed.")
        secret = webhook.new_secret()
        locked = lock(self._key, purpose(key), secret)
        await self.store.rotate(key, locked, entry.locked, self._clock() + ROTATION_MS)
        return secret

    async def enable(self, caller: Caller, key: str) -> None:
        """Try a receiver again, now, that fails or was given up."""
        await self.store.enable((await self.get(caller, key)).id, self._clock())

    async def test(self, caller: Caller, key: str) -> None:
        """Send a notice of nothing, as the next event would be sent."""
        entry = await self.get(caller, key)
        if entry.kind is Kind.FEED or entry.disabled is not None:
            raise Forbidden("A feed is fetched, nothing is sent; and a disabled notification must be enabled first.")
        now = self._clock()
        payload = {"job_id": "", "application": "", "kind": "TEST", "phase": "", "version": 0, "at": now}
        await self.store.put(Delivery(entry.id, -now, json_text({"seq": -now, **payload}), now, 0, now))

    def secrets_of(self, entry: Subscription) -> list[str] | None:
        """Return the secrets that sign now, the newest first; None: they can't be read with this process's key."""
        if self._key is None:
            return None
        stored = [entry.locked, *([entry.previous] if entry.previous and entry.previous_until > self._clock() else [])]
        keys = [unlock(self._key, purpose(entry.id), locked) for locked in stored]
        return None if keys[0] is None else [key for key in keys if key is not None]

    async def feed(self, link: str) -> Subscription | None:
        """Return the subscription that a feed's link is of, or None."""
        key, _, secret = link.partition(".")
        entry = await self.store.get(key) if len(key) == 16 else None
        if entry is None or entry.kind is not Kind.FEED or not secrets.compare_digest(entry.locked, hashed(secret)):
            return None
        return entry
