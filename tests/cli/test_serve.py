import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx


def test_serve_says_where_it_listens_and_stops_in_order(folder: Path) -> None:
    """On stderr, as stdout has the access log; SIGTERM ends it with exit code 0."""
    text = (folder / "gate.toml").read_text()
    (folder / "gate.toml").write_text(f'[gate]\nlisten = ["unix:{folder / "s"}"]\n' + text)
    command = [sys.executable, "-m", "llmgate", "--config", str(folder / "gate.toml"), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "s"))) as client:
            refused = client.get("http://gate/v1/models")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert said == [f"llmgate listens on unix:{folder / 's'}\n", "routes: /v1 -> local\n"]
    assert refused.status_code == 401
    assert process.returncode == 0 and "Traceback" not in stderr
    assert [json.loads(line)["path"] for line in stdout.splitlines()] == ["/v1/models"]
