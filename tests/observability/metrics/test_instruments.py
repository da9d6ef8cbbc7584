"""Labels from closed sets, and the state of what the gate stands on."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmgate.exchange import Exchange
from llmgate.observability.metrics import Instruments
from llmgate.proxy.circuit_breaker import BreakerSettings
from llmgate.proxy.engines.base import Origin
from llmgate.proxy.replica import Replica, ReplicaState
from llmgate.proxy.upstreams import Upstream


def upstream(*models: str, replicas: tuple[Replica, ...] = ()) -> Any:
    states = [ReplicaState.of(replica) for replica in replicas]
    return SimpleNamespace(name="vllm", state=lambda: states, model_names=frozenset(models), admission=None)


def ledger() -> Any:
    commits = SimpleNamespace(lag=0.0, backlog=0, failing=None)
    return SimpleNamespace(commits=commits, state=lambda: SimpleNamespace(accounts={}, held={}))


def served(instruments: Instruments, model: str) -> None:
    exchange = Exchange("id", started=0.0, route="chat", upstream="vllm", status=200, model=model)
    exchange.complete = True
    instruments.observe(exchange, ended=1.0)


def models(instruments: Instruments) -> set[str]:
    return {
        sample.labels["model"]
        for metric in instruments.registry.collect()
        for sample in metric.samples
        if sample.name == "llmgate_requests_total"
    }


def test_models_have_their_names_where_gate_toml_or_an_upstream_names_them() -> None:
    """What a caller has made up is `other`: no caller makes time series."""
    instruments = Instruments()
    instruments.watch(ledger(), [upstream("from-the-list")], {"from-the-file"})
    instruments.refresh()
    for model in ("from-the-list", "from-the-file", "made-up", ""):
        served(instruments, model)
    assert models(instruments) == {"from-the-list", "from-the-file", "other", "-"}


def test_upstreams_that_a_plugin_adds_name_their_models_too() -> None:
    instruments = Instruments()
    instruments.watch(ledger(), [], set())
    added = Upstream("deployment:1", ["http://a"], engine=None)  # type: ignore[arg-type]
    added.model_names = frozenset({"of-a-deployment"})
    instruments.show(added)
    instruments.refresh()
    served(instruments, "of-a-deployment")
    assert models(instruments) == {"of-a-deployment"}
    instruments.hide(added)
    instruments.refresh()
    served(instruments, "of-a-deployment")
    assert models(instruments) == {"of-a-deployment", "other"}


@pytest.mark.parametrize(("failing", "shown"), [("redis: away", 0.0), (None, 1.0)])
def test_the_store_of_limits_is_shown_where_there_is_one(failing: str | None, shown: float) -> None:
    instruments = Instruments()
    instruments.watch(ledger(), [], set())
    assert instruments.registry.get_sample_value("llmgate_limits_store_up") is None
    instruments.watch(ledger(), [], set(), SimpleNamespace(failing=failing))
    assert instruments.registry.get_sample_value("llmgate_limits_store_up") == shown


def test_a_replica_that_refuses_the_key_is_shown() -> None:
    instruments = Instruments()
    replica = Replica(Origin.parse("http://a:8000"), BreakerSettings())
    replica.refuses_key("vllm", "status 401")
    instruments.watch(ledger(), [upstream(replicas=(replica,))], set())
    labels = {"upstream": "vllm", "replica": "http://a:8000"}
    assert instruments.registry.get_sample_value("llmgate_upstream_key_refused", labels) == 1
    assert instruments.registry.get_sample_value("llmgate_upstream_up", labels) == 1


def test_a_queue_is_shown_by_class_and_an_empty_one_as_such() -> None:
    instruments, vllm = Instruments(), upstream()
    vllm.admission = SimpleNamespace(lengths=lambda: {5: 2})
    instruments.watch(ledger(), [vllm], set())
    length = "llmgate_queue_length", {"upstream": "vllm", "class": "5"}
    assert instruments.registry.get_sample_value(*length) == 2.0
    vllm.admission.lengths = dict
    assert (
        instruments.registry.get_sample_value("llmgate_queue_length", {"upstream": "vllm", "class": "0"})
        == 0.0
    )


def test_waits_and_those_who_got_no_place_are_counted_by_class() -> None:
    instruments = Instruments()
    instruments.waited("vllm", 0, 2.0)
    instruments.turned_away("vllm", 3, "full")
    labels = {"upstream": "vllm", "class": "0"}
    assert instruments.registry.get_sample_value("llmgate_queue_wait_seconds_sum", labels) == 2.0
    refused = {"upstream": "vllm", "class": "3", "reason": "full"}
    assert instruments.registry.get_sample_value("llmgate_queue_turned_away_total", refused) == 1.0
