"""Mail about jobs that have ended, by an SMTP server (off by default)."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid
from typing import Any

from uws_service.domain.notification import Subscription
from uws_service.service.notification_settings import Mail

TIMEOUT_SECONDS = 30.0
MAX_LINES = 100
"""Jobs that one mail names."""


class MailError(Exception):
    """The server did not take the mail.

    The text says why, without its secrets.
    """


class Mailer:
    """Sends digests."""

    def __init__(self, settings: Mail) -> None:
        self.settings = settings

    async def send(self, entry: Subscription, events: Sequence[Mapping[str, Any]]) -> None:
        """Send one mail about some events; raise `MailError`."""
        message = digest(self.settings.sender, entry, events)
        try:
            await asyncio.to_thread(self._send, message)
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"the mail server did not take it: {type(error).__name__}") from error

    def _send(self, message: EmailMessage) -> None:
        settings = self.settings
        context = ssl.create_default_context()
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_SECONDS)
        with server:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.user is not None and settings.password is not None:
                server.login(settings.user, settings.password.get_secret_value())
            server.send_message(message)


def digest(sender: str, entry: Subscription, events: Sequence[Mapping[str, Any]]) -> EmailMessage:
    """Return one mail about some events.

    Links alone, no parameters and no results.
    """
    changes = [event for event in events if event["event"] != "test"]
    counts = Counter("DELETED" if event["event"] == "deleted" else event["phase"] for event in changes)
    summary = ", ".join(f"{number} {phase}" for phase, number in sorted(counts.items())) or "a test"
    lines = [f"{event.get('phase', 'TEST'):<10} {event['at']}  {event['job']}" for event in events[:MAX_LINES]]
    if len(events) > MAX_LINES:
        lines.append(f"… and {len(events) - MAX_LINES} more: {entry.base}/jobs")
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = entry.target
    message["Subject"] = f"Your jobs: {summary}"
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    message.set_content(
        "\n".join(
            ["This happened to your jobs:", "", *lines, "", f"To end these mails: {entry.base}/notifications", ""]
        )
    )
    return message
