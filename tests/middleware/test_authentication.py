"""Who may come in: every place for a credential, every kind, every way to be refused."""

from dataclasses import replace

import pytest
from playbook import Answers, Told, play
from starlette.types import Message

from llmgate.errors import StoreError, Unauthenticated
from llmgate.exchange import Principal
from llmgate.middleware import Authentication

ANN = Principal(1, "ann", frozenset({"admin"}))
ANNS_KEY = Principal(1, "ann", frozenset({"admin"}), key_id=7)
BOBS_KEY = Principal(2, "bob", key_id=8)
EVERYWHERE = ("bearer", "x-api-key", "api-key", "cookie")


class Known:
    """A verifier of the credentials that begin with `kind`; those in `cached` it has proven before."""

    def __init__(self, kind: str, principals: dict[str, Principal], *, remembers: bool = False) -> None:
        self.kind = kind
        self.principals = principals
        self.remembers = remembers
        self.asked: list[str] = []

    def cached(self, secret: str) -> Principal | None:
        return self.principals.get(secret) if self.remembers else None

    async def verify(self, secret: str) -> Principal | None:
        self.asked.append(secret)
        if not secret.startswith(self.kind):
            return None
        if secret not in self.principals:
            raise Unauthenticated(f"bad {self.kind}")
        return self.principals[secret]


def sessions() -> Known:
    return Known("jwt-", {"jwt-ann": ANN})


def keys() -> Known:
    return Known("sk-", {"sk-ann": ANNS_KEY, "sk-bob": BOBS_KEY})


async def model_request(
    *headers: tuple[str, str], credentials: tuple[str, ...] = EVERYWHERE, **settings: object
) -> Told:
    settings.setdefault("verifiers", [sessions(), keys()])
    gate = Authentication(Answers(), credentials=credentials, **settings)
    return await play(gate, headers=[(name.encode(), value.encode("latin-1")) for name, value in headers])


def principal_of(told: Told) -> Principal | None:
    found: Principal | None = told.scope["llmgate"].principal
    return found


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer sk-ann"),
        ("authorization", "bearer   sk-ann "),
        ("x-api-key", "sk-ann"),
        ("api-key", "sk-ann"),
        ("cookie", "theme=dark; access_token=sk-ann"),
        ("cookie", 'access_token="sk-ann"'),
    ],
)
async def test_a_good_credential_is_taken_from_every_place(header: tuple[str, str]) -> None:
    told = await model_request(header)
    assert told.status == 200
    assert principal_of(told) is ANNS_KEY


async def test_a_session_is_taken_where_a_key_is() -> None:
    assert principal_of(await model_request(("authorization", "Bearer jwt-ann"))) is ANN


async def test_each_verifier_is_asked_in_turn_until_one_knows_the_kind() -> None:
    first, second = sessions(), keys()
    await model_request(("x-api-key", "sk-ann"), verifiers=[first, second])
    assert (first.asked, second.asked) == (["sk-ann"], ["sk-ann"])
    await model_request(("x-api-key", "jwt-ann"), verifiers=[first, second])
    assert second.asked == ["sk-ann"]


async def test_a_credential_proven_before_costs_no_question() -> None:
    verifier = Known("sk-", {"sk-ann": ANNS_KEY}, remembers=True)
    assert (await model_request(("x-api-key", "sk-ann"), verifiers=[verifier])).status == 200
    assert verifier.asked == []


@pytest.mark.parametrize(
    "credential", ["sk-eve", "jwt-eve", "neither", "' OR 1=1 --", "sk-ann\xff", "é", "a" * 9000]
)
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("place", ["authorization", "x-api-key", "api-key", "cookie"])
async def test_a_bad_credential_is_401_and_never_anonymous(
    place: str, required: bool, credential: str
) -> None:
    prefix = {"authorization": "Bearer ", "cookie": "access_token="}.get(place, "")
    told = await model_request((place, prefix + credential), required=required)
    assert told.status == 401
    assert told.header("www-authenticate") == "Bearer"
    assert told.error["type"] == "authentication_error"
    assert credential not in told.body.decode()


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YW5uOnB3", "sk-ann", "Bearersk-ann"])
async def test_an_authorization_header_of_another_form_is_401(value: str) -> None:
    assert (await model_request(("authorization", value), required=False)).status == 401


async def test_no_credential_is_401_where_one_is_required() -> None:
    told = await model_request()
    assert (told.status, told.error["code"]) == (401, "missing_api_key")


async def test_no_credential_is_anonymous_where_none_is_required() -> None:
    told = await model_request(required=False)
    assert (told.status, principal_of(told)) == (200, None)


async def test_a_place_that_is_not_named_is_not_looked_at() -> None:
    """A cookie must not sign in where the operator has not opened that door (CSRF)."""
    told = await model_request(("cookie", "access_token=sk-ann"), credentials=("bearer",))
    assert told.status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer sk-ann"), ("authorization", "Bearer sk-ann")],
        [("x-api-key", "sk-ann"), ("x-api-key", "sk-bob")],
    ],
)
async def test_two_headers_of_one_name_are_401(headers: list[tuple[str, str]]) -> None:
    """Servers differ in which of the two they read, so neither is."""
    assert "two" in (await model_request(*headers)).error["message"]


async def test_two_credentials_of_one_user_are_one_user_and_the_key_counts() -> None:
    for headers in (
        [("authorization", "Bearer jwt-ann"), ("x-api-key", "sk-ann")],
        [("authorization", "Bearer sk-ann"), ("cookie", "access_token=jwt-ann")],
    ):
        assert principal_of(await model_request(*headers)) is ANNS_KEY


@pytest.mark.parametrize("second", ["sk-bob", "sk-eve"])
async def test_a_good_credential_does_not_cover_for_a_foreign_or_bad_one(second: str) -> None:
    assert (await model_request(("authorization", "Bearer sk-ann"), ("x-api-key", second))).status == 401


async def test_a_role_is_needed_where_roles_are_named() -> None:
    assert (await model_request(("x-api-key", "sk-ann"), roles=["staff", "admin"])).status == 200
    refused = await model_request(("x-api-key", "sk-bob"), roles=["staff", "admin"])
    assert (refused.status, refused.error["message"]) == (403, "This needs the role admin or staff.")


async def test_every_use_of_a_key_is_told() -> None:
    used: list[int] = []
    await model_request(("x-api-key", "sk-bob"), on_use=used.append)
    await model_request(("authorization", "Bearer jwt-ann"), on_use=used.append)
    assert used == [8]


async def test_a_store_that_is_away_lets_nobody_in() -> None:
    class Away(Known):
        async def verify(self, secret: str) -> Principal | None:
            raise StoreError("away")

    app = Answers()
    with pytest.raises(StoreError):
        await play(Authentication(app, verifiers=[Away("", {})]), headers={"x-api-key": "sk-ann"})
    assert app.scopes == []


async def test_a_websocket_without_a_credential_is_closed() -> None:
    """Answering it in HTTP would be an error of the protocol, letting it pass a hole."""
    app, sent = Answers(), []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": []}
    await Authentication(app, verifiers=[keys()])(scope, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "unauthenticated"}]
    assert app.scopes == []


def test_an_unknown_place_is_a_mistake_of_the_operator() -> None:
    with pytest.raises(ValueError, match="known: bearer, x-api-key, api-key, cookie"):
        Authentication(Answers(), verifiers=[], credentials=["bear"])


# --- credentials of others


class Given(Known):
    """A verifier that can tell what it has never given out."""

    async def verify(self, secret: str) -> Principal | None:
        if secret.startswith("sk-ant-"):
            raise Unauthenticated("unknown", foreign=True)
        return await super().verify(secret)


async def test_a_credential_that_is_not_the_gates_beside_one_that_is() -> None:
    """Claude Code sends its own x-api-key with every request: it is not ours to judge, nor does it count."""
    verifiers = [sessions(), Given("sk-", {"sk-ann": ANNS_KEY, "sk-bob": BOBS_KEY})]
    good, foreign = ("authorization", "Bearer sk-ann"), ("x-api-key", "sk-ant-api03-not-ours")
    told = await model_request(good, foreign, verifiers=verifiers)
    assert (told.status, principal_of(told)) == (200, ANNS_KEY)
    assert (await model_request(foreign, verifiers=verifiers)).status == 401, "alone it is bad, not anonymous"
    alone = await model_request(foreign, verifiers=verifiers, required=False)
    assert alone.status == 401
    ended = ("x-api-key", "sk-ended")
    assert (await model_request(good, ended, verifiers=verifiers)).status == 401, "one that the gate gave out"


# --- what a credential is good for


@pytest.mark.parametrize(
    ("scope", "needed", "status"),
    [
        (None, None, 200),
        (None, "models", 200),
        ("models", "models", 200),
        ("models", None, 200),
        ("account", "models", 403),
        ("models", "account", 403),
    ],
)
async def test_a_key_is_held_to_its_scope(scope: str | None, needed: str | None, status: int) -> None:
    verifiers = [Known("sk-", {"sk-ann": replace(ANNS_KEY, scope=scope)})]
    told = await model_request(("authorization", "Bearer sk-ann"), verifiers=verifiers, scope=needed)
    assert told.status == status


async def test_what_needs_a_session_takes_no_key() -> None:
    verifiers = [Known("jwt-", {"jwt-ann": replace(ANN, session_id="s")}), keys()]
    session, key = ("cookie", "access_token=jwt-ann"), ("authorization", "Bearer sk-ann")
    assert (await model_request(session, verifiers=verifiers, session=True)).status == 200
    assert (await model_request(key, verifiers=verifiers, session=True)).status == 403
    assert (await model_request(session, key, verifiers=verifiers, session=True)).status == 403, (
        "the key counts"
    )
