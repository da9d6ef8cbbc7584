from pathlib import Path

from cli.conftest import Cli


def test_every_way_into_the_gate_is_listed(unmigrated: Cli, folder: Path) -> None:
    """With its address, upstream and layers; the store need not be there, and is not made."""
    rows = {(row["method"], row["path"]): row for row in unmigrated.json("routes")}
    chat = rows["POST", "/v1/chat/completions"]
    assert (chat["address"], chat["owner"], chat["upstream"]) == ("127.0.0.1:8000", "routes[0]", "local")
    assert chat["layers"] == ["authentication", "ratelimit", "quota", "accounting"]
    assert rows["GET", "/healthz"]["upstream"] is None
    assert not (folder / "gate.db").exists()


def test_an_open_route_shows_no_authentication(unmigrated: Cli, folder: Path) -> None:
    """Layers are those of gate.toml, in its order."""
    text = (folder / "gate.toml").read_text()
    open_one = '[[routes]]\npath = "/open"\nupstream = "local"\nauthentication = "none"\nmiddleware = ["accounting"]\n'
    (folder / "gate.toml").write_text(text.replace("[[routes]]", f"{open_one}\n[[routes]]", 1))
    layers = {row["route"]: row["layers"] for row in unmigrated.json("routes")}
    assert layers["/open"] == ["accounting"]


def test_the_table_is_for_people(unmigrated: Cli) -> None:
    """One line for each way in, under headings."""
    lines = unmigrated("routes").stdout.splitlines()
    assert lines[0].split() == ["address", "method", "path", "route", "owner", "upstream", "layers"]
    assert any("/v1/models" in line for line in lines)
