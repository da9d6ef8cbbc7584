"""`llmgate check --live`: everything that the gate would need to reach is asked."""

import asyncio
import datetime as dt
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from servers import serve
from starlette.types import Receive, Scope, Send

from cli.conftest import Cli, backend
from llmgate.cli.check import Findings
from llmgate.cli.live import EXPIRES_SOON_S, _check_certificate


async def test_upstreams_are_asked_with_their_own_key_only_when_told_to(
    unmigrated: Cli, folder: Path
) -> None:
    """Nobody listens at the file's upstream: a problem; a replica that answers 2xx is good."""
    asked: list[tuple[str, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append((scope["path"], dict(scope["headers"])[b"authorization"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serve(app) as url:
        text = (folder / "gate.toml").read_text()
        with_key = f'[upstreams.good]\nurls = ["{url}"]\napi_key = "sk-own"\n' + text
        (folder / "gate.toml").write_text(with_key)
        assert (await asyncio.to_thread(unmigrated.json, "check"))["problems"] == []
        assert asked == []
        found = await asyncio.to_thread(unmigrated.json, "check", "--upstreams", code=2)
    assert asked == [("/v1/models", b"Bearer sk-own")]
    assert f"upstreams.good: {url}/v1/models: status 200" in found["good"]
    [problem] = found["problems"]
    assert "upstreams.local: http://127.0.0.1:9/health: ConnectFailed" in problem


def test_live_says_that_a_key_is_wrong_and_which_models_are_not_there(unmigrated: Cli, folder: Path) -> None:
    """A health path shows neither."""

    def answer(asked: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        good = asked.path != "/v1/models" or asked.headers["authorization"] == "Bearer sk-right"
        return (200, b'{"data":[{"id":"large"}]}') if good else (401, b"{}")

    with backend(answer) as url:
        text = """
            [gate]
            listen = ["127.0.0.1:{port}"]
            [upstreams.v]
            urls = ["{url}"]
            dialect = "vllm"
            api_key = "{key}"
            models = {{ small = "tiny" }}
            [[routes]]
            path = "/v1"
            upstream = "v"
            default_model = "medium"
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            values = {"port": taken.getsockname()[1], "url": url}
            (folder / "gate.toml").write_text(text.format(key="sk-wrong", **values))
            wrong = unmigrated.json("check", "--live", code=2)["problems"]
            (folder / "gate.toml").write_text(text.format(key="sk-right", **values))
            right = unmigrated.json("check", "--live", code=2)["problems"]
    assert any(
        ":7: upstreams.v.api_key:" in line and "the key is wrong: correct it" in line for line in wrong
    )
    assert not any("api_key" in line for line in right)
    assert any('upstreams.v.models.small: it serves no "tiny" (but: large)' in line for line in right)
    assert any('routes[0].default_model: upstreams.v serves no "medium"' in line for line in right)
    assert any("already" in line and "gate.listen" in line for line in right)  # the port is another's


def test_live_asks_where_limits_are_counted(unmigrated: Cli, folder: Path) -> None:
    file = folder / "gate.toml"
    file.write_text(
        file.read_text() + '[limits_store]\nurl = "redis://127.0.0.1:1"\n[gate]\nlisten = ["127.0.0.1:0"]\n'
    )
    found = unmigrated.json("check", "--live", code=2)
    assert any(
        "limits_store.url: redis (127.0.0.1:1): cannot be reached" in line for line in found["problems"]
    )
    assert "127.0.0.1:0: free to listen at" in found["good"]


def test_a_socket_that_is_there_already_is_a_warning(unmigrated: Cli, folder: Path) -> None:
    """A gate that starts takes its place; one that is free leaves no file."""
    file = folder / "gate.toml"
    file.write_text(f'[gate]\nlisten = ["unix:{folder / "s"}"]\n[upstreams.app]\nurls = ["app:"]\n')
    assert f"unix:{folder / 's'}: free to listen at" in unmigrated.json("check", "--live")["good"]
    assert not (folder / "s").exists()
    (folder / "s").touch()
    assert any("there already" in line for line in unmigrated.json("check", "--live")["warnings"])


@pytest.mark.parametrize(
    ("left", "kind"),
    [(EXPIRES_SOON_S + 3600, "good"), (EXPIRES_SOON_S - 3600, "warnings"), (-60, "problems")],
)
def test_a_certificate_is_good_until_it_is_not(tmp_path: Path, left: float, kind: str) -> None:
    """Two weeks before its end somebody has to know."""
    now = dt.datetime.now(dt.UTC)
    file = certificate(tmp_path / "gate.pem", now - dt.timedelta(days=400), now + dt.timedelta(seconds=left))
    findings = Findings()
    _check_certificate(file, findings)
    assert [name for name in ("good", "warnings", "problems") if getattr(findings, name)] == [kind]


def test_a_certificate_that_is_none_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "gate.pem"
    file.write_text("no certificate")
    findings = Findings()
    _check_certificate(file, findings)
    assert findings.problems[0].startswith(f"gate.tls.certificate: {file}: ")


def certificate(file: Path, begins: dt.datetime, ends: dt.datetime) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
    file.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return file
