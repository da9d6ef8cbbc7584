"""Services that gate.toml describes and nothing else is needed for."""

import base64
from pathlib import Path
from typing import Any

import pytest
from stores import clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.config import Config, from_document
from llmgate.errors import BadRequest, ConfigError
from llmgate.gate.services import identity_of, mailer_of, sealed_box_of
from llmgate.plugin.kit.mail import Mail, MailFailed, SmtpMailer
from llmgate.store import Store
from llmgate.store.sealed import Place

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]


def config_of(**tables: Any) -> Config:
    document = {
        "upstreams": {"u": {"urls": ["http://a"]}},
        "routes": [{"path": "/v1", "upstream": "u"}],
        **tables,
    }
    return from_document(document, file=Path("gate.toml"), environ={})


async def test_passwords_are_held_to_the_rules_of_the_file(store: Store) -> None:
    identity = identity_of(config_of(passwords={"min_length": 20}), store)
    with pytest.raises(BadRequest):
        await identity.users.register("ann", "too-short")


async def test_sessions_last_as_long_as_the_file_says(store: Store) -> None:
    identity = identity_of(config_of(sessions={"lifetime": 60}), store)
    user = await identity.users.register("ann", None)
    assert (await identity.sessions.issue(user)).expires_at == store.clock() + 60


def test_mail_goes_to_the_server_of_the_file() -> None:
    mail = {"url": "smtp://127.0.0.1:2525", "sender": "gate@example.com"}
    assert isinstance(mailer_of(config_of(mail=mail)), SmtpMailer)


@pytest.mark.parametrize("plugins", [{}, {"some": {}}], ids=["without plugins", "with one"])
async def test_without_a_server_no_mail_is_sent_in_silence(plugins: dict[str, Any]) -> None:
    mailer = mailer_of(config_of(plugins=plugins))
    with pytest.raises((ConfigError, MailFailed), match="mail"):
        await mailer.send(Mail("ann@example.com", "Hello", "Hello."))


def test_secrets_are_sealed_by_the_keys_of_the_file() -> None:
    key = base64.b64encode(bytes(32)).decode()
    box = sealed_box_of(config_of(store={"url": "sqlite:///gate.db", "sealing_keys": [key]}))
    assert box is not None
    place = Place("table", "column", "1")
    assert box.open(box.seal("secret", place), place) == "secret"


def test_without_keys_nothing_is_sealed() -> None:
    assert sealed_box_of(config_of()) is None


def test_a_key_that_is_none_is_a_problem_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"store\.sealing_keys"):
        sealed_box_of(config_of(store={"url": "sqlite:///gate.db", "sealing_keys": ["short"]}))
