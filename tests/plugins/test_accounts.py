"""The guide's requests, answers and errors, on the gate of config/accounts.toml."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from servers import refused_url, serve
from stores import Clock

from llmgate.ledger import Allotment, Subject, Unit
from plugins.conftest import Model, OpenGate, Running

JOHN = {"username": "john_doe", "password": "secure_password123", "token_limit": 10000}
PROMPT = {"prompt": "Hello, how are you?", "max_tokens": 100, "temperature": 0.7}


@pytest.fixture
async def upstream(model: Model) -> AsyncIterator[str]:
    async with serve(model) as url:
        yield url


@pytest.fixture
async def running(open_config: OpenGate, upstream: str) -> AsyncIterator[Running]:
    async with open_config("accounts.toml", at(upstream)) as running:
        yield running


@pytest.fixture
async def http(running: Running) -> httpx.AsyncClient:
    return running.http


def at(upstream: str, **settings: object) -> Any:
    """A change of the config: the upstream's address, and settings of the plugin."""

    def change(document: dict[str, Any]) -> None:
        document["upstreams"]["vllm"]["urls"] = [upstream]
        document["plugins"]["llmgate_accounts"] |= settings

    return change


async def log_in(http: httpx.AsyncClient, who: dict[str, Any] = JOHN) -> dict[str, str]:
    """Register and log in; returns the header that proves it."""
    assert (await http.post("/auth/register", json=who)).status_code == 200
    form = {"username": who["username"], "password": who["password"]}
    token = (await http.post("/auth/token", data=form)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def used(http: httpx.AsyncClient, bearer: dict[str, str]) -> Any:
    return (await http.get("/users/usage", headers=bearer)).json()


# --- register


async def test_register_answers_with_the_account(http: httpx.AsyncClient) -> None:
    """Step 1 of the guide."""
    answer = await http.post("/auth/register", json=JOHN)
    assert answer.status_code == 200
    assert answer.json() == {"id": 1, "username": "john_doe", "token_limit": 10000, "tokens_used": 0}


async def test_register_without_a_limit_gets_the_default(http: httpx.AsyncClient) -> None:
    """10,000 tokens, as the guide says."""
    answer = await http.post("/auth/register", json={"username": "jane", "password": "secure_password123"})
    assert answer.json()["token_limit"] == 10_000


async def test_a_taken_username_is_400(http: httpx.AsyncClient) -> None:
    """The core says 409; the guide wins."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post("/auth/register", json=JOHN)
    assert (answer.status_code, answer.json()) == (400, {"detail": "The username is taken."})


async def test_of_concurrent_registrations_of_a_name_one_wins(http: httpx.AsyncClient) -> None:
    """And the others learn that the name is taken."""
    limits = range(1, 7)
    answers = await asyncio.gather(
        *(http.post("/auth/register", json={**JOHN, "token_limit": limit}) for limit in limits)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    form = {"username": JOHN["username"], "password": JOHN["password"]}
    token = (await http.post("/auth/token", data=form)).json()["access_token"]
    assert (await used(http, {"Authorization": f"Bearer {token}"}))["token_limit"] == won["token_limit"]


@pytest.mark.parametrize(
    ("password", "status"), [("a" * 72, 200), ("a" * 73, 400), ("é" * 36, 200), ("é" * 37, 400)]
)
async def test_a_password_has_at_most_72_bytes(http: httpx.AsyncClient, password: str, status: int) -> None:
    """Bytes, not characters."""
    answer = await http.post("/auth/register", json={"username": "jane", "password": password})
    assert answer.status_code == status
    if status == 400:
        assert "72 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"username": "jane"}', "password"),
        ('{"password": "secure_password123"}', "username"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": -1}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": true}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": 1.5}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": "10"}', "$.token_limit"),
        (
            f'{{"username": "jane", "password": "secure_password123", "token_limit": {10**30}}}',
            "$.token_limit",
        ),
        ('{"username": "jane", "password": "secure_password123", "token_limit": NaN}', "not JSON"),
        ('{"username": "jane", "username": "joan", "password": "secure_password123"}', "body.username"),
        ('{"username": "", "password": "secure_password123"}', "username"),
        ('{"username": " jane", "password": "secure_password123"}', "username"),
        ('{"username": "ja\\u0000ne", "password": "secure_password123"}', "username"),
        ('{"username": "ja\\u202ene", "password": "secure_password123"}', "username"),
        (f'{{"username": "{"j" * 256}", "password": "secure_password123"}}', "username"),
        ('{"username": "jane", "password": ""}', "password"),
        ('{"username": ["jane"], "password": "secure_password123"}', "$.username"),
        ("[" * 100_000, "body"),
        ("[]", "JSON object"),
        ("username=jane&password=secure_password123", "not JSON"),
        ("", "not JSON"),
    ],
)
async def test_a_registration_that_breaks_a_rule_is_400(
    http: httpx.AsyncClient, body: str, place: str
) -> None:
    """The detail names the place."""
    answer = await http.post(
        "/auth/register", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert place in answer.json()["detail"]


async def test_bytes_that_are_not_text_are_400(http: httpx.AsyncClient) -> None:
    """No server error, whatever the bytes are."""
    for body in (b'{"username": "\xff", "password": "secure_password123"}', b"\x00" * 100, b"\x1f\x8b\x08"):
        answer = await http.post("/auth/register", content=body)
        assert answer.status_code == 400


async def test_a_huge_body_is_413(http: httpx.AsyncClient) -> None:
    """Registration needs no megabytes."""
    answer = await http.post("/auth/register", json={**JOHN, "username": "j" * 2_000_000})
    assert answer.status_code == 413
    assert "1048576 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["x'; DROP TABLE users; --", '" OR 1=1 --', "%", "_", "${jndi:x}", "Ωμέγα"])
async def test_metacharacters_are_but_letters_of_a_name(http: httpx.AsyncClient, name: str) -> None:
    """Such a name registers and logs in, and logs in nobody else."""
    await http.post("/auth/register", json=JOHN)
    bearer = await log_in(http, {"username": name, "password": "another_password"})
    assert (await http.get("/users/me", headers=bearer)).json()["username"] == name
    form = {"username": name, "password": JOHN["password"]}
    assert (await http.post("/auth/token", data=form)).status_code == 401


async def test_registration_can_be_closed(open_config: OpenGate, upstream: str) -> None:
    """Then nobody gets in but by an administrator."""
    async with open_config("accounts.toml", at(upstream, registration="closed")) as running:
        answer = await running.http.post("/auth/register", json=JOHN)
        assert answer.status_code == 403
        assert "administrator" in answer.json()["detail"]
        form = {"username": JOHN["username"], "password": JOHN["password"]}
        assert (await running.http.post("/auth/token", data=form)).status_code == 401


async def test_nobody_gets_more_than_the_operator_allows(open_config: OpenGate, upstream: str) -> None:
    """`max_token_limit` bounds what a registration may ask for, and what users may raise themselves to."""
    async with open_config("accounts.toml", at(upstream, max_token_limit=20_000, may_raise=True)) as running:
        http = running.http
        answer = await http.post("/auth/register", json={**JOHN, "token_limit": 20_001})
        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "The token limit can be at most 20000."},
        )
        bearer = await log_in(http)
        for limit, status in ((20_000, 200), (20_001, 403)):
            body = {"token_limit": limit}
            answer = await http.put("/users/me/token-limit", json=body, headers=bearer)
            assert answer.status_code == status
        assert (await used(http, bearer))["token_limit"] == 20_000


# --- log in, refresh


async def test_log_in_answers_with_a_token(http: httpx.AsyncClient) -> None:
    """Step 2 of the guide, and RFC 6749, 5.1: tokens are not to be stored on the way."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post(
        "/auth/token",
        content="username=john_doe&password=secure_password123",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    token = answer.json().pop("access_token")
    assert answer.json() == {"access_token": token, "token_type": "bearer"}
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


async def test_oauth2_clients_may_name_the_grant(http: httpx.AsyncClient) -> None:
    """RFC 6749, 4.3.2: `grant_type=password`; parameters that nobody knows are ignored, other grants refused."""
    await http.post("/auth/register", json=JOHN)
    form = {"username": "john_doe", "password": "secure_password123", "scope": "", "client_id": "x"}
    assert (await http.post("/auth/token", data={**form, "grant_type": "password"})).status_code == 200
    assert (await http.post("/auth/token", data={**form, "grant_type": "implicit"})).status_code == 400


@pytest.mark.parametrize(
    "form",
    [
        {"username": "john_doe", "password": "wrong_password123"},
        {"username": "nobody", "password": "secure_password123"},
        {"username": "john_doe", "password": "p" * 100_000},
        {"username": "john_doe", "password": ""},
        {"username": "", "password": "secure_password123"},
        {"username": "john_doe' --", "password": "secure_password123"},
        {"username": "john_doe\x00", "password": "secure_password123"},
    ],
)
async def test_a_login_that_is_wrong_is_401(http: httpx.AsyncClient, form: dict[str, str]) -> None:
    """In the same words, whatever was wrong."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Incorrect username or password"})
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "form",
    [
        "username=john_doe",
        "username=john_doe&password=wrong&password=secure_password123",
        "username=nobody&username=john_doe&password=secure_password123",
        "username=john_doe&password=%ff",
        '{"username": "john_doe", "password": "secure_password123"}',
        "&".join(f"a{index}=b" for index in range(1000)),
        "",
    ],
)
async def test_a_form_that_cannot_be_read_is_400(http: httpx.AsyncClient, form: str) -> None:
    """Also one with a parameter twice (RFC 6749, 3.2)."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post(
        "/auth/token", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body: ")


async def test_refresh_gives_a_token_that_lasts_longer(http: httpx.AsyncClient, clock: Clock) -> None:
    """Step 5 of the guide; the old token ends when it would have ended."""
    old = await log_in(http)
    clock.pass_by(1799)
    answer = await http.post("/auth/refresh", headers=old)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type"}
    assert answer.headers["cache-control"] == "no-store"
    new = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    clock.pass_by(2)
    assert (await http.get("/users/me", headers=old)).status_code == 401
    assert (await http.get("/users/me", headers=new)).json()["username"] == "john_doe"


async def test_an_expired_token_is_401_everywhere(
    http: httpx.AsyncClient, clock: Clock, model: Model
) -> None:
    """ "Invalid or expired token. Log in again." """
    bearer = await log_in(http)
    clock.pass_by(1801)
    answers = [
        await http.get("/users/me", headers=bearer),
        await http.get("/users/usage", headers=bearer),
        await http.post("/auth/refresh", headers=bearer),
        await http.put("/users/me/token-limit", json={"token_limit": 1}, headers=bearer),
        await http.post("/chat/completions", json=PROMPT, headers=bearer),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert all(answer.json().keys() == {"detail"} for answer in answers)
    assert not model.requests


async def test_a_key_cannot_be_turned_into_a_session(running: Running) -> None:
    """It would outlive the key."""
    bearer = await log_in(running.http)
    _, secret = await running.gate.services.identity.keys.create(1, "laptop")
    as_key = {"Authorization": f"Bearer {secret}"}
    assert (await running.http.post("/auth/refresh", headers=as_key)).status_code == 401
    assert await used(running.http, as_key) == await used(running.http, bearer)


async def test_tokens_that_this_gate_did_not_sign_are_401(
    open_config: OpenGate, running: Running, upstream: str
) -> None:
    """Of another gate, without a signature, signed with another key, or no token at all."""
    bearer = await log_in(running.http)
    good = bearer["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(good, options={"verify_signature": False})
    head = jwt.get_unverified_header(good)
    async with open_config("accounts.toml", at(upstream), store="other.db") as other:
        elsewhere = (await log_in(other.http))["Authorization"].removeprefix("Bearer ")
    forged = [
        elsewhere,
        jwt.encode(claims, None, algorithm="none", headers={"kid": head["kid"]}),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": head["kid"]}),
        jwt.encode({**claims, "username": "admin"}, "k" * 32, algorithm="HS256"),
        good[:-4],
        good.rpartition(".")[0] + ".",
        "x" * 20_000,
        "..",
    ]
    for token in forged:
        answer = await running.http.get("/users/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token
        assert answer.json().keys() == {"detail"}
    assert (await running.http.get("/users/me", headers=bearer)).status_code == 200


async def test_without_a_token_everything_but_the_entrance_is_401(
    http: httpx.AsyncClient, model: Model
) -> None:
    """Nothing reaches the model."""
    answers = [
        await http.get("/users/me"),
        await http.get("/users/usage"),
        await http.post("/auth/refresh"),
        await http.put("/users/me/token-limit", json={"token_limit": 1}),
        await http.post("/chat/completions", json=PROMPT),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert not model.requests


# --- completions


async def test_a_prompt_is_completed_byte_for_byte(http: httpx.AsyncClient, model: Model) -> None:
    """Step 3 of the guide: to /v1/completions with the route's model, without the caller's credential."""
    model.answer = (
        b'{ "id":"cmpl-123", "choices":[],\n"usage":{"prompt_tokens":5,"completion_tokens":15}, "x":1e400 }'
    )
    answer = await http.post("/chat/completions", json=PROMPT, headers=await log_in(http))
    assert answer.status_code == 200
    assert answer.content == model.answer
    path, headers, _ = model.requests[-1]
    assert path == "/v1/completions"
    assert b"authorization" not in headers
    assert model.asked == {**PROMPT, "model": "your-model"}


async def test_messages_go_to_the_chat(http: httpx.AsyncClient, model: Model) -> None:
    """With the model that the request names."""
    body = {"model": "other", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    answer = await http.post("/chat/completions", json=body, headers=await log_in(http))
    assert answer.status_code == 200
    assert model.requests[-1][0] == "/v1/chat/completions"
    assert model.asked == body


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"prompt": null}',
        b'{"prompt": "Hi", "messages": []}',
        b'{"prompt": "Hi", "max_tokens": 1, "max_tokens": 9}',
        b'{"prompt": "Hi", "max_tokens": NaN}',
        b'{"prompt": "Hi", "max_tokens": -1}',
        b'"prompt"',
        b"",
    ],
)
async def test_a_completion_that_cannot_be_read_is_400(
    http: httpx.AsyncClient, model: Model, body: bytes
) -> None:
    """And does not reach the model."""
    answer = await http.post("/chat/completions", content=body, headers=await log_in(http))
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body")
    assert not model.requests


async def test_a_null_is_a_field_not_given(http: httpx.AsyncClient, model: Model) -> None:
    """As it is for the backends."""
    body = {"prompt": "Hi", "messages": None, "max_tokens": 5}
    await http.post("/chat/completions", json=body, headers=await log_in(http))
    assert model.requests[-1][0] == "/v1/completions"


async def test_a_body_over_the_gates_limit_is_413(open_config: OpenGate, upstream: str, model: Model) -> None:
    """`[gate] max_body` holds here too."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        document["gate"]["max_body"] = 1000

    async with open_config("accounts.toml", change) as running:
        bearer = await log_in(running.http)
        answer = await running.http.post("/chat/completions", json={"prompt": "x" * 1000}, headers=bearer)
        assert (answer.status_code, answer.json().keys()) == (413, {"detail"})
        assert not model.requests


async def test_the_models_own_errors_pass_untouched_and_cost_nothing(
    http: httpx.AsyncClient, model: Model
) -> None:
    """They are the model's to explain."""
    model.status, model.answer = 400, b'{"object":"error","message":"no","type":"BadRequestError","code":400}'
    bearer = await log_in(http)
    answer = await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert (answer.status_code, answer.content) == (400, model.answer)
    assert (await used(http, bearer))["tokens_used"] == 0


async def test_a_model_that_is_away_is_502(open_config: OpenGate) -> None:
    """Also once the gate has stopped trying, where other routes say 503."""
    async with open_config("accounts.toml", at(await refused_url())) as running:
        bearer = await log_in(running.http)
        for _ in range(7):  # the breaker opens after five
            answer = await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
            assert (answer.status_code, answer.json().keys()) == (502, {"detail"})
        assert (await used(running.http, bearer))["tokens_used"] == 0


# --- usage and limits


async def test_usage_is_what_the_model_reported(http: httpx.AsyncClient) -> None:
    """Step 4 of the guide."""
    bearer = await log_in(http)
    assert await used(http, bearer) == {"tokens_used": 0, "token_limit": 10_000, "remaining": 10_000}
    await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert await used(http, bearer) == {"tokens_used": 20, "token_limit": 10_000, "remaining": 9_980}
    me = (await http.get("/users/me", headers=bearer)).json()
    assert me == {"id": 1, "username": "john_doe", "token_limit": 10_000, "tokens_used": 20}


async def test_a_limit_used_up_is_429(http: httpx.AsyncClient, model: Model) -> None:
    """Not to be retried: it is no rate limit. Nothing passes the limit."""
    bearer = await log_in(http, {**JOHN, "token_limit": 120})
    model.answer = b'{"usage":{"prompt_tokens":20,"completion_tokens":100,"total_tokens":120}}'
    first = await http.post("/chat/completions", json={"prompt": "Hi", "max_tokens": 1000}, headers=bearer)
    assert first.status_code == 200
    assert model.asked["max_tokens"] < 120
    second = await http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert second.status_code == 429
    assert "used up" in second.json()["detail"]
    assert "retry-after" not in second.headers
    assert second.headers["x-should-retry"] == "false"
    assert len(model.requests) == 1
    assert await used(http, bearer) == {"tokens_used": 120, "token_limit": 120, "remaining": 0}


async def test_the_guides_429_holds_on_a_route_that_says_402(open_config: OpenGate, upstream: str) -> None:
    """Other clients of the same route get the status that the route names."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        document["routes"][0]["quota_status"] = 402

    async with open_config("accounts.toml", change) as running:
        bearer = await log_in(running.http, {**JOHN, "token_limit": 0})
        assert (await running.http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429
        assert (await running.http.post("/v1/completions", json=PROMPT, headers=bearer)).status_code == 402


async def test_users_lower_their_own_limit_and_admins_raise_it(running: Running) -> None:
    """What was used stays used; what is held back stays held back until an administrator says otherwise."""
    http = running.http
    bearer = await log_in(http)
    await http.post("/chat/completions", json=PROMPT, headers=bearer)

    async def limit(to: int) -> httpx.Response:
        return await http.put("/users/me/token-limit", json={"token_limit": to}, headers=bearer)

    lowered = await limit(15)
    assert (lowered.status_code, lowered.json()) == (
        200,
        {"id": 1, "username": "john_doe", "token_limit": 15, "tokens_used": 20},
    )
    assert await used(http, bearer) == {"tokens_used": 20, "token_limit": 15, "remaining": 0}
    assert (await http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429
    raised = await limit(16)
    assert (raised.status_code, raised.json().keys()) == (403, {"detail"})
    await running.gate.services.identity.users.grant(1, "admin")
    assert (await limit(20_000)).status_code == 200
    assert (await http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    "body", ["{}", '{"token_limit": -1}', '{"token_limit": null}', '{"token_limit": true}', "7"]
)
async def test_a_limit_that_is_no_number_of_tokens_is_400(http: httpx.AsyncClient, body: str) -> None:
    """The limit stays."""
    bearer = await log_in(http)
    answer = await http.put("/users/me/token-limit", content=body, headers=bearer)
    assert answer.status_code == 400
    assert (await used(http, bearer))["token_limit"] == 10_000


async def test_users_of_the_command_line_have_the_limit_of_gate_toml(running: Running) -> None:
    """`[[quotas]]` of config/accounts.toml gives one to who was not registered here."""
    await running.gate.services.identity.users.register("made_elsewhere", "secure_password123")
    form = {"username": "made_elsewhere", "password": "secure_password123"}
    token = (await running.http.post("/auth/token", data=form)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
    assert await used(running.http, bearer) == {
        "tokens_used": 20,
        "token_limit": 10_000,
        "remaining": 9_980,
    }
    body = {"token_limit": 10_001}
    assert (await running.http.put("/users/me/token-limit", json=body, headers=bearer)).status_code == 403


async def test_a_user_without_a_limit_is_told_so(open_config: OpenGate, upstream: str) -> None:
    """Where gate.toml gives none; what was used is counted all the same."""

    def change(document: dict[str, Any]) -> None:
        at(upstream)(document)
        del document["quotas"]

    async with open_config("accounts.toml", change) as running:
        await running.gate.services.identity.users.register("made_elsewhere", "secure_password123")
        form = {"username": "made_elsewhere", "password": "secure_password123"}
        token = (await running.http.post("/auth/token", data=form)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
        assert await used(running.http, bearer) == {"tokens_used": 20, "token_limit": None, "remaining": None}


async def test_other_quotas_are_not_the_token_limit(running: Running) -> None:
    """An operator may set more of them; they hold, but the guide's numbers are those of the limit."""
    bearer = await log_in(running.http)
    quotas = running.gate.services.quotas
    await quotas.set(Subject("user", 1), Allotment(Unit.TOKENS, 10, model="your-model"))
    await quotas.set(Subject("user", 1), Allotment(Unit.REQUESTS, 1))
    assert (await used(running.http, bearer))["token_limit"] == 10_000
    assert (await running.http.post("/chat/completions", json=PROMPT, headers=bearer)).status_code == 429


# --- the OpenAI routes beside it


async def test_the_openai_routes_take_tokens_and_keys(running: Running, model: Model) -> None:
    """`/v1/models`, `/v1/chat/completions` and `/v1/completions` spend the same token limit."""
    bearer = await log_in(running.http)
    _, secret = await running.gate.services.identity.keys.create(1, "laptop")
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    for headers in (bearer, {"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}):
        for path, body in (
            ("/v1/completions", PROMPT),
            ("/v1/chat/completions", chat),
            ("/chat/completions", chat),
        ):
            assert (await running.http.post(path, json=body, headers=headers)).status_code == 200
        assert (await running.http.get("/v1/models", headers=headers)).content == model.answer
    assert (await used(running.http, bearer))["tokens_used"] == 9 * 20
    refused = await running.http.post("/v1/completions", json=PROMPT)
    assert (refused.status_code, refused.json().keys()) == (401, {"error"})


async def test_records_tell_the_surface_from_the_route(running: Running) -> None:
    """What came in by the guide's path is told apart in reports; errors never name a password."""
    bearer = await log_in(running.http)
    await running.http.post("/chat/completions", json=PROMPT, headers=bearer)
    await running.http.post("/v1/completions", json=PROMPT, headers=bearer)
    from llmgate.ledger import Filter

    records = await running.gate.services.reports.records(Filter(user_id=1))
    assert {(record.surface, record.endpoint) for record in records} == {
        ("accounts", "completions"),
        ("", "completions"),
    }
