"""Files that callers send: whole and of the right kind, or not at all."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import files_in

from llmgate.errors import BadRequest, ClientGone, PayloadTooLarge, Unavailable
from llmgate.exchange import Exchange
from llmgate.plugin.call import Call
from llmgate.plugin.kit.uploads import StoredFile, Uploads

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
FORM = b'--XX\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--XX--\r\n'


def call(*messages: dict[str, Any], length: int | None = None) -> Call:
    left: Iterator[dict[str, Any]] = iter(messages)
    headers = [(b"content-type", b"multipart/form-data; boundary=XX")]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))

    async def receive() -> dict[str, Any]:
        return next(left)

    return Call.of({"type": "http", "headers": headers, "llmgate": Exchange("1", 0.0)}, receive)


def sending(content: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": FORM % content, "more_body": False}


async def test_a_file_is_stored_under_its_checksum_for_its_owner_alone(tmp_path: Path) -> None:
    """Neither file nor folder can be read by other users of the machine."""
    uploads = Uploads(tmp_path / "files", 10, ".bin")
    assert await uploads.receive(call(sending(b"abc"))) == StoredFile(3, SHA256_OF_ABC)
    (name,) = files_in(uploads.folder)
    file = uploads.folder / name
    assert (file.name, file.read_bytes()) == (f"{SHA256_OF_ABC}.bin", b"abc")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(uploads.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (call(sending(b"x" * 11)), PayloadTooLarge),
        (call(sending(b"abc"), length=10**9), PayloadTooLarge),
        (call(sending(b"no magic")), BadRequest),
        (
            call({"type": "http.request", "body": b"--XX", "more_body": True}, {"type": "http.disconnect"}),
            ClientGone,
        ),
        (call({"type": "http.request", "body": b"--XX--", "more_body": False}), BadRequest),
    ],
)
async def test_whatever_else_leaves_nothing(tmp_path: Path, given: Call, refusal: type[Exception]) -> None:
    uploads = Uploads(tmp_path, 10, ".bin", magic=b"abc")
    with pytest.raises(refusal):
        await uploads.receive(given)
    assert files_in(tmp_path) == []


async def test_a_folder_that_cannot_be_written_is_told_as_503(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        await Uploads(tmp_path / "file", 10, ".bin").receive(call(sending(b"abc")))
