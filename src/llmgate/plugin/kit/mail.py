"""Mail: plain text and HTML, handed to an SMTP server (RFC 5321) by aiosmtplib.

    mailer = SmtpMailer.at("smtp://127.0.0.1:1025", sender="Gate <gate@example.com>")
    await mailer.send(Mail("ann@example.com", "Your code", "ABCD1234", "<p>ABCD1234</p>"))

`smtps://` speaks TLS from the start, `smtp://` turns it on if the server offers it (STARTTLS). A password
is never sent without TLS, unless the server is on this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from importlib.util import find_spec
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ..api import BadRequest, GateError, email_of, extra_remedy

TIMEOUT = 4.0
"""Seconds for one mail, from connecting to the server's last word."""

PORTS = {"smtp": 25, "smtps": 465}
MAX_SUBJECT = 255

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class Mail:
    """What goes to one person. `html` shows the same as `text`; its writer has escaped what is in it."""

    to: str
    subject: str
    text: str
    html: str | None = None


class MailFailed(GateError):
    """The mail was not taken: no server is configured, it does not answer, or it refuses. Nothing was sent."""


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> None:
        """Hand `mail` over. Raises `MailFailed`, and `BadRequest` for an address or subject that cannot be."""


class NoMailer:
    """The mailer of a gate without an SMTP server."""

    async def send(self, mail: Mail) -> None:
        """Raises `MailFailed`."""
        raise MailFailed("there is no mail server: write url and sender in [mail]")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes. `password` does not show."""

    host: str
    port: int
    implicit_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> SmtpServer:
        """The server at `smtp[s]://[USER:PASSWORD@]HOST[:PORT]`. Raises `ValueError`, which quotes nothing."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("expected smtp://HOST:PORT or smtps://USER:PASSWORD@HOST")
        return cls(
            parts.hostname,
            parts.port or PORTS[parts.scheme],
            parts.scheme == "smtps",
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
        )

    @property
    def start_tls(self) -> bool | None:
        """Whether TLS is turned on after the greeting: always (True), never, or (None) if it is offered."""
        if self.implicit_tls:
            return False
        return True if self.password is not None and not _is_loopback(self.host) else None


class SmtpMailer:
    """Sends by one server. `tls` is the context that its certificate is checked with; the system's, without one."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._sender = parse_mailbox(sender)
        self._timeout = timeout
        self._tls = tls
        self._clock = clock

    @classmethod
    def at(cls, url: str, *, sender: str, timeout: float = TIMEOUT) -> SmtpMailer:
        """A mailer of the server at `url`.

        Raises `ValueError` for that or a `sender` that is no address, or if the library is not installed.
        """
        if find_spec("aiosmtplib") is None:
            raise ValueError(f"it needs aiosmtplib: {extra_remedy('private-ai')}")
        return cls(SmtpServer.parse(url), sender=sender, timeout=timeout)

    async def send(self, mail: Mail) -> None:
        """See `Mailer`. A server that answers nothing has failed after `timeout` seconds."""
        import aiosmtplib  # noqa: PLC0415 - an extra, which a gate without mail can do without

        message = compose(mail, self._sender, now=self._clock())
        server = self._server
        try:
            async with asyncio.timeout(self._timeout):
                await aiosmtplib.send(
                    message,
                    sender=self._sender.addr_spec,
                    recipients=[mail.to],
                    hostname=server.host,
                    port=server.port,
                    username=server.username,
                    password=server.password,
                    use_tls=server.implicit_tls,
                    start_tls=server.start_tls,
                    tls_context=self._tls,
                    timeout=self._timeout,
                )
        except TimeoutError as error:
            raise MailFailed(
                f"the mail server {server.host} did not answer in {self._timeout:g} s"
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailFailed(
                f"the mail server {server.host} did not take the mail: {_reason(error)}"
            ) from error


def compose(mail: Mail, sender: Address, *, now: float) -> EmailMessage:
    """`mail` as it goes over the wire (RFC 5322), text first, HTML as the alternative (RFC 2046, 5.1.4).

    Raises `BadRequest` where the address or subject would write other headers or is none at all.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = _recipient(mail.to)
    message["Subject"] = _one_line("subject", mail.subject)
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=sender.domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices, please
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    return message


def parse_mailbox(text: str) -> Address:
    """`Name <user@host>` or `user@host`. Raises `ValueError`."""
    name, address = parseaddr(text)
    if not text.isprintable() or "@" not in address:
        raise ValueError("expected an address: user@host, or Name <user@host>")
    return Address(name, addr_spec=address)


def _recipient(text: str) -> Address:
    local, _, domain = email_of(_one_line("email", text)).rpartition("@")
    try:
        domain = domain.encode("idna").decode()
        if local.isascii() and _HOST.fullmatch(domain):
            return Address(username=local, domain=domain)
    except (ValueError, MessageError):
        pass
    raise BadRequest("The email is not an address that mail can go to.", param="email")


def _one_line(what: str, text: str) -> str:
    if not text.isprintable() or len(text) > MAX_SUBJECT:
        raise BadRequest(f"The {what} must be one line of at most {MAX_SUBJECT} characters.", param=what)
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    """What failed, without what a server quotes of the mail."""
    code = getattr(error, "code", None)
    return type(error).__name__ if code is None else f"{type(error).__name__} {code}"
