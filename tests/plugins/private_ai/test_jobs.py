"""What is done by the clock: mails about trials, each once a day; secrets sealed with the newest key."""

import asyncio
import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from mail_server import text_of

from llmgate.plugin.api import SealedBox, convert_table
from llmgate.plugin.kit.audit import AuditLog
from llmgate_private_ai.jobs import HOUR, Trials, Upkeep
from llmgate_private_ai.metrics import Metrics
from llmgate_private_ai.parts import Parts
from llmgate_private_ai.plans import DAY
from llmgate_private_ai.plugin import NAME, links_of, make_parts
from llmgate_private_ai.settings import Settings
from llmgate_private_ai.tables import audit, keys, regions, secrets
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, SEALING_KEY, Running

ANN = "ann@example.com"


def parts_of(running: Running) -> Parts:
    services = running.gate.services
    settings = convert_table(Settings, services.config.plugins[NAME].settings, NAME)
    return make_parts(settings, services, lambda: None)


def trials(running: Running) -> Trials:
    services = running.gate.services
    assert services.sealed_box is not None
    links = links_of(services.store, services.sealed_box)
    metrics = Metrics(services.metrics)
    return Trials(parts_of(running), links, AuditLog(services.store, audit, counted=metrics.audited), metrics)


@pytest.mark.parametrize(
    ("day", "subject"),
    [
        (22, None),
        (23, "7 days left of the trial of Bees"),
        (24, None),
        (25, "5 days left of the trial of Bees"),
        (30, "The trial of Bees has ended"),
        (31, None),
    ],
)
async def test_a_team_is_told_of_its_trials_end_once_a_day(
    running: Running, day: int, subject: str | None
) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    running.clock.pass_by(day * DAY)
    for _ in range(3):
        await trials(running).run()
        running.clock.pass_by(HOUR)
    mails = running.mailbox.to(ANN)
    assert [mail["Subject"] for mail in mails] == ([] if subject is None else [subject])


async def test_the_link_in_a_mail_signs_in_once_and_is_replaced_when_it_is_old(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    running.clock.pass_by(23 * DAY)
    await trials(running).run()
    token = link(text_of(running.mailbox.to(ANN)[0]))
    running.clock.pass_by(DAY)
    late = await running.ask(None, "GET", f"/auth/validate-jwt?token={token}", status=401)
    assert late == {"detail": "Token expired. A new validation URL has been sent to your email."}
    token = link(text_of(running.mailbox.to(ANN)[1]))
    running.bearers[ANN] = (await running.ask(None, "GET", f"/auth/validate-jwt?token={token}"))[
        "access_token"
    ]
    running.http.cookies.clear()
    assert (await running.ask(ANN, "GET", "/auth/me"))["email"] == ANN
    again = await running.ask(None, "GET", f"/auth/validate-jwt?token={token}", status=401)
    assert again == {"detail": "Could not validate credentials"}
    await running.sign_in(ADMIN, "admin")
    logs = (await running.ask(ADMIN, "GET", "/audit/logs?resource_type=auth"))["items"]
    assert token not in str(logs) and "'token': '***'" in str(logs)


def link(text: str) -> str:
    found = re.search(r"http://localhost:3000/upgrade\?token=(\S+)", text)
    assert found is not None
    return found[1]


async def test_a_mail_that_cannot_go_out_is_tried_again(running: Running) -> None:
    await running.team("Bees")
    running.clock.pass_by(30 * DAY)
    running.mailbox.refuse = "451 not now"
    await trials(running).run()
    running.mailbox.refuse = None
    await trials(running).run()
    assert len(running.mailbox.to("boss@bees.example")) == 1


async def test_codes_that_nobody_used_are_forgotten(running: Running) -> None:
    await running.ask(None, "POST", "/auth/validate-email", {"email": ANN})
    running.clock.pass_by(30 * DAY)
    await Upkeep(parts_of(running)).run()
    async with running.gate.services.store.connect() as db:
        assert (await db.execute(sa.select(secrets))).all() == []


async def test_a_new_sealing_key_takes_over(open_gate: OpenGate, store_file: Path) -> None:
    """Old and new together once; then the old one may go."""
    new = "another key of 32 characters or more"
    async with open_gate() as running:
        await running.user(ANN)
        key = await running.token(ANN)
    async with open_gate(change=lambda d: d["store"].update(sealing_keys=[new, SEALING_KEY])) as running:
        async with running.gate.services.store.connect() as db:
            sealed = [row[0] for row in await db.execute(sa.select(keys.c.token_sealed))]
            sealed += [
                row[0] for row in await db.execute(sa.select(regions.c.postgres_admin_password_sealed))
            ]
        assert all(value.startswith(SealedBox([new]).current_prefix) for value in sealed) and len(sealed) == 2
    async with open_gate(change=lambda d: d["store"].update(sealing_keys=[new])) as running:
        await running.sign_in(ANN)
        assert await running.ask(ANN, "GET", f"/private-ai-keys/{key['id']}")
    raw = await asyncio.to_thread(store_file.read_bytes)
    assert key["litellm_token"].encode() not in raw
