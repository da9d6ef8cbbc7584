"""What the mails say."""

from mail_server import html_of

from plugins.private_ai.gate import ADMIN, Running

BOB = "bob@example.com"


async def test_names_in_mails_are_text(running: Running) -> None:
    team = await running.team("<b>Bees</b>")
    await running.ask(ADMIN, "POST", "/users", {"email": BOB, "team_id": team}, status=201)
    assert "&lt;b&gt;Bees&lt;/b&gt;" in html_of(running.mailbox.to(BOB)[0])
