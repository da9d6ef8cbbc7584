"""The keys of `[plugins.llmgate_private_ai]` and of its two companions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from llmgate.plugin.api import BaseUrl, Count, DialectName, Model, Network, Seconds, Secret, Several
from llmgate.plugin.kit.vector_databases import AT_ONCE, TEMPLATE, TIMEOUT

from .billing.stripe_gateway import StripeSettings
from .plans import Plan

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class FirstAdmin(Struct, frozen=True, kw_only=True):
    """The system admin who is made while there is none; refused unless every address is of loopback."""

    email: Annotated[Text, Meta(description="Address to sign in with.")] = "admin@example.com"
    password: Annotated[Secret, Meta(description="Password; change it after the first sign-in.")]


class SeededRegion(Struct, frozen=True, kw_only=True):
    """A region that is made at the first start."""

    name: Annotated[Text, Meta(description="Name.")]
    label: Annotated[Text | None, Meta(description="What people read.")] = None
    postgres_host: Annotated[Text, Meta(description="PostgreSQL server with pgvector, as tenants reach it.")]
    postgres_port: Annotated[int, Meta(ge=1, le=65_535, description="Its port.")] = 5432
    postgres_admin_user: Annotated[Text, Meta(description="A superuser, or who has CREATEDB and CREATEROLE.")]
    postgres_admin_password: Annotated[Secret, Meta(description="The admin's password.")]
    backend: Annotated[Text, Meta(description="Where models are: route:NAME, or the URL of a server.")]
    backend_key: Annotated[Secret | None, Meta(description="Key that the server asks for.")] = None


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.llmgate_private_ai]`."""

    public_url: Annotated[BaseUrl, Meta(description="Where this API is, for those who call it.")] = (
        "http://localhost:8800"
    )
    model_url: Annotated[
        BaseUrl, Meta(description="Where models are asked: what keys name as litellm_api_url.")
    ] = "http://localhost:4000"
    dashboard_url: Annotated[BaseUrl, Meta(description="Where links in mails go.")] = "http://localhost:3000"
    cors_origins: Annotated[
        Several[BaseUrl], Meta(description="Origins whose pages may call this API with the cookie.")
    ] = ("http://localhost:3000", "http://localhost:8080", "http://localhost:8800")
    first_admin: Annotated[
        FirstAdmin | None, Meta(description="The system admin who is made while there is none.")
    ] = None
    passwordless: Annotated[bool, Meta(description="Let people sign in by a code that is mailed.")] = True
    code_lifetime: Annotated[Seconds, Meta(description="Seconds that a code is good for.")] = 600.0
    code_tries: Annotated[Count, Meta(description="Wrong tries after which a code is dead.")] = 5
    session_lifetime: Annotated[Seconds, Meta(description="Seconds of a session and its cookie.")] = 1800.0
    admin_session_lifetime: Annotated[Seconds, Meta(description="The same, of system admins.")] = 28_800.0
    cookie_domain: Annotated[
        Text | None, Meta(description="Domain of the session's cookie; without it, the host alone.")
    ] = None
    keys_without_team: Annotated[bool, Meta(description="Users in no team may make keys.")] = True
    limits: Annotated[
        bool, Meta(description="Hold teams to their plans and trials; without it, keys live a year.")
    ] = False
    defaults: Annotated[Plan, Meta(description="What a team without a product may have.")] = Plan()
    stripe: Annotated[
        StripeSettings | None, Meta(description="Payments; without it, what needs them says so.")
    ] = None
    team_metrics_token: Annotated[
        Secret | None,
        Meta(
            description="What scrapers of /metrics/teams send as bearer; without it, there is no such path."
        ),
    ] = None
    regions: Annotated[
        tuple[SeededRegion, ...], Meta(description="Regions that are made while there is none.")
    ] = ()
    allowed_networks: Annotated[
        Several[Network],
        Meta(description="Where backends of regions may be although the gate would refuse."),
    ] = ()
    vector_template: Annotated[
        Text, Meta(description="Database with pgvector that is copied where the admin is no superuser.")
    ] = TEMPLATE
    database_timeout: Annotated[
        Seconds, Meta(description="Seconds to make or drop a database: clients give up after five.")
    ] = TIMEOUT
    databases_at_once: Annotated[
        Count, Meta(description="Databases made or dropped on one server at a time.")
    ] = AT_ONCE

    def warnings(self, public: bool) -> Iterator[tuple[str, str]]:
        """What is good for trying and not for strangers."""
        if not public:
            return
        if self.keys_without_team and not self.limits:
            yield (
                "keys_without_team",
                "whoever registers makes keys and databases that no plan bounds: write false, or limits = true",
            )
        if self.public_url.startswith("http://"):
            yield "public_url", "is not https, so the session's cookie travels readably: put TLS in front"
        if local := [origin for origin in self.cors_origins if _is_local(origin)]:
            yield (
                "cors_origins",
                f"pages that programs on a visitor's machine serve ({local[0]}) may use their session: leave it out",
            )


def _is_local(origin: str) -> bool:
    return urlsplit(origin).hostname in {"localhost", "127.0.0.1", "::1"}


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What `/model/info` says of a model, where its name does not tell."""

    mode: Annotated[
        Text | None, Meta(description="chat, embedding, image_generation, audio_transcription ...")
    ] = None
    supports_vision: Annotated[bool | None, Meta(description="Takes images.")] = None
    supports_function_calling: Annotated[bool | None, Meta(description="Calls functions.")] = None
    supports_tool_choice: Annotated[bool | None, Meta(description="May be told which.")] = None
    supports_response_schema: Annotated[bool | None, Meta(description="Answers by a JSON schema.")] = None
    max_tokens: Annotated[Count | None, Meta(description="Tokens of an answer, at most.")] = None


class ModelSettings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.llmgate_private_ai_models]`."""

    dialect: Annotated[
        DialectName, Meta(description="Family of the backends of regions, as in [upstreams.NAME].")
    ] = "generic"
    context_length: Annotated[
        Count | None, Meta(description="Tokens that a prompt and its answer may have together.")
    ] = None
    max_output_tokens: Annotated[
        Count | None, Meta(description="Limit of an answer's tokens for requests that name none.")
    ] = None
    allowed_networks: Annotated[
        Several[Network],
        Meta(description="Where backends of regions may be although the gate would refuse."),
    ] = ()
    models: Annotated[Mapping[Model, ModelFacts], Meta(description="What /model/info says of a model.")] = (
        field(default_factory=dict)
    )
