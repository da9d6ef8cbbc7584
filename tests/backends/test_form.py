"""An uploaded form: its fields, where they are, and what readers could take in different ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.form import Form, is_form, read_form
from llmgate.errors import BadRequest

KIND = b"multipart/form-data; boundary=B"
COUNTED = frozenset({"model", "stream"})


def part(disposition: str, value: bytes, *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"--B\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + value + b"\r\n"


MODEL, FILE = part('name="model"', b"whisper"), part('name="file"; filename="a.wav"', b"RIFF\r\n--Bx\r\n\0")
END = b"--B--\r\n"


def read(body: bytes, kind: bytes = KIND) -> Form:
    return read_form(body, kind, COUNTED)


@pytest.mark.parametrize("body", [MODEL + FILE + END, FILE + MODEL + END])
def test_a_field_is_found_wherever_it_stands_and_can_be_set(body: bytes) -> None:
    """All else stays byte for byte; a file's bytes are no text."""
    form = read(body)
    assert form.value(body, "model") == "whisper"
    assert form.text_bytes == len("whisper")
    assert form.with_value(body, "model", "large") == body.replace(b"whisper", b"large")
    assert form.value(body, "prompt") is None


def test_a_field_that_is_missing_is_put_in_front() -> None:
    form = read(FILE + END)
    changed = form.with_value(FILE + END, "model", "small")
    assert changed == part('name="model"', b"small") + FILE + END
    assert read(changed).value(changed, "model") == "small"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (MODEL + MODEL + END, "form.model: given more than once"),
        (MODEL + part('name="Model"', b"x") + END, "form.Model: some backends read it as model"),
        (part('name="model"; filename="x"', b"m") + END, "form.model: expected plain text"),
        (part("name=\"model\"; filename*=utf-8''x", b"m") + END, "form.model: expected plain text"),
        (
            part('name="model"', b"=6D", "Content-Transfer-Encoding: quoted-printable") + END,
            "form.model: expected plain text",
        ),
        (part('name="model"', b"") + END, "form.model: expected plain text"),
        (
            part('name="model"', b"m", "Content-Disposition: form-data; name=x") + END,
            "body: a form field with two",
        ),
        (part("name*=utf-8''model", b"x") + MODEL + END, "body: a form field with a name"),
        (part("name*0=mo; name*1=del", b"x") + END, "body: a form field with a name"),
        (part('name="x"; name="model"', b"x") + END, "body: a form field with a name"),
        (part('name="model"; NAME*=x', b"x") + END, "body: a form field with a name"),
        (part("name='model'", b"x") + END, "body: a form field with a name"),
        (part('name="model', b"x") + END, "body: a form field with a name"),
        (part(r'name="mod\el"', b"x") + END, "body: a form field with a name"),
        (part('name="model "', b"x") + MODEL + END, "body: a form field with a name"),
        (part('name="model[]"', b"x") + MODEL + END, "form.model[]: some backends read it as model"),
        (
            MODEL + part('name="x"', b"a\n" + MODEL.replace(b"\r\n", b"\n")) + END,
            "body: the boundary stands in a value",
        ),
        (MODEL + part('name="x"', b"a\n--B--b") + END, "body: the boundary stands in a value"),
        (MODEL + FILE, "body: the form has no end"),
        (b"", "body: the form has no end"),
        (b"model=whisper", "body: no multipart form"),
    ],
)
def test_what_readers_take_in_different_ways_is_refused(body: bytes, message: str) -> None:
    """Two models, a look-alike, a file or an encoded text for a model, a form that is cut."""
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert caught.value.message.startswith(message)


def test_a_files_name_may_hold_what_looks_like_a_parameter() -> None:
    body = MODEL + part('name="file"; filename="a; name=b.wav"', b"RIFF") + END
    assert [field.name for field in read(body).fields] == ["model", "file"]


@pytest.mark.parametrize(
    "kind",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=B; boundary=C",
        b"multipart/form-data; boundary*=B; boundary=C",
        b"multipart/form-data; boundary=" + b"B" * 71,
    ],
)
def test_a_form_has_one_boundary(kind: bytes) -> None:
    """Of two, readers choose differently."""
    with pytest.raises(BadRequest, match="boundary"):
        read(MODEL + END, kind)


def test_what_is_no_utf8_is_no_name_of_a_model() -> None:
    body = part('name="model"', b"\xff") + END
    with pytest.raises(BadRequest, match=r"^form\.model: not UTF-8"):
        read(body).value(body, "model")


def test_forms_are_told_by_their_type() -> None:
    assert is_form(b"Multipart/Form-Data;boundary=x")
    assert not is_form(b"application/json")
    assert not is_form(b"")


@given(
    st.lists(
        st.sampled_from([MODEL, FILE, END, b"--B", b"\r\n", b"--", b"x", b"\0", b": ", b";"]), max_size=12
    )
)
def test_no_bytes_do_worse_than_be_refused(pieces: list[bytes]) -> None:
    """A form, or a refusal."""
    body = b"".join(pieces)
    try:
        form = read(body)
    except BadRequest:
        return
    for field in form.fields:
        assert field.start <= field.end <= len(body)
