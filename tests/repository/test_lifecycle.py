"""The states of a model version, and what the registry tells of all versions."""

from collections.abc import Callable

import pytest

from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.errors import InvalidArgumentError, NotFoundError, ServerError, UnavailableError
from pyserver.repository.lifecycle import Loaded, ModelVersion, State
from pyserver.repository.registry import DUPLICATED, IndexEntry, Registry


def loaded(handle: int) -> Loaded:
    return Loaded(handle, ModelConfig(), {})


Step = Callable[[ModelVersion], object]


def load(v: ModelVersion) -> object:
    return v.begin_load()


def make_ready(v: ModelVersion) -> object:
    return v.become_ready(loaded(1))


def swap(v: ModelVersion) -> object:
    return v.become_ready(loaded(2))


def unload(v: ModelVersion) -> object:
    return v.begin_unload()


def gone(v: ModelVersion) -> object:
    return v.finish_unload(1)


def fail(v: ModelVersion) -> object:
    return v.fail("why")


def abandon(v: ModelVersion) -> object:
    return v.abandon_load()


@pytest.mark.parametrize(
    ("steps", "state", "reason", "handle"),
    [
        ([], State.UNKNOWN, "", None),
        ([load], State.LOADING, "", None),
        ([load, fail], State.UNAVAILABLE, "why", None),
        ([load, abandon], State.UNAVAILABLE, "unloaded", None),
        ([load, make_ready], State.READY, "", 1),
        ([load, make_ready, load], State.READY, "", 1),
        ([load, make_ready, load, abandon], State.READY, "", 1),
        ([load, make_ready, load, swap], State.READY, "", 2),
        ([load, make_ready, unload], State.UNLOADING, "", 1),
        ([load, make_ready, unload, unload], State.UNLOADING, "", 1),
        ([load, make_ready, unload, gone], State.UNAVAILABLE, "unloaded", None),
        ([load, make_ready, unload, load, gone], State.LOADING, "", None),
        ([load, make_ready, unload, load, swap, gone], State.READY, "", 2),
        ([load, make_ready, fail], State.UNAVAILABLE, "why", None),
        ([load, make_ready, fail, unload], State.UNAVAILABLE, "why", None),
        ([load, fail, load, make_ready], State.READY, "", 1),
    ],
)
def test_steps_lead_to_states(
    steps: list[Step], state: State, reason: str, handle: int | None
) -> None:
    version = ModelVersion("m", 1)
    for step in steps:
        step(version)
    assert (version.state, version.reason) == (state, reason)
    assert (version.loaded.handle if version.loaded else None) == handle


@pytest.mark.parametrize(
    "steps",
    [[make_ready], [load, fail, make_ready], [load, make_ready, unload, swap], [load, fail, fail]],
)
def test_steps_that_no_version_takes(steps: list[Step]) -> None:
    version = ModelVersion("m", 1)
    for step in steps[:-1]:
        step(version)
    with pytest.raises(RuntimeError, match="no way from"):
        steps[-1](version)


def test_every_change_is_heard() -> None:
    heard: list[State] = []
    version = ModelVersion("m", 1, lambda changed: heard.append(changed.state))
    for step in (load, make_ready, swap, unload):
        step(version)
    version.finish_unload(2)
    assert heard == ["LOADING", "READY", "READY", "UNLOADING", "UNAVAILABLE"]


def make_registry() -> Registry:
    """a: 1 make_ready, 2 make_ready, 3 LOADING; b: 1 unloaded; c: 1 failed; d: 1 make_ready, 2
    UNLOADING.
    """
    registry = Registry()
    for name, number, steps in (
        ("a", 1, [load, make_ready]),
        ("a", 3, [load]),
        ("a", 2, [load, make_ready]),
        ("b", 1, [load, make_ready, unload, gone]),
        ("c", 1, [load, fail]),
        ("d", 1, [load, make_ready]),
        ("d", 2, [load, make_ready, unload]),
    ):
        for step in steps:
            step(registry.version(name, number))
    return registry


@pytest.mark.parametrize(
    ("name", "number", "found"),
    [
        ("a", -1, 2),
        ("a", 1, 1),
        ("a", 3, (UnavailableError, "'a' version 3 is not at ready state")),
        ("a", 4, (NotFoundError, "'a' version 4 is not found")),
        ("b", -1, (NotFoundError, "'b' has no available versions")),
        ("b", 1, (UnavailableError, "'b' version 1 is not at ready state")),
        ("c", -1, (NotFoundError, "'c' has no available versions")),
        ("d", -1, 1),
        ("d", 2, (UnavailableError, "'d' version 2 is not at ready state")),
        ("z", -1, (NotFoundError, "'z' is not found")),
        ("z", 1, (NotFoundError, "'z' is not found")),
    ],
)
def test_find_is_exact_about_what_is_missing(
    name: str, number: int, found: int | tuple[type[ServerError], str]
) -> None:
    registry = make_registry()
    if isinstance(found, int):
        assert registry.find(name, number).version == found
    else:
        kind, text = found
        with pytest.raises(kind) as refused:
            registry.find(name, number)
        assert str(refused.value) == f"Request for unknown model: {text}"


def test_the_index_is_sorted_and_tells_states_and_reasons() -> None:
    index = make_registry().index({"a", "b", "c", "fresh"}, frozenset({"e"}), ready_only=False)
    assert index == [
        IndexEntry("a", 1, "READY"),
        IndexEntry("a", 2, "READY"),
        IndexEntry("a", 3, "LOADING"),
        IndexEntry("b", 1, "UNAVAILABLE", "unloaded"),
        IndexEntry("c", 1, "UNAVAILABLE", "why"),
        IndexEntry("d", 1, "READY"),
        IndexEntry("d", 2, "UNLOADING"),
        IndexEntry("e", None, "UNAVAILABLE", DUPLICATED),
        IndexEntry("fresh"),
    ]


def test_the_index_of_ready_models_keeps_duplicates() -> None:
    index = make_registry().index({"a", "fresh"}, frozenset({"e"}), ready_only=True)
    assert [(line.name, line.version) for line in index] == [
        ("a", 1),
        ("a", 2),
        ("d", 1),
        ("e", None),
    ]


def test_a_model_without_versions_is_known_but_not_listed() -> None:
    heard: list[str] = []
    registry = Registry(heard.append)
    registry.know("m")
    registry.know("m")
    assert heard == ["m"]
    with pytest.raises(NotFoundError, match="'m' has no available versions"):
        registry.find("m")
    assert registry.index({"m"}, frozenset(), ready_only=False) == []


def test_readiness_ignores_what_was_unloaded() -> None:
    registry = Registry()
    assert not registry.reason_not_ready()
    one, two = registry.version("m", 1), registry.version("m", 2)
    one.begin_load()
    one.due = True
    assert registry.reason_not_ready() == "model 'm' version 1 is LOADING"
    one.become_ready(loaded(1))
    two.begin_load()
    two.abandon_load()
    assert not registry.reason_not_ready()
    two.begin_load()
    two.fail("why")
    assert not registry.reason_not_ready()  # one more model, which never served
    one.fail("because")
    assert registry.reason_not_ready() == "model 'm' version 1 is UNAVAILABLE: because"


def test_a_name_of_several_models_is_ambiguous_while_more_than_one_is_there() -> None:
    registry = Registry()
    one, two = registry.version("/one/m", 1), registry.version("/two/m", 1)
    one.begin_load()
    one.become_ready(loaded(1))
    assert registry.named("m") == ["/one/m", "/two/m"]
    text = "There are 2 identifiers of model 'm' in global map, model namespace must be provided"
    with pytest.raises(InvalidArgumentError, match=text):
        registry.find("m")
    assert registry.find("/one/m") is one
    two.begin_load()
    two.abandon_load()
    assert registry.find("m") is one
    one.fail("why")
    with pytest.raises(NotFoundError, match="'m' has no available versions"):
        registry.find("m")
    index = registry.index({"/one/m", "/two/m", "/two/x"}, frozenset(), ready_only=False)
    assert [(line.name, line.version, line.reason) for line in index] == [
        ("m", 1, "why"),
        ("m", 1, "unloaded"),
        ("x", None, ""),
    ]


def test_what_is_expected_makes_unready_until_it_serves() -> None:
    registry = Registry()
    registry.know("empty")
    registry.version("failed", 1).fail("why")
    registry.expect_all()
    assert registry.reason_not_ready() == "model 'empty' has no version that its policy serves"
    version = registry.version("empty", 1)
    version.begin_load()
    version.become_ready(loaded(1))
    assert registry.reason_not_ready() == "model 'failed' version 1 is UNAVAILABLE: why"
