"""A request is read once, strictly where limits depend on it, and rewritten without touching the rest."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, endpoint_of, parse_request, rewrite
from llmgate.errors import BadRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
# Fields that no endpoint gives a meaning to.
OBJECTS = st.dictionaries(st.text().map(lambda key: "x-" + key), JSON, max_size=6)


def chat(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/chat/completions", Endpoint.CHAT),
        ("/chat/completions", Endpoint.CHAT),
        ("/a/prefix/v1/chat/completions/", Endpoint.CHAT),
        ("/V1/CHAT/completions", Endpoint.CHAT),
        ("/v1//chat//completions//", Endpoint.CHAT),
        ("/v1/completions", Endpoint.COMPLETIONS),
        ("/v1/embeddings", Endpoint.EMBEDDINGS),
        ("/v1/responses", Endpoint.RESPONSES),
        ("/v1/messages", Endpoint.MESSAGES),
        ("/v1/messages/count_tokens", Endpoint.OTHER),
        ("/rerank", Endpoint.RERANK),
        ("/v1/rerank", Endpoint.RERANK),
        ("/v2/rerank", Endpoint.RERANK),
        ("/score", Endpoint.RERANK),
        ("/pooling", Endpoint.POOLING),
        ("/classify", Endpoint.POOLING),
        ("/v1/audio/transcriptions", Endpoint.AUDIO),
        ("/v1/audio/translations", Endpoint.AUDIO),
        ("/v1/audio/speech", Endpoint.AUDIO),
        ("/transcriptions", Endpoint.OTHER),
        ("/v1/chat/completions/render", Endpoint.OTHER),
        ("/v1/models", Endpoint.OTHER),
        ("/", Endpoint.OTHER),
        ("", Endpoint.OTHER),
    ],
)
def test_the_endpoint_is_the_tail_of_the_path(path: str, endpoint: Endpoint) -> None:
    """Under any prefix, and for POST alone."""
    assert endpoint_of("POST", path) is endpoint
    assert endpoint_of("GET", path) is Endpoint.OTHER


def test_what_a_chat_asks_for() -> None:
    """Every field that counting and limiting depend on."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = chat(stream=True, stream_options=options, n=2, max_tokens=20, max_completion_tokens=10)
    model_request = parse_request(Endpoint.CHAT, body)
    assert (
        model_request.model,
        model_request.stream,
        model_request.wants_usage,
        model_request.wants_continuous,
    ) == ("m", True, True, True)
    assert (model_request.choices, model_request.prompts, model_request.max_output) == (2, 1, 10)
    assert (model_request.prompt_bound, model_request.opaque_input) == (len(body), False)


def test_null_counts_as_absent() -> None:
    """As it does for vLLM and OpenAI."""
    nothing = dict.fromkeys(("model", "stream", "stream_options", "n", "max_tokens"))
    model_request = parse_request(Endpoint.CHAT, chat(**nothing))
    assert (
        model_request.model,
        model_request.stream,
        model_request.wants_usage,
        model_request.choices,
        model_request.max_output,
    ) == (
        None,
        False,
        False,
        1,
        None,
    )


def test_continuous_usage_needs_usage() -> None:
    """A backend ignores continuous_usage_stats where include_usage is not set."""
    model_request = parse_request(
        Endpoint.CHAT, chat(stream=True, stream_options={"continuous_usage_stats": True})
    )
    assert (model_request.wants_usage, model_request.wants_continuous) == (False, False)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", 1), ([1, 2, 3], 1), (["a", "b"], 2), ([[1], [2], [3]], 3), ([], 1), (None, 1)],
)
def test_a_list_of_prompts_multiplies_the_choices(prompt: object, prompts: int) -> None:
    """Strings and token lists are prompts; a list of numbers is one prompt of tokens."""
    body = json.dumps({"prompt": prompt, "n": 2, "best_of": 3}, indent=1).encode()
    model_request = parse_request(Endpoint.COMPLETIONS, body)
    assert (model_request.prompts, model_request.choices) == (prompts, 3 * prompts)
    assert model_request.copies == 2  # vLLM knows no `best_of` any more; where it is known, `n` are given


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: not JSON: Input data was truncated (byte 0)"),
        (b'{"messages":[', "body: not JSON: Input data was truncated (byte 13)"),
        (b'{"a":1}}', "body: not JSON: trailing characters (byte "),
        (b'{"temperature":NaN}', "body: not JSON: invalid character (byte 15)"),
        (b'{"temperature":[Infinity]}', "body: not JSON: invalid character (byte 16)"),
        (b"[1,2]", "body: expected a JSON object"),
        (b"null", "body: expected a JSON object"),
        (b'{"a":"\xff"}', "body: not UTF-8 at byte 6"),
        (b'{"\xff":1}', "body: not UTF-8 at byte 2"),
        (b'{"a":' + b"[" * 200_000, "body: nested too deeply"),
        (b'{"model":"a","model":"b"}', "body.model: given more than once"),
        (b'{"mod\\u0065l":"a", "model":"b"}', "body.model: given more than once"),
        (b'{"model":1}', "body.model: expected a string"),
        (b'{"stream":"true"}', "body.stream: expected true or false"),
        (b'{"stream":1}', "body.stream: expected true or false"),
        (b'{"stream_options":[]}', "body.stream_options: expected an object"),
        (
            b'{"stream_options":{"include_usage":1}}',
            "body.stream_options.include_usage: expected true or false",
        ),
        (b'{"max_tokens":-2}', "body.max_tokens: expected a whole number from 0 to 2147483648"),
        (b'{"max_tokens":1.5}', "body.max_tokens: expected a whole number"),
        (b'{"max_tokens":"9"}', "body.max_tokens: expected a whole number"),
        (b'{"max_tokens":true}', "body.max_tokens: expected a whole number"),
        (b'{"max_tokens":1e999}', "body.max_tokens: expected a whole number"),
        (
            b'{"max_completion_tokens":2147483649}',
            "body.max_completion_tokens: expected a whole number from 0",
        ),
        (
            b'{"max_output_tokens":99999999999999999999}',
            "body.max_output_tokens: expected a whole number from 0",
        ),
        (b'{"n":-2}', "body.n: expected a whole number from 0"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_place(body: bytes, message: str) -> None:
    """The message names the field or the byte."""
    with pytest.raises(BadRequest) as caught:
        parse_request(Endpoint.CHAT, body)
    assert caught.value.message.startswith(message)


def test_a_background_response_is_refused() -> None:
    """Its answer comes when the request is long over, past every meter."""
    with pytest.raises(BadRequest, match=r"^body\.background"):
        parse_request(Endpoint.RESPONSES, b'{"input":"a","background":true}')
    assert not parse_request(Endpoint.RESPONSES, b'{"input":"a","background":false}').stream


def test_a_byte_order_mark_is_accepted() -> None:
    """All three captured backends take it (err_utf8_bom.txt)."""
    assert parse_request(Endpoint.CHAT, b"\xef\xbb\xbf" + chat()).model == "m"


def test_an_uploaded_form_is_opaque_but_names_its_model() -> None:
    """The bytes of a recording bound nothing; what stands beside it is text."""
    body = b"--x\r\nContent-Disposition: form-data; name=model\r\n\r\nwhisper\r\n--x--"
    model_request = parse_request(Endpoint.AUDIO, body, b"multipart/form-data; boundary=x")
    assert (model_request.model, model_request.opaque_input, model_request.prompt_bound) == (
        "whisper",
        True,
        7,
    )
    assert rewrite(model_request, body, model="other") == body.replace(b"whisper", b"other")


@given(OBJECTS, st.sampled_from([None, 1]), st.booleans())
def test_any_object_without_duplicates_is_read(fields: dict, indent: int | None, ascii_only: bool) -> None:
    """Compact, spaced, indented, escaped: the check for duplicates has no false alarm."""
    body = json.dumps(fields, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body.decode()
        msgspec.json.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError):
        with pytest.raises(BadRequest):
            parse_request(Endpoint.CHAT, body)
    else:
        assert parse_request(Endpoint.CHAT, body).fields.keys() == fields.keys()


@given(OBJECTS.filter(bool), st.data(), st.sampled_from([(", ", ": "), (",", ":")]))
def test_any_duplicate_is_found(fields: dict, data: st.DataObject, separators: tuple[str, str]) -> None:
    """However its key is escaped, and whatever its value."""
    comma, colon = separators
    key = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(JSON)
    escaped = "".join(f"\\u{ord(character):04x}" if ord(character) < 128 else character for character in key)
    again = data.draw(st.sampled_from([json.dumps(key), f'"{escaped}"']))
    body = json.dumps(fields, separators=separators)[:-1] + comma + again + colon + json.dumps(value) + "}"
    with pytest.raises(BadRequest):
        parse_request(Endpoint.CHAT, body.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=60))
def test_no_body_does_worse_than_be_refused(body: bytes) -> None:
    """Whatever the bytes: an ask, or a refusal."""
    try:
        model_request = parse_request(Endpoint.COMPLETIONS, body)
    except BadRequest:
        return
    assert isinstance(model_request, ModelRequest)


def test_rewriting_keeps_the_bytes_of_all_else() -> None:
    """Numbers, spaces and escapes of the other values are those of the client."""
    body = b'{ "model":"a", "temperature": 0.10, "stop" : [ "\\u0041" , 1e2 ],"max_tokens":5,"seed":null}'
    model_request = parse_request(Endpoint.CHAT, body)
    changed = rewrite(model_request, model="b", max_tokens=UNSET, stream_options={"include_usage": True})
    assert changed == (
        b'{"model":"b","temperature":0.10,"stop":[ "\\u0041" , 1e2 ],"seed":null,'
        b'"stream_options":{"include_usage":true}}'
    )


@pytest.mark.parametrize(
    ("endpoint", "fields", "opaque"),
    [
        (Endpoint.CHAT, {"messages": [{"role": "user", "content": "[1]"}]}, False),
        (Endpoint.CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, False),
        (
            Endpoint.CHAT,
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            True,
        ),
        (Endpoint.CHAT, {"messages": [{"content": [{"type": "input_audio"}]}]}, True),
        (Endpoint.CHAT, {"messages": [{"content": [{"type": "not known yet"}]}]}, True),
        (Endpoint.CHAT, {"messages": "not a list [of] messages"}, False),
        (Endpoint.CHAT, {"messages": [], "chat_template": "{{ x }}"}, True),
        (Endpoint.MESSAGES, {"messages": [{"content": [{"type": "document", "source": {}}]}]}, True),
        (
            Endpoint.MESSAGES,
            {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
            True,
        ),
        (Endpoint.MESSAGES, {"system": [{"type": "text", "text": "a"}], "messages": []}, False),
        (Endpoint.RESPONSES, {"input": "a"}, False),
        (Endpoint.RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, False),
        (Endpoint.RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, True),
        (Endpoint.RESPONSES, {"input": [{"type": "function_call_output", "output": "a"}]}, False),
        (Endpoint.RESPONSES, {"input": "a", "previous_response_id": "r"}, True),
        (Endpoint.RESPONSES, {"input": "a", "previous_response_id": None}, False),
        (Endpoint.COMPLETIONS, {"prompt": "a"}, False),
        (Endpoint.COMPLETIONS, {"prompt_embeds": "..."}, True),
        (Endpoint.EMBEDDINGS, {"input": "a"}, False),
        (Endpoint.EMBEDDINGS, {"input": ["a", "b"]}, False),
        (Endpoint.EMBEDDINGS, {"input": [1, 2]}, False),
        (Endpoint.EMBEDDINGS, {"input": [[1], [2]]}, False),
        (Endpoint.EMBEDDINGS, {"input": ["a", {"image": "u"}]}, True),
        (Endpoint.RERANK, {"query": "a", "documents": ["b", "c"]}, False),
        (Endpoint.RERANK, {"query": {"content": []}, "documents": ["b"]}, True),
    ],
)
def test_input_that_bytes_do_not_bound_is_told(endpoint: Endpoint, fields: dict, opaque: bool) -> None:
    """Images, sounds, files, references and whatever is not known to be text, at any depth."""
    body = json.dumps(fields).encode()
    assert parse_request(endpoint, body).opaque_input is opaque


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            b'{"extra_body": {"Max_Tokens": 9}}',
            b"",
            "body.extra_body.Max_Tokens: write max_tokens into the body",
        ),
        (
            b'{"extra_body": {"model": "dear"}}',
            b"",
            "body.extra_body.model: write model into the body itself",
        ),
        (b'{"extra_body": []}', b"", "body.extra_body: expected a JSON object"),
        (b"{}", b"application/json; charset=utf-16", "Content-Type: JSON is UTF-8"),
        (b"{}", b'application/json;Charset="gbk"', "Content-Type: JSON is UTF-8"),
    ],
)
def test_what_some_servers_read_otherwise_is_refused(body: bytes, kind: bytes, message: str) -> None:
    """Fields that Python clients mix into the body, and texts in another charset."""
    with pytest.raises(BadRequest) as caught:
        parse_request(Endpoint.CHAT, body, kind)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "kind", [b"", b"application/json", b"application/json; charset=UTF-8", b"text/plain"]
)
def test_what_is_utf_8_anyhow_passes(kind: bytes) -> None:
    body = b'{"extra_body": {"google": {"thinking_config": {}}}}'
    assert parse_request(Endpoint.CHAT, body, kind).opaque_input


def test_a_text_that_normalizing_makes_longer_has_its_bound_by_that() -> None:
    """U+1D160 is 4 bytes, and 12 by NFC, each of which may be a token; other languages stay as they are."""
    plain = json.dumps({"messages": [{"content": "你好世界"}]}, ensure_ascii=False).encode()
    assert parse_request(Endpoint.CHAT, plain).prompt_bound == len(plain)
    notes = json.dumps({"messages": [{"content": "\U0001d160" * 100}]}, ensure_ascii=False).encode()
    assert parse_request(Endpoint.CHAT, notes).prompt_bound >= 1_200
    long = json.dumps({"messages": [{"content": "é" * 2_200_000}]}, ensure_ascii=False).encode()
    assert parse_request(Endpoint.CHAT, long).prompt_bound >= 3 * 4_400_000


def test_a_recording_may_be_a_link() -> None:
    """Mistral and Groq fetch it; speech is made of a text."""
    form = b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://a/b\r\n--x--'
    assert parse_request(Endpoint.AUDIO, form, b"multipart/form-data; boundary=x").opaque_input
    assert parse_request(Endpoint.AUDIO, b'{"file_url": "http://a/b"}').opaque_input
    assert not parse_request(Endpoint.AUDIO, b'{"input": "hello"}').opaque_input


@pytest.mark.parametrize("name", ["n", "n_cmpl", "best_of"])
def test_a_response_is_one_answer(name: str) -> None:
    """llama.cpp's server makes several in one stream, each with its own end; OpenAI knows no such field."""
    with pytest.raises(BadRequest, match=rf"^body\.{name}: a response is one answer"):
        parse_request(Endpoint.RESPONSES, json.dumps({name: 2}).encode())
    assert parse_request(Endpoint.RESPONSES, json.dumps({name: 1}).encode()).choices == 1
