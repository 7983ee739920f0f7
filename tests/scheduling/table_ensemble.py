"""Ensembles of Python models: which steps are executed, with what, and what the client is told."""

from __future__ import annotations

from tests.scheduling.repository import ensemble, model, step, tensors
from tests.scheduling.steps import Cancel, Held, Open, Scenario, Send, Sleep, Statistics, Wait
from tests.scheduling.table_dynamic import rows
from tests.scheduling.table_sequence import DIRECT, first, last, next_of, sequences

_TWO_OUT = tensors("X:INT32:-1", "P:INT32:-1 Q:INT32:-1")
_TWO_IN = tensors("X:INT32:-1 Y:INT32:-1", "OUT:INT32:-1")
_OPTIONAL_IN = tensors("X:INT32:-1 Y:INT32:-1?", "OUT:INT32:-1")
_FLAT = tensors("X:INT32:-1,-1", "OUT:INT32:-1,-1")
_LABELLED = tensors("X:INT32:3", "OUT:FP32:3").replace(
    "dims: [ 3 ] } ]\n", 'dims: [ 3 ] label_filename: "labels.txt" } ]\n'
)
_LABELLED = _LABELLED.replace(' label_filename: "labels.txt"', "", 1)

_ALL = (("told", "all"),)
MODELS = (
    model("one"),
    model("two", parameters=_ALL),
    model("three"),
    model("split", tensors=_TWO_OUT),
    model("join", tensors=_TWO_IN),
    model("may_join", tensors=_OPTIONAL_IN),
    model("batches", "dynamic_batching { }"),
    model("flat", batch=0, tensors=_FLAT),
    model("versions", versions=(1, 2), more="version_policy { all { } }"),
    model("labelled", tensors=_LABELLED, files=(("labels.txt", "left\nmiddle\nright\n"),)),
    model(
        "repeats",
        batch=0,
        program="repeater",
        tensors=tensors("X:INT32:1", "OUT:INT32:1"),
        more="model_transaction_policy { decoupled: true }",
    ),
    model("single", batch=0, tensors=tensors("X:INT32:1", "OUT:INT32:1")),
    model("remembers", sequences(DIRECT), batch=2),
    model("counted"),
    ensemble("chain", step("one", "X=X", "OUT=t"), step("two", "X=t", "OUT=OUT")),
    ensemble(
        "diamond",
        step("split", "X=X", "P=p Q=q"),
        step("one", "X=p", "OUT=r"),
        step("two", "X=q", "OUT=s"),
        step("join", "X=r Y=s", "OUT=OUT"),
    ),
    ensemble(
        "fan",
        step("one", "X=X", "OUT=FIRST"),
        step("two", "X=X", "OUT=SECOND"),
        step("three", "X=t", "OUT=THIRD"),
        step("counted", "X=X", "OUT=t"),
        tensors=tensors("X:INT32:-1", "FIRST:INT32:-1 SECOND:INT32:-1 THIRD:INT32:-1"),
    ),
    ensemble("nested", step("chain", "X=X", "OUT=t"), step("three", "X=t", "OUT=OUT")),
    ensemble(
        "optional_inputs",
        step("may_join", "X=X Y=Y", "OUT=OUT"),
        tensors=tensors("X:INT32:-1 Y:INT32:-1?", "OUT:INT32:-1"),
    ),
    ensemble("batched_step", step("batches", "X=X", "OUT=t"), step("one", "X=t", "OUT=OUT")),
    ensemble(
        "flat_inside",
        step("one", "X=X", "OUT=t"),
        step("flat", "X=t", "OUT=u"),
        step("two", "X=u", "OUT=OUT"),
    ),
    ensemble(
        "flat_outside",
        step("one", "X=X", "OUT=OUT"),
        batch=0,
        tensors=_FLAT,
    ),
    ensemble("newest", step("versions", "X=X", "OUT=OUT")),
    ensemble("oldest_version", step("versions", "X=X", "OUT=OUT", 1)),
    ensemble(
        "labels",
        step("one", "X=X", "OUT=t"),
        step("labelled", "X=t", "OUT=OUT"),
        tensors=tensors("X:INT32:3", "OUT:FP32:3"),
    ),
    ensemble(
        "decoupled",
        step("single", "X=X", "OUT=t"),
        step("repeats", "X=t", "OUT=u"),
        step("single", "X=u", "OUT=OUT"),
        batch=0,
        tensors=tensors("X:INT32:1", "OUT:INT32:1"),
    ),
    ensemble(
        "remembering", step("remembers", "X=X", "OUT=t"), step("one", "X=t", "OUT=OUT"), batch=2
    ),
    ensemble(
        "counted_chain",
        step("counted", "X=X", "OUT=t"),
        step("counted", "X=t", "OUT=OUT"),
    ),
)

_CHAIN = ("chain", "one", "two")
_DIAMOND = ("diamond", "split", "one", "two", "join")
_FAN = ("fan", "one", "two", "three", "counted")
_DECOUPLED = ("decoupled", "single", "repeats")
_COUNTED = (Statistics("counted_chain"), Statistics("counted"))

_PLAIN = (
    Scenario("ensemble: chain", _CHAIN, (Send("a", inputs=rows(3), wait=True),)),
    Scenario("ensemble: chain over HTTP", _CHAIN, (Send("a", wait=True, over_http=True),)),
    Scenario(
        "ensemble: what a step is told",
        _CHAIN,
        (
            Send(
                "a",
                sequence=9,
                start=True,
                end=True,
                timeout_us=5_000_000,
                priority=1,
                parameters={"word": "yes", "number": 3},
                outputs=("OUT",),
                wait=True,
            ),
        ),
    ),
    Scenario("ensemble: batch too big", _CHAIN, (Send("a", inputs=rows(5), wait=True),)),
    Scenario("ensemble: an output it has not", _CHAIN, (Send("a", outputs=("t",), wait=True),)),
    Scenario(
        "ensemble: a version that a step has not",
        _CHAIN,
        (Send("a", version="1", wait=True), Send("b", version="2", wait=True)),
    ),
    Scenario("ensemble: diamond", _DIAMOND, (Send("a", inputs=rows(2), wait=True),)),
    Scenario("ensemble: fan out", _FAN, (Send("a", wait=True),), sorted_batches=True),
    Scenario(
        "ensemble: steps that nobody asked for",
        _FAN,
        (
            Send("first", outputs=("FIRST",), wait=True),
            Send("second, third", outputs=("SECOND", "THIRD"), wait=True),
        ),
    ),
    Scenario("ensemble: nested", ("nested", "three", *_CHAIN), (Send("a", wait=True),)),
    Scenario(
        "ensemble: optional inputs",
        ("optional_inputs", "may_join"),
        (
            Send("both", inputs={"X": [[1]], "Y": [[5]]}, wait=True),
            Send("one", inputs={"X": [[1]]}, wait=True),
            Send("other", inputs={"Y": [[1]]}, wait=True),
        ),
    ),
    Scenario(
        "ensemble: requests share a step's batch",
        ("batched_step", "batches", "one"),
        (
            Send("hold@batches"),
            Held("batches"),
            Send("b"),
            Send("c"),
            Send("d"),
            Open("batches"),
            Wait(),
        ),
    ),
    Scenario(
        "ensemble: a step without batching inside",
        ("flat_inside", "one", "flat", "two"),
        (Send("a", inputs={"X": [[1, 2], [3, 4]]}, wait=True),),
    ),
    Scenario(
        "ensemble: without batching, of a step with it",
        ("flat_outside", "one"),
        (
            Send("a", inputs={"X": [[1, 2], [3, 4]]}, wait=True),
            Send("five", inputs={"X": [[1]] * 5}, wait=True),
        ),
    ),
    Scenario(
        "ensemble: versions of steps",
        ("newest", "oldest_version", "versions"),
        (Send("a", model="newest", wait=True), Send("b", model="oldest_version", wait=True)),
    ),
    Scenario(
        "ensemble: labels of a step",
        ("labels", "one", "labelled"),
        (Send("a", inputs={"X": [[5, 9, 7]]}, classes=2, wait=True),),
    ),
    Scenario(
        "ensemble: parameters of a step's response",
        _CHAIN,
        (
            Send("parameters@one", wait=True),
            Send("parameters@two", wait=True),
        ),
    ),
    Scenario(
        "ensemble: a step's response names a sequence", _CHAIN, (Send("sequence@one", wait=True),)
    ),
    Scenario(
        "ensemble: a step with sequences",
        ("remembering", "remembers", "one"),
        (
            first(61, wait=True),
            next_of(61, wait=True),
            last(61, wait=True),
            next_of(61, "61 after", wait=True),
            Send("none", wait=True),
        ),
    ),
)

_FAILING = (
    Scenario("ensemble: the first step fails", _CHAIN, (Send("fail@one", wait=True),)),
    Scenario("ensemble: the last step fails", _CHAIN, (Send("fail@two", wait=True),)),
    Scenario("ensemble: a step raises", _CHAIN, (Send("raise@one", wait=True),)),
    Scenario("ensemble: a step of another rank", _CHAIN, (Send("shape@one", wait=True),)),
    Scenario("ensemble: the last step of another rank", _CHAIN, (Send("shape@two", wait=True),)),
    Scenario("ensemble: a step without an output", _CHAIN, (Send("none@one", wait=True),)),
    Scenario("ensemble: the last step without an output", _CHAIN, (Send("none@two", wait=True),)),
    Scenario("ensemble: one branch fails", _DIAMOND, (Send("fail@two", wait=True),)),
    Scenario("ensemble: the join fails", _DIAMOND, (Send("fail@join", wait=True),)),
    Scenario(
        "ensemble: a nested step fails",
        ("nested", "three", *_CHAIN),
        (Send("fail@two", wait=True),),
    ),
    Scenario(
        "ensemble: cancelled between its steps",
        _CHAIN,
        (
            Send("hold@one"),
            Held("one"),
            Cancel("hold@one"),
            Sleep(100),
            Open("one"),
            Wait(),
            Sleep(300),
        ),
    ),
)

_STREAMED = (
    Scenario(
        "ensemble: decoupled, one answer",
        _DECOUPLED,
        (Send("a", inputs={"X": [0]}, stream=True, wait=True),),
    ),
    Scenario(
        "ensemble: decoupled, three answers",
        _DECOUPLED,
        (Send("a", inputs={"X": [2]}, stream=True, wait=True),),
    ),
    Scenario(
        "ensemble: decoupled, no answer",
        _DECOUPLED,
        (Send("a", inputs={"X": [-1]}, stream=True, wait=True),),
    ),
    Scenario(
        "ensemble: decoupled, a later step fails",
        _DECOUPLED,
        (Send("fail@single", inputs={"X": [1]}, stream=True, wait=True),),
    ),
    Scenario(
        "ensemble: decoupled, not over a stream",
        _DECOUPLED,
        (
            Send("a", inputs={"X": [1]}, wait=True),
            Send("b", inputs={"X": [1]}, wait=True, over_http=True),
        ),
    ),
    Scenario(
        "ensemble: not decoupled, over a stream",
        _CHAIN,
        (Send("a", stream=True, wait=True),),
    ),
)

_STATISTICS = (
    Scenario(
        "ensemble: statistics",
        ("counted_chain", "counted"),
        (
            Send("a", inputs=rows(2), wait=True),
            Send("b", wait=True),
            Send("fail@counted", wait=True),
            *_COUNTED,
        ),
        fresh=True,
    ),
)

SCENARIOS = (*_PLAIN, *_FAILING, *_STREAMED, *_STATISTICS)
