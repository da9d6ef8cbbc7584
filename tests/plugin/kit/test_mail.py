"""Mail, received by a real SMTP server."""

import asyncio
from email.headerregistry import Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mail_server import accepts, certificate, html_of, smtp_server, text_of

from llmgate.errors import BadRequest
from llmgate.plugin.kit.mail import Mail, MailFailed, NoMailer, SmtpMailer, SmtpServer, compose, parse_mailbox

SENDER = "Llmgate Prüfstand <gate@example.com>"
MAIL = Mail("ann@example.com", "Your code für heute", "Code: ÄB12\n", "<p>Code: ÄB12</p>\n")


async def test_a_mail_arrives_in_text_and_html() -> None:
    async with smtp_server() as mailbox:
        await SmtpMailer.at(mailbox.url, sender=SENDER).send(MAIL)
    (mail,) = mailbox.received
    assert (mail["To"], mail["Subject"]) == ("ann@example.com", "Your code für heute")
    assert str(mail["From"]) == SENDER
    assert mailbox.envelopes == [("gate@example.com", ["ann@example.com"])]
    assert (text_of(mail), html_of(mail)) == (MAIL.text, MAIL.html)
    assert mail.get_content_type() == "multipart/alternative"
    assert mail["Auto-Submitted"] == "auto-generated"


async def test_a_mail_may_be_text_alone() -> None:
    async with smtp_server() as mailbox:
        await SmtpMailer.at(mailbox.url, sender="gate@example.com").send(Mail("a@b", "hi", "there\n"))
    assert mailbox.received[0].get_content_type() == "text/plain"


def test_a_message_says_when_and_by_whom_it_was_made() -> None:
    message = compose(MAIL, parse_mailbox(SENDER), now=1_800_000_000.0)
    assert message["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert message["Message-ID"].endswith("@example.com>")


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.com\r\nBcc: bob@example.com",
        "ann@example.com\n",
        "ann",
        "",
        "@",
        "a b@c",
        "<>",
        "a@b, c@d",
    ],
)
async def test_an_address_cannot_write_headers_or_be_several(to: str) -> None:
    with pytest.raises(BadRequest) as refused:
        compose(Mail(to, "hi", ""), Address(addr_spec="gate@example.com"), now=0)
    assert refused.value.param == "email"


@pytest.mark.parametrize(
    "subject", ["hi\r\nBcc: bob@example.com", "hi\nX: y", "hi\0", "hi\u2028x", "x" * 256]
)
async def test_a_subject_cannot_write_headers(subject: str) -> None:
    with pytest.raises(BadRequest, match="subject"):
        compose(Mail("ann@example.com", subject, ""), Address(addr_spec="gate@example.com"), now=0)


@given(st.text(), st.text(), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_whatever_is_in_a_mail_its_headers_are_ours(to: str, subject: str, text: str) -> None:
    try:
        message = compose(Mail(to, subject, text, text), Address(addr_spec="gate@example.com"), now=0)
    except BadRequest:
        return
    head = message.as_bytes().partition(b"\r\n\r\n")[0]
    names = {line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")}
    assert names == {
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version"),
        b"Content-Type",
    }


async def test_a_server_that_refuses() -> None:
    async with smtp_server() as mailbox:
        mailbox.refuse = "554 no mail for ann@example.com, it says ÄB12"
        with pytest.raises(MailFailed, match=r"127.0.0.1 did not take the mail: SMTP\w+ 554$"):
            await SmtpMailer.at(mailbox.url, sender=SENDER).send(MAIL)


async def test_nobody_listens() -> None:
    async with smtp_server() as mailbox:
        pass
    with pytest.raises(MailFailed, match="did not take the mail"):
        await SmtpMailer.at(mailbox.url, sender=SENDER).send(MAIL)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(MailFailed, match=r"did not (answer in 0.05 s|take the mail)"):
            await SmtpMailer.at(url, sender=SENDER, timeout=0.05).send(MAIL)
        await ended.wait()


async def test_tls_is_turned_on_where_it_is_offered_and_a_password_accepted(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    options = {"authenticator": accepts("gate", "p@ss"), "auth_required": True}
    async with smtp_server(tls=server, require_starttls=True, **options) as mailbox:
        peer = SmtpServer.parse(f"smtp://gate:p%40ss@127.0.0.1:{mailbox.port}")
        await SmtpMailer(peer, sender=SENDER, tls=client).send(MAIL)
        assert mailbox.encrypted == [True]
        wrong = SmtpServer.parse(f"smtp://gate:wrong@127.0.0.1:{mailbox.port}")
        with pytest.raises(MailFailed, match="SMTPAuthenticationError 535"):
            await SmtpMailer(wrong, sender=SENDER, tls=client).send(MAIL)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server, _ = certificate(tmp_path)
    async with smtp_server(tls=server) as mailbox:
        with pytest.raises(MailFailed, match="did not take the mail"):
            await SmtpMailer.at(mailbox.url, sender=SENDER).send(MAIL)
    assert mailbox.received == []


@pytest.mark.parametrize(
    ("url", "start_tls"),
    [
        ("smtp://mail.example", None),
        ("smtp://user:word@mail.example", True),
        ("smtp://user:word@localhost", None),
        ("smtp://user:word@[::1]:2525", None),
        ("smtps://user:word@mail.example", False),
    ],
)
def test_a_password_never_travels_in_clear(url: str, start_tls: bool | None) -> None:
    server = SmtpServer.parse(url)
    assert server.start_tls is start_tls
    assert server.implicit_tls is url.startswith("smtps")
    assert "word" not in repr(server)


@pytest.mark.parametrize(
    "url", ["mail.example", "http://x", "smtp://", "smtp://x/y", "smtp://x?y", "smtp://x:a"]
)
def test_urls_that_name_no_server(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected smtp|Port"):
        SmtpServer.parse(url)


@pytest.mark.parametrize("sender", ["", "gate", "gate\n@example.com", "Gate <>"])
def test_a_sender_has_to_be_an_address(sender: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_mailbox(sender)


def test_without_the_library_a_gate_with_a_mail_server_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmgate.plugin.kit.mail.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs aiosmtplib: run `pip install '\.\[private-ai\]'` in a checkout"
    ):
        SmtpMailer.at("smtp://127.0.0.1:1025", sender="gate@example.com")


async def test_a_gate_without_a_mail_server_says_what_to_write() -> None:
    with pytest.raises(MailFailed, match=r"write url and sender in \[mail\]"):
        await NoMailer().send(MAIL)
