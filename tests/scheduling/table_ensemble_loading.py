"""Ensembles that cannot be loaded, or lose a step: what load and index say."""

from __future__ import annotations

from tests.scheduling.repository import Model, ensemble, model, step, tensors
from tests.scheduling.steps import Index, Load, Scenario, Send, Unload

_FLOATS = tensors("X:FP32:-1", "OUT:FP32:-1")
_PAIR = tensors("X:INT32:-1 Y:INT32:-1", "OUT:INT32:-1")
_WIDE = tensors("X:INT32:2", "OUT:INT32:2")
_ONE_IN = tensors("X:INT32:-1", "OUT:INT32:-1")


def _chain(name: str, second: str, batch: int = 4) -> Model:
    return ensemble(name, step("good", "X=X", "OUT=t"), step(second, "X=t", "OUT=OUT"), batch=batch)


_BROKEN = (
    _chain("of_missing", "nowhere"),
    _chain("of_floats", "good_floats"),
    _chain("of_pair", "good_pair"),
    _chain("of_wide", "good_wide"),
    _chain("of_failing", "fails_at_load"),
    _chain("too_wide", "good", batch=8),
    ensemble("of_version", step("good", "X=X", "OUT=OUT", 7)),
    ensemble("circle", step("circle", "X=X", "OUT=OUT")),
    ensemble("circle_a", step("circle_b", "X=X", "OUT=OUT")),
    ensemble("circle_b", step("circle_a", "X=X", "OUT=OUT")),
    ensemble("wrong_input_name", step("good", "Z=X", "OUT=OUT")),
    ensemble("wrong_output_name", step("good", "X=X", "Z=OUT")),
    ensemble(
        "output_type", step("good", "X=X", "OUT=OUT"), tensors=tensors("X:INT32:-1", "OUT:FP32:-1")
    ),
    ensemble(
        "input_type", step("good", "X=X", "OUT=OUT"), tensors=tensors("X:FP32:-1", "OUT:INT32:-1")
    ),
    ensemble(
        "output_shape",
        step("good_wide", "X=X", "OUT=OUT"),
        tensors=tensors("X:INT32:2", "OUT:INT32:3"),
    ),
    ensemble("unused_input", step("good", "X=X", "OUT=OUT"), tensors=_PAIR),
    ensemble("unwritten_output", step("good", "X=X", "OUT=t"), tensors=_ONE_IN),
    ensemble("written_twice", step("good", "X=X", "OUT=OUT"), step("good_too", "X=X", "OUT=OUT")),
    ensemble("dangling", step("good", "X=X", "OUT=OUT"), step("good_too", "X=X", "OUT=t")),
    ensemble("unconnected", step("good", "X=t", "OUT=OUT"), step("good_too", "X=X", "OUT=u")),
    Model(
        "no_steps",
        'platform: "ensemble"\nmax_batch_size: 4\n' + _ONE_IN + "ensemble_scheduling { }\n",
        None,
    ),
    Model("no_scheduling", 'platform: "ensemble"\nmax_batch_size: 4\n' + _ONE_IN, None),
    ensemble("grouped", step("good", "X=X", "OUT=OUT"), more="instance_group [ { count: 1 } ]"),
    ensemble(
        "two_decoupled_inputs",
        step("good_repeats", "X=X", "OUT=t"),
        step("good_repeats_too", "X=X", "OUT=u"),
        step("good_flat_pair", "X=t Y=u", "OUT=OUT"),
        batch=0,
        tensors=tensors("X:INT32:1", "OUT:INT32:1"),
    ),
)
_DECOUPLED = "model_transaction_policy { decoupled: true }"
_ONE = tensors("X:INT32:1", "OUT:INT32:1")

MODELS = (
    model("good"),
    model("good_too"),
    model("good_floats", tensors=_FLOATS),
    model("good_pair", tensors=_PAIR),
    model("good_wide", tensors=_WIDE),
    model("good_repeats", batch=0, program="repeater", tensors=_ONE, more=_DECOUPLED),
    model("good_repeats_too", batch=0, program="repeater", tensors=_ONE, more=_DECOUPLED),
    model("good_flat_pair", batch=0, tensors=tensors("X:INT32:1 Y:INT32:1", "OUT:INT32:1")),
    model("fails_at_load", parameters=(("raises", "at load"),)),
    _chain("whole", "good_too"),
    ensemble("whole_outside", step("whole", "X=X", "OUT=OUT")),
    *_BROKEN,
)


def _refused(each: Model) -> Scenario:
    words = each.name.replace("_", " ")
    return Scenario(f"loading: {words}", (), (Load(each.name), Index(each.name)))


SCENARIOS = (
    *(_refused(each) for each in _BROKEN),
    Scenario(
        "loading: an ensemble brings its steps",
        (),
        (
            Unload("good"),
            Unload("good_too"),
            Load("whole_outside"),
            *(Index(name) for name in ("whole_outside", "whole", "good", "good_too")),
            Send("a", model="whole_outside", wait=True),
        ),
    ),
    Scenario(
        "loading: a step is unloaded",
        (),
        (
            Load("whole_outside"),
            Unload("good_too"),
            *(Index(name) for name in ("whole_outside", "whole", "good", "good_too")),
            Send("a", model="whole_outside", wait=True),
            Send("b", model="whole", wait=True),
            Load("good_too"),
            *(Index(name) for name in ("whole_outside", "whole", "good", "good_too")),
            Send("c", model="whole_outside", wait=True),
        ),
    ),
    Scenario(
        "loading: an ensemble is unloaded, its steps stay",
        (),
        (
            Load("whole"),
            Unload("whole"),
            *(Index(name) for name in ("whole", "good", "good_too")),
            Send("a", model="whole", wait=True),
            Send("b", model="good", wait=True),
        ),
    ),
)
