"""A JSON body is read within bounds, in linear time, and so that nobody reads it otherwise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends import json_body
from llmgate.backends.json_body import MAX_DEPTH, MAX_DIGITS, MAX_MEMBERS, MAX_PARTS, read_fields
from llmgate.backends.json_body import refuse_look_alikes as look_alikes
from llmgate.errors import BadRequest

KEYS = st.text(max_size=3)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=3),
    max_leaves=10,
)


def nested(depth: int) -> bytes:
    """An object of `depth` levels, itself one of them."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nested(MAX_DEPTH + 1), f"body: nested too deeply, over the limit of {MAX_DEPTH} lists and objects"),
        (nested(450), "body: nested too deeply"),
        (nested(100_000), "body: nested too deeply"),
        (b'{"a":' + b"9" * (MAX_DIGITS + 1) + b"}", f"body: a number of over {MAX_DIGITS} digits"),
        (b'{"n":' + b"9" * 5_000 + b"}", f"body: a number of over {MAX_DIGITS} digits"),
        (b'{"a":[0.' + b"1" * 5_000 + b"]}", f"body: a number of over {MAX_DIGITS} digits"),
        (
            b"{" + b",".join(b'"%d":0' % n for n in range(MAX_MEMBERS + 1)) + b"}",
            f"body: {MAX_MEMBERS + 1} members, over the limit of {MAX_MEMBERS}",
        ),
        (b'{"a":[' + b'"",' * MAX_PARTS + b"0]}", f"body: over the limit of {MAX_PARTS} strings"),
        (b'{"a":[' + b"[]," * MAX_PARTS + b"0]}", f"body: over the limit of {MAX_PARTS} lists and objects"),
    ],
)
def test_each_bound_is_named(body: bytes, message: str) -> None:
    """A body over one of them is refused, and the message says which."""
    with pytest.raises(BadRequest) as caught:
        read_fields(body)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_DEPTH),
        b'{"a":' + b"9" * MAX_DIGITS + b"}",
        b"{" + b",".join(b'"%d":0' % n for n in range(MAX_MEMBERS)) + b"}",
        b'{"a":"' + b"[{" * 10_000 + b"3" * 10_000 + b'"}',
        b'{"a":["\\"[[","' + b'\\\\","'.join([b"["] * 300) + b'"]}',
    ],
)
def test_what_is_just_within_a_bound_is_read(body: bytes) -> None:
    """Brackets and digits in a text are text, however many."""
    assert read_fields(body).keys() == json.loads(body).keys()


class Counting(dict):
    """Fields that count how often one is asked for."""

    asked = 0

    def __getitem__(self, name):
        self.asked += 1
        return super().__getitem__(name)


@pytest.mark.parametrize("members", [10, 100, 1_000])
def test_each_member_is_looked_at_once(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body that has to be walked, for an escape in it: ten times the members are ten times the work."""
    counted = []

    def counting(body: bytes) -> Counting:
        counted.append(Counting(original(body)))
        return counted[-1]

    original = json_body._members
    monkeypatch.setattr(json_body, "_members", counting)
    body = b'{"\\u006dodel":"m",' + b",".join(b'"k%d":0' % n for n in range(members - 1)) + b"}"
    assert len(read_fields(body)) == members
    assert counted[0].asked == members


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":12}',
        b'{"a":12,"a":1}',
        b'{"a":12,"b":0,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"\\u0061":1, "a":1}',
        b'{"a":[1],"b":2,"a":[1,2]}',
        b'{ "a": "x", "a": "x" }',
    ],
)
def test_a_key_given_twice_is_named(body: bytes) -> None:
    """However it is written, and though its values agree, or one is the beginning of the other."""
    with pytest.raises(BadRequest, match=r"^body\.a: given more than once$"):
        read_fields(body)


@given(
    st.lists(st.tuples(KEYS, VALUES), max_size=6),
    st.sampled_from([(",", ":"), (" ,\n", "\t: ")]),
    st.booleans(),
)
def test_pairs_are_read_if_and_only_if_no_key_is_there_twice(
    pairs: list[tuple[str, object]], separators: tuple[str, str], ascii_only: bool
) -> None:
    """Any pairs, however they are written."""
    comma, colon = separators
    written = [
        json.dumps(key, ensure_ascii=ascii_only) + colon + json.dumps(value, ensure_ascii=ascii_only)
        for key, value in pairs
    ]
    body = ("{" + comma.join(written) + "}").encode("utf-8", "surrogatepass")
    keys = [key for key, _ in pairs]
    try:
        fields = read_fields(body)
    except BadRequest as refusal:
        lone = any("\ud800" <= letter <= "\udfff" for letter in body.decode("utf-8", "surrogatepass"))
        digits = any(len(text) > MAX_DIGITS for text in written)
        assert len(set(keys)) < len(keys) or lone or digits or "surrogate" in refusal.message
    else:
        assert list(fields) == keys


@given(st.binary(max_size=100) | st.text(alphabet='{}[]",:\\0u1e-.a \n', max_size=60).map(str.encode))
def test_no_bytes_do_worse_than_be_refused(body: bytes) -> None:
    """An object, or a refusal that names the body."""
    try:
        fields = read_fields(body)
    except BadRequest as refusal:
        assert refusal.message.startswith("body")
    else:
        assert all(isinstance(name, str) for name in fields)


@pytest.mark.parametrize(
    "name",
    [
        "Max_Tokens",
        "MAX_TOKENS",
        "max_toKens",
        "max_token\u017f",
        "max_to\u212aens",
        "maxTokens",
        "max_tokens[]",
    ],
)
def test_what_a_reader_without_case_takes_for_a_counted_field_is_refused(name: str) -> None:
    """Go's and .NET's do; the long s and the Kelvin sign are letters to them (case folding). Those of protocol buffers
    take a name in camel case, too, and PHP's a list.
    """
    with pytest.raises(BadRequest, match="some backends read it as max_tokens"):
        look_alikes([name], frozenset({"max_tokens"}))
    look_alikes(["max_tokens", "Other", "max-tokens"], frozenset({"max_tokens"}))
