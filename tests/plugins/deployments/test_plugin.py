"""What the operator decides, and what the plugin makes of it."""

import pytest
from servers import refused_url

from llmgate_deployments.plugin import Settings, upstream_settings

from .conftest import ADA, API, OpenBku, add, log_in


async def test_the_operator_may_allow_a_network(open_bku: OpenBku) -> None:
    """What is in it is let through whatever it is."""
    async with open_bku(allowed_networks=["0.0.0.0/32"]) as running:
        admin = await log_in(running.http, ADA)
        url = (await refused_url()).replace("127.0.0.1", "0.0.0.0")  # noqa: S104
        assert (await add(running.http, admin, url)).status_code == 201


async def test_nobody_becomes_admin_unless_the_operator_wants_it(open_bku: OpenBku) -> None:
    """The setting is off by default; here it is written out."""
    async with open_bku(first_user_is_admin=False) as running:
        assert not (await running.http.post(f"{API}/auth/register", json=ADA)).json()["is_admin"]


async def test_registration_can_be_closed(open_bku: OpenBku) -> None:
    """403, in the guide's shape."""
    async with open_bku(registration="closed") as running:
        answer = await running.http.post(f"{API}/auth/register", json=ADA)
        assert answer.status_code == 403
        assert answer.json().keys() == {"detail"}


async def test_without_a_folder_there_are_no_uploads(open_bku: OpenBku) -> None:
    """404 says what the operator has not set."""
    async with open_bku(models_folder=None) as running:
        admin = await log_in(running.http, ADA)
        await running.http.post(f"{API}/models", headers=admin, json={"name": "m"})
        file = {"file": ("model.gguf", b"GGUF and more")}
        answer = await running.http.post(f"{API}/models/1/upload", headers=admin, files=file)
        assert (answer.status_code, "models_folder" in answer.text) == (404, True)


def test_a_deployment_is_an_upstream_as_the_settings_say() -> None:
    """Probed by its list of models, which it must have."""
    settings = Settings(dialect="vllm", context_length=4096, first_byte_timeout=7.0, health_interval=3.0)
    made = upstream_settings(settings, "http://10.0.0.1:8000")
    assert (made.urls, made.dialect, made.context_length) == (("http://10.0.0.1:8000",), "vllm", 4096)
    assert (made.first_byte_timeout, made.health.path, made.health.interval) == (7.0, "/v1/models", 3.0)


@pytest.mark.parametrize(
    ("public", "is_on", "keys"), [(True, True, ["first_user_is_admin"]), (False, True, []), (True, False, [])]
)
def test_what_is_for_trying_is_warned_of_where_strangers_come(
    public: bool, is_on: bool, keys: list[str]
) -> None:
    """By its key."""
    warned = Settings(first_user_is_admin=is_on).warnings(public)
    assert [key for key, _ in warned] == keys
