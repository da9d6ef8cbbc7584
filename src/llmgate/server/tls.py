"""TLS at the gate's own addresses."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Address, Gate

ENCRYPTED = "the key is encrypted: write it without a password (openssl pkey -in KEY -out PLAIN)"


class _Encrypted(Exception):
    """OpenSSL asks for a password."""


def tls_context(gate: Gate) -> ssl.SSLContext | None:
    """TLS 1.2 and newer as [gate.tls] describes it; None without. Raises `ConfigError` for files of no use."""
    tls = gate.tls
    if tls.certificate is None or tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except _Encrypted as error:
        raise ConfigError([f"gate.tls.key: {tls.key}: {ENCRYPTED}"]) from error
    except (OSError, ValueError) as error:
        place = "key" if tls.certificate.is_file() and not tls.key.is_file() else "certificate"
        raise _unusable(place, getattr(tls, place), error) from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ValueError) as error:
            raise _unusable("client_ca", tls.client_ca, error) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def speaks_tls(address: Address, gate: Gate) -> bool:
    """Whether clients come to `address` with TLS."""
    if gate.tls.certificate is None:
        return False
    return address in gate.tls.listen if gate.tls.listen else address.path is None


def _no_password() -> str:
    """Without this OpenSSL would ask for one on the terminal, and wait."""
    raise _Encrypted


def _unusable(place: str, file: object, error: OSError | ValueError) -> ConfigError:
    why = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if why is None:
        why = "no certificate and key in PEM that belong together" if place == "certificate" else "not PEM"
        why = f"{why} ({getattr(error, 'reason', None) or error})"
    return ConfigError([f"gate.tls.{place}: {file}: {why}"])
