"""Mails out of paragraphs: the same in text and HTML, and what values hold is text in both."""

from llmgate.plugin.kit.mail_templates import Template

WELCOME = Template(
    "Welcome,\n{name}",
    ("Hello {name} & all,", "this code signs you in."),
    code="{code}",
    link="{site}/in",
    label="Sign in",
)
VALUES = {"name": "<b>Ann</b>", "code": "A1B2", "site": "https://x.example/?a=1&b=2"}


def test_text_and_html_say_the_same() -> None:
    mail = WELCOME.render("ann@example.com", VALUES)
    assert mail.subject == "Welcome, <b>Ann</b>", "a line break in a subject begins a header of its own"
    assert mail.text.split("\n\n") == [
        "Hello <b>Ann</b> & all,",
        "    A1B2",
        "this code signs you in.",
        "https://x.example/?a=1&b=2/in\n",
    ]
    assert "<p>Hello &lt;b&gt;Ann&lt;/b&gt; &amp; all,</p>" in mail.html
    assert '<a href="https://x.example/?a=1&amp;b=2/in">Sign in</a>' in mail.html
