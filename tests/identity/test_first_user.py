"""Who comes first may get roles besides: exactly one user does, whoever registers at once."""

import asyncio

from llmgate.identity import Identity


async def test_the_first_user_gets_the_roles_of_the_first_besides_their_own(identity: Identity) -> None:
    """And nobody after that."""
    first = await identity.users.register("ada", "secret-secret", roles=["member"], first_roles=["admin"])
    second = await identity.users.register("bob", "secret-secret", roles=["member"], first_roles=["admin"])
    assert (first.roles, second.roles) == ({"member", "admin"}, {"member"})


async def test_of_users_who_register_at_once_one_is_first(identity: Identity) -> None:
    """In whatever order their transactions end."""
    users = await asyncio.gather(
        *(identity.users.register(f"user{n}", None, first_roles=["admin"]) for n in range(8))
    )
    assert sum(user.is_admin for user in users) == 1


async def test_a_user_who_was_there_before_keeps_all_others_from_being_first(identity: Identity) -> None:
    """Also one without any role: an operator who makes users does not leave the door open."""
    await identity.users.register("ada", None)
    assert not (await identity.users.register("bob", None, first_roles=["admin"])).is_admin
