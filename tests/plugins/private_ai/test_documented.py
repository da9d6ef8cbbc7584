"""Generated requests to every operation of the API: it answers as its own document says."""

import asyncio
from typing import Any

import hypothesis
import schemathesis
from hypothesis.strategies import booleans
from pgvector_server import PASSWORD, PostgresServer
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN
from plugins.test_documented import CHECKS, beside_a_gate, few, put_in

LEFT_OUT = ("/auth/logout", "/auth/me/update")
"""What would end the session, or change the address, that the others are asked with."""
NEEDS_STRIPE = "/billing/teams/"
"""500 in words where Stripe is not set up, as here; tests/plugins/private_ai/billing ask these with a Stripe."""


@beside_a_gate
async def test_every_answer_is_as_documented(open_gate: OpenGate, postgres: PostgresServer) -> None:
    """No 500, no status that is not declared, no body of another type; what does not fit the types is refused."""
    async with open_gate(postgres=postgres) as running:
        team = await running.team("Bees")
        await running.user("ann@example.com", team_id=team, role="admin")
        await running.token("ann@example.com")
        await running.ask(ADMIN, "POST", "/products", {"id": "prod_1", "name": "one"}, status=201)
        known: dict[str, Any] = {
            "id": 1, "team_id": team, "region_id": 1, "owner_id": None, "user_id": None, "role": "read_only",
            "litellm_api_url": "route:models", "postgres_host": postgres.host, "postgres_port": postgres.port,
            "postgres_admin_user": "postgres", "postgres_admin_password": PASSWORD, "is_admin": None,
        }  # fmt: skip
        document = (await running.http.get("/openapi.json")).json()
        schema = schemathesis.openapi.from_dict(document)
        operations = [result.ok() for result in schema.get_all_operations()]
        operations = [
            each
            for each in operations
            if each.path not in LEFT_OUT and not each.path.startswith(NEEDS_STRIPE)
        ]
        operations.sort(key=lambda operation: operation.method == "delete")
        bearer = {"Authorization": f"Bearer {running.bearers[ADMIN]}"}

        def misfits(operation: Any, mode: GenerationMode) -> list[str]:
            @few
            @hypothesis.given(case=operation.as_strategy(mode), there=booleans())
            def holds(case: schemathesis.Case, there: bool) -> None:
                if there and mode is GenerationMode.POSITIVE:
                    put_in(known, case.path_parameters, case.query, case.body)
                case.call_and_validate(running.urls[8800], headers=bearer, checks=CHECKS)

            try:
                holds()
            except FailureGroup as found:
                return [f"{operation.label}: {found}"]
            except hypothesis.errors.Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE
            return []

        def try_all() -> list[str]:
            return [wrong for each in operations for mode in GenerationMode for wrong in misfits(each, mode)]

        assert await asyncio.to_thread(try_all) == []
