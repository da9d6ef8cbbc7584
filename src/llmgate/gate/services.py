"""Services that gate.toml describes and nothing else is needed for: identity, mail, sealed secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import Config
from ..errors import ConfigError
from ..identity import Identity, PasswordRules

if TYPE_CHECKING:
    from ..plugin.kit.mail import Mailer
    from ..store import Store
    from ..store.sealed import SealedBox


class _Unasked:
    """The mailer of a gate without plugins, which nobody can ask."""

    async def send(self, mail: object) -> None:
        """See `Mailer`."""
        raise ConfigError(["mail: there is no mail server: write url and sender in [mail]"])


def mailer_of(config: Config) -> Mailer:
    """What sends mail, as [mail] says. Raises `ConfigError`."""
    mail = config.mail
    if not config.plugins and mail.url is None:
        return _Unasked()  # the real one loads all that plugins may use
    from ..plugin.kit.mail import NoMailer, SmtpMailer  # noqa: PLC0415 - for plugins alone

    if mail.url is None:
        return NoMailer()
    try:
        return SmtpMailer.at(mail.url.reveal(), sender=mail.sender, timeout=mail.timeout)
    except ValueError as error:
        raise ConfigError([f"mail: {error}"]) from error


def sealed_box_of(config: Config) -> SealedBox | None:
    """What seals secrets, if there are keys for it. Raises `ConfigError`."""
    if not config.store.sealing_keys:
        return None
    from ..store.sealed import SealedBox  # noqa: PLC0415 - 9 MB that a gate without secrets to show need not spend

    try:
        return SealedBox(key.reveal() for key in config.store.sealing_keys)
    except ValueError as error:
        raise ConfigError([f"store.sealing_keys: {error}"]) from error


def identity_of(config: Config, store: Store) -> Identity:
    """The services of identity over `store`, by the rules of gate.toml."""
    return Identity.over(
        store,
        passwords=PasswordRules(config.passwords.min_length, config.passwords.max_bytes),
        lifetime=config.sessions.lifetime,
        algorithm=config.sessions.algorithm,
        max_age=config.sessions.max_age,
        issuer=config.sessions.issuer,
    )
