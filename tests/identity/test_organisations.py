"""Organisations: names, members and their roles."""

import pytest

from llmgate.errors import BadRequest, Conflict, NotFound
from llmgate.identity import Identity, Member, Membership


async def test_an_organisation_is_found_by_every_name_it_has(identity: Identity) -> None:
    acme = await identity.organisations.create("Acme & Søn; DROP TABLE organisations")
    assert await identity.organisations.by_id(acme.id) == acme
    assert await identity.organisations.by_uuid(acme.uuid) == acme
    assert await identity.organisations.by_name(acme.name) == acme
    assert await identity.organisations.all() == [acme]


async def test_a_name_is_given_once(identity: Identity) -> None:
    await identity.organisations.create("acme")
    other = await identity.organisations.create("other")
    with pytest.raises(Conflict):
        await identity.organisations.create("acme")
    with pytest.raises(Conflict):
        await identity.organisations.rename(other.id, "acme")
    await identity.organisations.rename(other.id, "other")
    await identity.organisations.rename(other.id, "renamed")
    assert (await identity.organisations.by_id(other.id)).name == "renamed"


async def test_members_have_one_role_which_can_change(identity: Identity) -> None:
    acme = await identity.organisations.create("acme")
    ann = await identity.users.register("ann", None)
    bob = await identity.users.register("bob", None)
    await identity.organisations.add_member(acme.id, bob.id)
    await identity.organisations.add_member(acme.id, ann.id)
    await identity.organisations.add_member(acme.id, bob.id, role="owner")
    members = await identity.organisations.members(acme.id)
    assert members == [Member(ann.id, "ann", "member"), Member(bob.id, "bob", "owner")]
    assert await identity.organisations.of_user(bob.id) == [Membership(acme, "owner")]
    await identity.organisations.remove_member(acme.id, bob.id)
    assert await identity.organisations.of_user(bob.id) == []


async def test_a_deleted_user_is_no_member_any_more(identity: Identity) -> None:
    acme = await identity.organisations.create("acme")
    ann = await identity.users.register("ann", None)
    await identity.organisations.add_member(acme.id, ann.id)
    await identity.users.delete(ann.id)
    assert await identity.organisations.members(acme.id) == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, " acme"])
async def test_a_name_that_could_deceive_is_refused(identity: Identity, name: str) -> None:
    with pytest.raises(BadRequest):
        await identity.organisations.create(name)


async def test_what_is_asked_of_nothing_is_not_found(identity: Identity) -> None:
    acme = await identity.organisations.create("acme")
    ann = await identity.users.register("ann", None)
    for ask in (
        identity.organisations.by_id(99),
        identity.organisations.by_uuid("x"),
        identity.organisations.by_name("x"),
        identity.organisations.rename(99, "x"),
        identity.organisations.set_active(99, True),
        identity.organisations.members(99),
        identity.organisations.add_member(99, ann.id),
        identity.organisations.add_member(acme.id, 99),
        identity.organisations.remove_member(acme.id, ann.id),
    ):
        with pytest.raises(NotFound):
            await ask
