"""The public names of plugins: what stands here keeps its meaning from release to release."""

from types import FunctionType, ModuleType

from llmgate.plugin import api

NAMES = """
ADMIN
ANY
Access
Allotment
Answer
AnswerCut
AnyCall
AnyOperation
BadRequest
Balance
BaseUrl
Bucket
Buckets
Call
Certainty
Charge
ClientGone
Clock
Completion
Config
ConfigError
Conflict
Cookie
Cors
Count
CountOn
DIALECTS
Demand
Detail
Dialect
DialectName
DocumentedSection
DynamicUpstream
DynamicUpstreams
EVENTS
Endpoint
ErrorShape
EventSplitter
Exchange
FORM
Filter
Forbidden
GateError
Guarded
Handler
Header
HealthSettings
Hold
IdColumn
Identity
JSON
Key
Keys
Ledger
Level
MULTIPART
Media
Member
Membership
MethodNotAllowed
Migrations
Model
ModelRequest
NEVER_REUSED
Name
Network
NotFound
Observe
OpenAIError
OpenDynamicUpstreams
Operation
Organization
Organizations
Origin
Outcome
PasswordRules
PayloadTooLarge
Permissions
Place
Plugin
PluginMetrics
Price
Prices
Principal
QuotaExhausted
QuotaHeld
Quotas
RateLimited
Reading
Refusal
Reply
Reports
RouteSettings
SESSION_COOKIE
SameOrigin
SealedBox
Seconds
Secret
SecretUrl
Services
Session
Sessions
Several
Stamped
Store
StoreError
Subject
Surface
Totals
Unauthenticated
Unavailable
Unit
Unprocessable
UnsupportedMediaType
Upstream
UpstreamError
UpstreamFailed
UpstreamRequest
UpstreamSettings
UrlPath
Usage
UsageRecord
User
Users
Verifier
Window
__version__
answer
api_keys_table
cards_of
convert_table
data_of
detail_shape
documentation_pages
email_of
exchange_of
extra_remedy
id_column
memberships_table
job_leases_table
json_answer
load_config
meter_for
name_of
new_id
openai_shape
organizations_table
owner_column
parse_request
partial_index
read_body
read_json
repeat
required_column
running
send_json
send_reply
subjects_of
unless_gone
usage_table
user_roles_table
users_table
"""


def test_these_are_the_names() -> None:
    """A name that goes or comes is a change of the public interface: it is in the CHANGELOG."""
    assert sorted(api.__all__) == sorted(NAMES.split())


def test_every_name_is_there_and_none_is_hidden() -> None:
    """What can be imported from the module is what it says."""
    there = {name for name, value in vars(api).items() if not isinstance(value, ModuleType)}
    assert {name for name in there if not name.startswith("__")} | {"__version__"} == set(api.__all__)


def test_every_class_and_function_says_what_it_is() -> None:
    """Names of types alone, such as `Handler`, are told where they are used."""
    described = [name for name in api.__all__ if isinstance(getattr(api, name), type | FunctionType)]
    assert [name for name in described if not getattr(api, name).__doc__] == []
