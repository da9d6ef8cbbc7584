"""Uploads: what is whole and good is kept under its checksum; anything else leaves nothing."""

import asyncio
import hashlib
import os
from pathlib import Path

import httpx
import pytest
from servers import connect, until
from stores import Clock, files_in

from llmgate.plugin.kit.uploads import Uploads
from plugins.conftest import Running

from .conftest import ADA, API, OpenBku, log_in

GGUF = b"GGUF" + bytes(range(256)) * 20
NAME = hashlib.sha256(GGUF).hexdigest() + ".gguf"
FORM = "multipart/form-data; boundary=XX"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
async def url(http: httpx.AsyncClient, admin: dict[str, str]) -> str:
    """Where the file of a model goes."""
    answer = await http.post(f"{API}/models", headers=admin, json={"name": "custom-llama2"})
    assert answer.status_code == 201
    return f"{API}/models/{answer.json()['id']}/upload"


def form(content: bytes, disposition: bytes = b'name="file"; filename="model.gguf"') -> bytes:
    """A form of one part."""
    return b"--XX\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n--XX--\r\n" % (disposition, content)


async def put(http: httpx.AsyncClient, url: str, who: dict[str, str], body: bytes) -> httpx.Response:
    return await http.post(url, headers={**who, "Content-Type": FORM}, content=body)


def kept(folder: Path) -> list[str]:
    return files_in(folder) if folder.exists() else []


async def test_a_file_is_kept_under_its_checksum(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path
) -> None:
    """And is the first version of its model."""
    answer = await http.post(url, headers=admin, files={"file": ("model.gguf", GGUF)})
    assert answer.status_code == 201
    version = {
        "id": 1, "model_id": 1, "version": 1, "size": len(GGUF), "sha256": NAME.removesuffix(".gguf"),
        "created_at": "2027-01-15T08:00:00",
    }  # fmt: skip
    assert answer.json() == version
    assert (folder / NAME).read_bytes() == GGUF
    assert files_in(folder) == [NAME]
    assert (await http.get(f"{API}/models/1/versions", headers=admin)).json() == [version]


async def test_the_same_content_is_the_same_version(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path
) -> None:
    """So that an upload can be repeated; another content is the next version."""
    first = await put(http, url, admin, form(GGUF))
    again = await put(http, url, admin, form(GGUF))
    other = await put(http, url, admin, form(GGUF + b"!"))
    assert [answer.status_code for answer in (first, again, other)] == [201, 200, 201]
    assert first.json() == again.json()
    assert other.json()["version"] == 2
    assert len(files_in(folder)) == 2


async def test_versions_of_uploads_at_once_are_counted_without_gap(
    http: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    """Each has its own number."""
    answers = await asyncio.gather(*(put(http, url, admin, form(GGUF + bytes([n]))) for n in range(5)))
    assert sorted(answer.json()["version"] for answer in answers) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "name",
    [
        b"../../evil.gguf", b"/etc/cron.d/evil", b"..\\..\\evil", b"evil\x00.gguf", b"", b"." * 300, b"CON",
        b"%2e%2e%2fevil", b"x; filename*=UTF-8''..%2Fevil",
    ],
)  # fmt: skip
async def test_what_a_client_calls_its_file_means_nothing(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path, name: bytes
) -> None:
    """No path is made of it."""
    before = files_in(folder.parent)
    answer = await put(http, url, admin, form(GGUF, b'name="file"; filename="%b"' % name))
    assert answer.status_code == 201
    assert files_in(folder) == [NAME]
    assert files_in(folder.parent) == sorted({*before, "models"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (form(b"GGML" + bytes(100)), "not a GGUF file"),
        (form(b"GGU"), "not a GGUF file"),
        (form(b""), "not a GGUF file"),
        (form(b"x" * 3_000_000), "not a GGUF file"),
        (form(GGUF, b'name="model"'), "no field called"),
        (form(GGUF)[:-8], "ends before"),
        (form(GGUF)[:40], "ends before"),
        (b"", "ends before"),
        (b"nonsense", "cannot be read"),
        (form(GGUF).replace(b"Content-Disposition", b"Content Disposition"), "cannot be read"),
        (form(GGUF).removesuffix(b"--XX--\r\n") + form(GGUF), "more than one"),
        (form(GGUF, b'name="file"\r\nX-Long: ' + b"x" * 20_000), "header"),
    ],
)
async def test_what_is_no_such_file_leaves_nothing(  # noqa: PLR0917 - fixtures
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path, body: bytes, told: str
) -> None:
    """400, with a text that says what is wrong."""
    answer = await put(http, url, admin, body)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["detail"]
    assert kept(folder) == []
    assert (await http.get(f"{API}/models/1/versions", headers=admin)).json() == []


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", f"{FORM}{'X' * 70}"],
)
async def test_what_is_no_form_is_400(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path, kind: str
) -> None:
    """Nor is one without a boundary, or with one that is too long."""
    answer = await http.post(url, headers={**admin, "Content-Type": kind}, content=form(GGUF))
    assert answer.status_code == 400
    assert kept(folder) == []


async def test_a_file_over_the_limit_is_413(open_bku: OpenBku, folder: Path) -> None:
    """Whether the length is announced or not; one at the limit is kept."""
    async with open_bku(max_upload=len(GGUF)) as running:
        admin = await log_in(running.http, ADA)
        await running.http.post(f"{API}/models", headers=admin, json={"name": "m"})
        url = f"{API}/models/1/upload"

        async def unannounced() -> object:
            yield form(GGUF + b"!")

        headers = {**admin, "Content-Type": FORM}
        for content in (form(GGUF + b"!"), unannounced(), form(GGUF) + b"x" * 100_000, form(GGUF * 100)):
            answer = await running.http.post(url, headers=headers, content=content)
            assert answer.status_code == 413
            assert kept(folder) == []
        assert (await running.http.post(url, headers=headers, content=form(GGUF))).status_code == 201


async def test_an_upload_that_is_broken_off_leaves_nothing(
    running: Running, admin: dict[str, str], url: str, folder: Path
) -> None:
    """And the next one, of the same file, is as if it had never been."""
    body = form(GGUF + bytes(3_000_000))
    head = (
        f"POST {url} HTTP/1.1\r\nhost: x\r\nauthorization: {admin['Authorization']}\r\n"
        f"content-type: {FORM}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    async with connect(running.url) as client:
        await client.send(head + body[:2_000_000])
        await until(lambda: any(path.stat().st_size for path in folder.glob(".*.part")))
        client.reset()
        await until(lambda: not list(folder.iterdir()))
    assert (await put(running.http, url, admin, body)).json()["version"] == 1


async def test_only_admins_upload(
    http: httpx.AsyncClient, user: dict[str, str], url: str, folder: Path
) -> None:
    """403, and nothing is written."""
    assert (await put(http, url, user, form(GGUF))).status_code == 403
    assert kept(folder) == []


@pytest.mark.parametrize("number", ["2", "x", "..%2f1", "-1"])
async def test_an_upload_for_no_model_is_404(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path, number: str
) -> None:
    """And nothing is written."""
    assert (await put(http, f"{API}/models/{number}/upload", admin, form(GGUF))).status_code == 404
    assert kept(folder) == []


async def test_a_folder_that_cannot_be_written_is_503(
    http: httpx.AsyncClient, admin: dict[str, str], url: str, folder: Path
) -> None:
    """Without its path."""
    folder.write_text("a file")  # noqa: ASYNC240
    answer = await put(http, url, admin, form(GGUF))
    assert answer.status_code == 503
    assert str(folder) not in answer.text


def test_what_dead_processes_left_is_swept(tmp_path: Path, clock: Clock) -> None:
    """What may still be under way is not, nor is any other file."""
    ages = {".old.part": 100_000, ".young.part": 100, "old.gguf": 100_000}
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (clock.now - age, clock.now - age))
    Uploads(tmp_path, 1, ".gguf").sweep(clock)
    assert files_in(tmp_path) == [".young.part", "old.gguf"]
