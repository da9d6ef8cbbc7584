"""Sessions: tokens that only this gate can make and that it can take back."""

import base64
import json

import jwt
import pytest
from stores import Clock, counting

from llmgate.errors import Forbidden, Unauthenticated
from llmgate.exchange import Principal
from llmgate.identity import Identity, Sessions, User
from llmgate.store import Store
from llmgate.store.schema import signing_keys


@pytest.fixture
async def ann(identity: Identity) -> User:
    return await identity.users.register("ann", "secret-1", roles=["admin"])


@pytest.fixture(params=["HS256", "RS256"])
def sessions(request: pytest.FixtureRequest, store: Store) -> Sessions:
    return Sessions(store, algorithm=request.param, lifetime=100)


async def refused(sessions: Sessions, token: str) -> bool:
    try:
        principal = await sessions.verify(token)
    except Unauthenticated:
        principal = None
    return principal is None and sessions.cached(token) is None


def part(data: object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_token_stands_for_the_user_who_signed_in(sessions: Sessions, ann: User, clock: Clock) -> None:
    session = await sessions.issue(ann)
    principal = await sessions.verify(session.token)
    assert principal == Principal(ann.id, "ann", frozenset({"admin"}), session_id=session.id)
    assert session.expires_at == clock.now + 100
    claims = jwt.decode(session.token, options={"verify_signature": False})
    assert (claims["sub"], claims["username"], claims["sid"]) == (ann.uuid, "ann", session.id)
    assert claims["exp"] == int(session.expires_at)
    assert session.token not in repr(session)


async def test_a_verified_token_costs_no_query_and_no_signature(
    sessions: Sessions, ann: User, store: Store
) -> None:
    session = await sessions.issue(ann)
    assert sessions.cached(session.token) is None
    principal = await sessions.verify(session.token)
    async with counting(store) as statements:
        assert sessions.cached(session.token) is principal
        assert await sessions.verify(session.token) is principal
    assert statements == []


async def test_signing_in_makes_nobody_forget_anything(sessions: Sessions, ann: User, store: Store) -> None:
    await sessions.issue(ann)
    stamp = store.changes.current()
    await sessions.issue(ann)
    assert store.changes.current() == stamp


async def test_a_session_ends_when_its_time_is_over(sessions: Sessions, ann: User, clock: Clock) -> None:
    session = await sessions.issue(ann)
    await sessions.verify(session.token)
    clock.pass_by(100)
    assert sessions.cached(session.token) is None
    assert await refused(sessions, session.token)


async def test_a_revoked_session_ends_at_once_and_no_other(sessions: Sessions, ann: User) -> None:
    one, two = await sessions.issue(ann), await sessions.issue(ann)
    await sessions.verify(one.token)
    await sessions.revoke(one.id)
    assert sessions.cached(one.token) is None
    assert await refused(sessions, one.token)
    assert await sessions.verify(two.token)
    await sessions.revoke_all(ann.id)
    assert await refused(sessions, two.token)


async def test_a_new_password_ends_every_session(sessions: Sessions, ann: User, identity: Identity) -> None:
    session = await sessions.issue(ann)
    await sessions.verify(session.token)
    await identity.users.set_password(ann.id, "secret-2")
    assert await refused(sessions, session.token)


async def test_deactivation_ends_every_session_for_good(
    sessions: Sessions, ann: User, identity: Identity
) -> None:
    session = await sessions.issue(ann)
    await identity.users.set_active(ann.id, False)
    assert await refused(sessions, session.token)
    await identity.users.set_active(ann.id, True)
    assert await refused(sessions, session.token)


async def test_a_role_counts_from_the_next_request_on(
    sessions: Sessions, ann: User, identity: Identity
) -> None:
    session = await sessions.issue(ann)
    assert (await sessions.verify(session.token)).roles == {"admin"}
    await identity.users.revoke(ann.id, "admin")
    assert (await sessions.verify(session.token)).roles == frozenset()


async def test_another_process_verifies_what_this_one_issued(store: Store, ann: User) -> None:
    issuing, verifying = Sessions(store), Sessions(store)
    session = await issuing.issue(ann)
    assert (await verifying.verify(session.token)).session_id == session.id


async def test_after_rotation_old_tokens_hold_until_they_expire(
    sessions: Sessions, ann: User, clock: Clock, store: Store
) -> None:
    old = await sessions.issue(ann)
    clock.pass_by(50)
    await sessions.rotate()
    new = await sessions.issue(ann)
    kids = [jwt.get_unverified_header(session.token)["kid"] for session in (old, new)]
    assert kids[0] != kids[1]
    assert await sessions.verify(old.token) and await sessions.verify(new.token)
    clock.pass_by(60)
    assert await refused(sessions, old.token)
    assert await sessions.verify(new.token)
    clock.pass_by(50)
    await sessions.rotate()
    async with store.connect() as conn:
        stored = {row.kid for row in await conn.execute(signing_keys.select())}
    assert kids[0] not in stored and kids[1] in stored, "retired keys are deleted, others kept"


async def test_public_keys_verify_tokens_elsewhere(store: Store, ann: User) -> None:
    """Any service with the key set can verify a token offline (RFC 7517)."""
    sessions = Sessions(store, algorithm="RS256", issuer="https://gate.example")
    before = await sessions.issue(ann)
    await sessions.rotate()
    after = await sessions.issue(ann)
    published = await sessions.jwks()
    assert [sorted(key) for key in published["keys"]] == [
        ["alg", "e", "key_ops", "kid", "kty", "n", "use"]
    ] * 2
    keys = jwt.PyJWKSet.from_dict(published)
    for session in (before, after):
        key = keys[jwt.get_unverified_header(session.token)["kid"]]
        options = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(
            session.token,
            key,
            ["RS256"],
            options=options,
            audience="https://gate.example",  # type: ignore[arg-type]
        )
        assert claims["sid"] == session.id


async def test_a_shared_secret_is_never_published(store: Store, ann: User) -> None:
    sessions = Sessions(store, algorithm="HS256")
    await sessions.issue(ann)
    assert await sessions.jwks() == {"keys": []}
    (key,) = (await sessions._keys.all()).values()
    assert key.private not in repr(key)


async def test_changing_the_algorithm_ends_no_session(store: Store, ann: User) -> None:
    old = await Sessions(store, algorithm="HS256").issue(ann)
    sessions = Sessions(store, algorithm="RS256")
    new = await sessions.issue(ann)
    assert await sessions.verify(old.token) and await sessions.verify(new.token)


async def test_a_token_of_another_gate_is_refused(store: Store, ann: User) -> None:
    elsewhere = await Sessions(store, issuer="other").issue(ann)
    assert await refused(Sessions(store, issuer="llmgate"), elsewhere.token)


async def test_a_token_without_a_signature_is_refused(sessions: Sessions, ann: User) -> None:
    session = await sessions.issue(ann)
    header, claims, signature = session.token.split(".")
    kid = jwt.get_unverified_header(session.token)["kid"]
    for algorithm in ("none", "None", "NONE"):
        unsigned = part({"alg": algorithm, "typ": "JWT", "kid": kid})
        assert await refused(sessions, f"{unsigned}.{claims}.")
        assert await refused(sessions, f"{unsigned}.{claims}.{signature}")
    assert await refused(sessions, f"{header}.{claims}.")


async def test_a_public_key_is_no_shared_secret(store: Store, ann: User) -> None:
    """The classic confusion: an HS256 token signed with the public key that anybody can read."""
    import hashlib
    import hmac

    sessions = Sessions(store, algorithm="RS256")
    session = await sessions.issue(ann)
    (key,) = (await sessions._keys.all()).values()
    header = part({"alg": "HS256", "typ": "JWT", "kid": key.kid})
    claims = session.token.split(".")[1]
    forged = hmac.new((key.public or "").encode(), f"{header}.{claims}".encode(), hashlib.sha256)
    assert await refused(sessions, f"{header}.{claims}.{part(forged.digest())}")


async def test_a_token_that_was_tampered_with_is_refused(sessions: Sessions, ann: User) -> None:
    session = await sessions.issue(ann)
    header, _, signature = session.token.split(".")
    changed = jwt.decode(session.token, options={"verify_signature": False}) | {"username": "root"}
    assert await refused(sessions, f"{header}.{part(changed)}.{signature}")


BAD_TOKENS = [
    "",
    ".",
    "..",
    "a.b.c",
    "\0",
    "\ud800.\ud800.\ud800",
    "é" * 100,
    "x" * 10_000_000,
    part({}) + ".e30.e30",
    part([]) + ".e30.e30",
    part({"alg": "HS256", "kid": None}) + ".e30.e30",
    part({"alg": "HS256", "kid": 7}) + ".e30.e30",
    part({"alg": "HS256", "kid": "' OR 1=1 --"}) + ".e30.e30",
    part({"alg": "HS256", "kid": "x", "crit": ["b64"], "b64": False}) + ".e30.e30",
    part(b"[" * 6000) + ".e30.e30",
    part(b"\xff\xfe") + ".e30.e30",
    part(b'{"alg":"HS256","kid":"\\ud800"}') + ".e30.e30",
]


async def test_anything_may_be_presented_as_a_token_and_costs_no_query(
    sessions: Sessions, ann: User, store: Store
) -> None:
    session = await sessions.issue(ann)
    await sessions.verify(session.token)
    async with counting(store) as statements:
        for token in BAD_TOKENS:
            assert await refused(sessions, token), token[:50]
    assert statements == []


async def test_a_well_signed_token_with_odd_claims_is_refused(store: Store, ann: User) -> None:
    """As another program that holds the key might make it."""
    sessions = Sessions(store)
    session = await sessions.issue(ann)
    (key,) = (await sessions._keys.all()).values()
    good = jwt.decode(session.token, options={"verify_signature": False})
    for claim in ("sub", "sid", "iss", "aud"):
        for value in (None, 7, ["x"], {"x": 1}, "x\0y", "x"):
            claims = json.dumps(good | {claim: value}).encode()
            token = jwt.api_jws.encode(claims, key.private, headers={"kid": key.kid})
            assert await refused(sessions, token), (claim, value)


async def test_a_session_is_that_of_its_own_user_only(store: Store, ann: User, identity: Identity) -> None:
    bob = await identity.users.register("bob", None)
    sessions = Sessions(store)
    session = await sessions.issue(ann)
    (key,) = (await sessions._keys.all()).values()
    claims = jwt.decode(session.token, options={"verify_signature": False}) | {"sub": bob.uuid}
    token = jwt.api_jws.encode(json.dumps(claims).encode(), key.private, headers={"kid": key.kid})
    assert await refused(sessions, token)


# --- refreshing


async def test_a_session_lasts_as_long_as_asked_for(sessions: Sessions, ann: User, clock: Clock) -> None:
    session = await sessions.issue(ann, lifetime=5000)
    assert session.expires_at == clock.now + 5000
    await sessions.rotate()
    clock.pass_by(4999)
    assert await sessions.verify(session.token) is not None, "its signing key verifies for as long"
    clock.pass_by(1)
    assert await refused(sessions, session.token)


async def test_a_refreshed_session_takes_the_place_of_the_old(sessions: Sessions, ann: User) -> None:
    old = await sessions.issue(ann)
    principal = await sessions.verify(old.token)
    assert principal is not None
    new = await sessions.refresh(principal)
    assert await refused(sessions, old.token)
    assert await sessions.verify(new.token) is not None
    with pytest.raises(Unauthenticated):
        await sessions.refresh(principal)


async def test_a_session_may_be_refreshed_beside_the_old(sessions: Sessions, ann: User) -> None:
    old = await sessions.issue(ann)
    principal = await sessions.verify(old.token)
    assert principal is not None
    new = await sessions.refresh(principal, keep_old=True)
    assert await sessions.verify(old.token) is not None
    assert await sessions.verify(new.token) is not None


async def test_refreshing_has_an_end(store: Store, ann: User, clock: Clock) -> None:
    """A token that was stolen once is not good for ever."""
    sessions = Sessions(store, lifetime=100, max_age=250)
    session = await sessions.issue(ann)
    began = clock.now
    ends = []
    for _ in range(3):
        clock.pass_by(90)
        principal = await sessions.verify(session.token)
        if principal is None:
            break
        if clock.now >= began + 250:
            with pytest.raises(Unauthenticated):
                await sessions.refresh(principal)
            break
        session = await sessions.refresh(principal)
        ends.append(session.expires_at - began)
        if ends[-1] == 250:
            break
    assert ends == [190, 250]
    clock.pass_by(70)
    assert await refused(sessions, session.token)


async def test_a_key_refreshes_no_session(sessions: Sessions, ann: User, identity: Identity) -> None:
    _, secret = await identity.keys.create(ann.id, "app")
    with pytest.raises(Forbidden):
        await sessions.refresh(await identity.keys.verify(secret))


async def test_a_token_of_somebody_else_is_foreign(sessions: Sessions, ann: User) -> None:
    """Beside a good credential it is not ours to judge; one that we have signed and that has ended is."""
    own = await sessions.issue(ann)
    await sessions.revoke(own.id)
    other = jwt.encode({"sub": "x"}, "s" * 32, algorithm="HS256")
    named = jwt.encode({"sub": "x"}, "s" * 32, algorithm="HS256", headers={"kid": "unknown"})
    for token, foreign in ((own.token, False), (other, True), (named, True), ("eyJ.x.y", True)):
        with pytest.raises(Unauthenticated) as caught:
            await sessions.verify(token)
        assert caught.value.foreign is foreign
