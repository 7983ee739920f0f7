"""Warm-up, statistics, the response cache and the rate limiter."""

from __future__ import annotations

import struct
from typing import Any

from tests.scheduling.repository import ensemble, model, step, tensors
from tests.scheduling.steps import (
    Answered,
    Held,
    Index,
    Load,
    Open,
    Scenario,
    Send,
    Sleep,
    Statistics,
    Step,
    Unload,
    Wait,
)
from tests.scheduling.table_dynamic import batches_of, sends, while_held
from tests.scheduling.table_sequence import DIRECT, first, last, sequences


def _warm_up(*samples: str) -> str:
    return f"model_warmup [ {', '.join(samples)} ]"


def _sample(name: str, given: str, batch: int = 1, dims: str = "2", count: str = "") -> str:
    return (
        f'{{ name: "{name}" batch_size: {batch} {count} inputs {{ key: "X" value {{ '
        f"data_type: TYPE_INT32 dims: [ {dims} ] {given} }} }} }}"
    )


_ZERO = "zero_data: true"
_FILE = 'input_data_file: "numbers"'
_NUMBERS = (("warmup/numbers", struct.pack("<2i", 5, 6)),)

_WARMED = (
    model("warm_zero", more=_warm_up(_sample("zeros", _ZERO))),
    model("warm_file", more=_warm_up(_sample("numbers", _FILE)), files=_NUMBERS),
    model("warm_rows", more=_warm_up(_sample("rows", _FILE, batch=3)), files=_NUMBERS),
    model(
        "warm_twice",
        more=_warm_up(_sample("one", _ZERO, count="count: 2"), _sample("two", _FILE)),
        files=_NUMBERS,
    ),
    model("warm_none", more=_warm_up(_sample("none", _ZERO, batch=0))),
    model("warm_flat", batch=0, more=_warm_up(_sample("flat", _FILE, batch=0)), files=_NUMBERS),
    model("warm_flat_batch", batch=0, more=_warm_up(_sample("flat", _FILE)), files=_NUMBERS),
    model("warm_batched", "dynamic_batching { }", more=_warm_up(_sample("rows", _ZERO, batch=2))),
    model("warm_instances", instances=2, more=_warm_up(_sample("zeros", _ZERO))),
    model("warm_sequence", sequences(DIRECT), more=_warm_up(_sample("zeros", _ZERO))),
    model(
        "warm_strings",
        tensors=tensors("X:STRING:1 Y:INT32:1", "OUT:INT32:1"),
        more=_warm_up(
            '{ name: "strings" batch_size: 1 inputs { key: "X" value { data_type: TYPE_STRING '
            'dims: [ 1 ] zero_data: true } } inputs { key: "Y" value { data_type: TYPE_INT32 '
            "dims: [ 1 ] zero_data: true } } }"
        ),
        parameters=(("raises", "always"),),
    ),
    model(
        "warm_raises",
        more=_warm_up(_sample("zeros", _ZERO)),
        parameters=(("raises", "always"),),
    ),
    model("warm_too_big", more=_warm_up(_sample("big", _ZERO, batch=9))),
    model("warm_no_file", more=_warm_up(_sample("lost", 'input_data_file: "lost"'))),
    model("warm_short_file", more=_warm_up(_sample("short", _FILE, dims="3")), files=_NUMBERS),
    model("warm_nothing_set", more=_warm_up(_sample("unset", ""))),
    model("warm_wrong_name", more=_warm_up(_sample("name", _ZERO).replace('"X"', '"Z"'))),
    model(
        "warm_wrong_type",
        more=_warm_up(_sample("type", _ZERO).replace("TYPE_INT32", "TYPE_FP32")),
    ),
    model("warm_no_inputs", more=_warm_up('{ name: "empty" batch_size: 1 }')),
)

_CACHE = "response_cache { enable: true }"


def _rated(name: str, resources: str, instances: int = 1, more: str = "") -> str:
    return (
        f'instance_group [ {{ name: "{name}" count: {instances} kind: KIND_CPU '
        f"rate_limiter {{ resources [ {resources} ] {more} }} }} ]"
    )


_OTHERS = (
    model("counts", "dynamic_batching { }"),
    model(
        "counts_refused",
        "dynamic_batching { default_queue_policy { max_queue_size: 1 } }",
        batch=1,
    ),
    model("counts_sequence", sequences(DIRECT), batch=3),
    model("cached", more=_CACHE),
    model("cached_batches", "dynamic_batching { }", more=_CACHE),
    model("uncached"),
    ensemble(
        "cached_whole",
        step("uncached", "X=X", "OUT=t"),
        step("uncached", "X=t", "OUT=OUT"),
        more=_CACHE,
    ),
    ensemble("cached_steps", step("cached", "X=X", "OUT=t"), step("uncached", "X=t", "OUT=OUT")),
    model("cached_sequence", sequences(DIRECT), more=_CACHE),
    model(
        "cached_decoupled",
        batch=0,
        program="repeater",
        more=_CACHE + " model_transaction_policy { decoupled: true }",
    ),
    *(
        model(name, "dynamic_batching { }", batch=1, group=_rated(name, resources))
        for name, resources in (
            ("rated_1", '{ name: "R" count: 1 }'),
            ("rated_2", '{ name: "R" count: 2 }'),
            ("rated_3", '{ name: "R" count: 3 }'),
            ("rated_other", '{ name: "S" count: 2 }'),
            ("rated_global", '{ name: "R" count: 1 global: true }'),
            ("rated_all_global", '{ name: "G" count: 2 global: true }'),
        )
    ),
)
MODELS = (*_WARMED, *_OTHERS)


def _warmed(name: str) -> Scenario:
    words = name.replace("_", " ").removeprefix("warm ")
    return Scenario(
        f"warm-up: {words}",
        (),
        (Load(name), Index(name), Statistics(name), Unload(name)),
        sorted_batches=True,
    )


_STATISTICS = (
    Scenario(
        "statistics: dynamic batches",
        ("counts",),
        (
            *while_held(*batches_of(2, 1, 1, 3)),
            Send("fail", wait=True),
            Send("raise", wait=True),
            Send("five", inputs={"X": [[1]] * 5}, wait=True),
            Statistics("counts"),
        ),
        fresh=True,
    ),
    Scenario(
        "statistics: refused and cancelled",
        ("counts_refused",),
        (*while_held(*sends(6)), Statistics("counts_refused")),
        fresh=True,
    ),
    Scenario(
        "statistics: sequences",
        ("counts_sequence",),
        (
            first(1, wait=True),
            first(2, wait=True),
            last(2, wait=True),
            last(1, wait=True),
            Send("no id", wait=True),
            Statistics("counts_sequence"),
        ),
        fresh=True,
    ),
)


def _cached(name: str, models: tuple[str, ...], *steps: Step) -> Scenario:
    return Scenario(f"cache: {name}", models, steps, server="cached", fresh=True)


def _ask(name: str, value: int, **more: Any) -> Send:
    """The cache outlives its models, so each scenario asks for values of its own."""
    return Send(name, inputs={"X": [[value]]}, wait=True, **more)


def _asked_twice(value: int) -> tuple[Send, ...]:
    return (
        _ask("a", value),
        _ask("b", value),
        Send("c", inputs={"X": [[value, value]]}, wait=True),
        _ask("d", value, over_http=True),
    )


_CACHED = (
    _cached("asked twice", ("cached",), *_asked_twice(100), Statistics("cached")),
    _cached(
        "dynamic batches", ("cached_batches",), *_asked_twice(110), Statistics("cached_batches")
    ),
    _cached(
        "errors are not kept",
        ("cached",),
        *(_ask("fail", 120), _ask("b", 120), _ask("c", 120), Statistics("cached")),
    ),
    _cached(
        "parameters, ids and priorities do not count",
        ("cached",),
        _ask("a", 130, parameters={"word": "yes"}),
        _ask("b", 130, parameters={"word": "no"}, priority=1, timeout_us=7_000_000),
        Statistics("cached"),
    ),
    _cached(
        "equal bytes in another shape",
        ("cached",),
        Send("a", inputs={"X": [[141, 142]]}, wait=True),
        Send("b", inputs={"X": [[141], [142]]}, wait=True),
        Statistics("cached"),
    ),
    _cached(
        "two models do not share",
        ("cached", "cached_batches"),
        *(_ask("a", 150), _ask("b", 150, model="cached_batches"), Statistics("cached_batches")),
    ),
    _cached(
        "an ensemble as a whole",
        ("cached_whole", "uncached"),
        *(_ask("a", 160), _ask("b", 160), Statistics("cached_whole"), Statistics("uncached")),
    ),
    _cached(
        "a step of an ensemble",
        ("cached_steps", "cached", "uncached"),
        *(_ask("a", 170), _ask("b", 170), Statistics("cached_steps"), Statistics("cached")),
    ),
    _cached(
        "it outlives the model",
        ("cached",),
        *(_ask("a", 180), Unload("cached"), Load("cached"), _ask("b", 180), Statistics("cached")),
    ),
    _cached("not for sequences", (), Load("cached_sequence"), Index("cached_sequence")),
    _cached("not for decoupled models", (), Load("cached_decoupled"), Index("cached_decoupled")),
    Scenario(
        "cache: none in this server",
        ("cached",),
        (_ask("a", 190), _ask("b", 190), Statistics("cached")),
        fresh=True,
    ),
)


def _limited(name: str, models: tuple[str, ...], *steps: Step) -> Scenario:
    return Scenario(f"rate limit: {name}", models, steps, server="rated", fresh=True)


_RATED = (
    _limited("enough for both", ("rated_1",), Send("hold"), Held(), Send("b"), Open(), Wait()),
    _limited(
        "who has it all keeps others waiting",
        ("rated_2", "rated_1"),
        Send("hold"),
        Held(),
        Send("b", model="rated_1"),
        Send("c", model="rated_1"),
        Sleep(300),
        Answered(),
        Open(),
        Wait(),
    ),
    _limited("too much is asked for", (), Load("rated_3"), Index("rated_3")),
    _limited("a resource that no flag names", (), Load("rated_other"), Index("rated_other")),
    _limited(
        "a global resource of the same name",
        (),
        Load("rated_1"),
        Load("rated_global"),
        Index("rated_global"),
        Unload("rated_1"),
        Unload("rated_global"),
    ),
    _limited("a global resource", (), Load("rated_all_global"), Index("rated_all_global")),
)

SCENARIOS = (*(_warmed(each.name) for each in _WARMED), *_STATISTICS, *_CACHED, *_RATED)
