"""Mails out of a few paragraphs, from which their plain text and their HTML are made.

    WELCOME = Template("Welcome, {name}", ("Hello {name},", "this code signs you in:"), code="{code}")
    await mailer.send(WELCOME.render("ann@example.com", {"name": "Ann", "code": "A1B2C3D4"}))

What values hold is text in both: nobody writes HTML into a mail by calling himself so.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .mail import Mail

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Template:
    """`{name}` stands for a value. `code` is shown large, `link` as what one may click."""

    subject: str
    paragraphs: tuple[str, ...]
    code: str = ""
    link: str = ""
    label: str = ""

    def render(self, to: str, values: Mapping[str, object]) -> Mail:
        """The mail, with `values` filled in; in the HTML, what they hold is text."""
        shown = {name: str(value) for name, value in values.items()}
        safe = {name: escape(value) for name, value in shown.items()}
        text = [*(paragraph.format_map(shown) for paragraph in self.paragraphs)]
        html = [*(f"<p>{escape(paragraph).format_map(safe)}</p>" for paragraph in self.paragraphs)]
        if self.code:
            text.insert(1, "    " + self.code.format_map(shown))
            code = self.code.format_map(safe)
            html.insert(1, f'<p style="font:700 28px monospace;letter-spacing:4px">{code}</p>')
        if self.link:
            text.append(self.link.format_map(shown))
            html.append(f'<p><a href="{self.link.format_map(safe)}">{escape(self.label)}</a></p>')
        subject = " ".join(self.subject.format_map(shown).split())
        body = "\n".join(html)
        page = (
            f'<!doctype html>\n<html lang="en"><body style="font:16px sans-serif">\n{body}\n</body></html>\n'
        )
        return Mail(to, subject[:200], "\n\n".join(text) + "\n", page)
