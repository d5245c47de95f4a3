"""A real SMTP server for tests, in a thread: aiosmtpd."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.server import free_port


class MailServer:
    """Takes mail, and keeps it; with a password, from those alone who have it."""

    def __init__(self, password: str | None = None) -> None:
        self.messages: list[Message] = []
        self.recipients: list[list[str]] = []
        self.port = free_port()
        self.refusal: str | None = None
        server = self

        class Handler:
            async def handle_DATA(self, smtp: Any, session: Any, envelope: Any) -> str:
                if server.refusal is not None:
                    return server.refusal
                server.messages.append(message_from_bytes(envelope.content))
                server.recipients.append(envelope.rcpt_tos)
                return "250 taken"

        def authenticate(smtp: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            return AuthResult(success=data.password == (password or "").encode())

        self.controller = Controller(
            Handler(),
            hostname="127.0.0.1",
            port=self.port,
            auth_required=password is not None,
            auth_require_tls=False,
            authenticator=authenticate,
        )
        self.controller.start()

    def wait(self, count: int, seconds: float = 120) -> list[Message]:
        """Return the messages once there are so many."""
        end = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} messages came in {seconds} s"
            time.sleep(0.05)
        return list(self.messages)

    def close(self) -> None:
        self.controller.stop()
