"""config.pbtxt and JSON are read strictly, and errors say where and what is meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyserver.config.json_view import config_dict, config_json
from pyserver.config.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup
from pyserver.config.parse import parse_json, parse_text
from pyserver.errors import InvalidArgumentError

GOOD_TEXT = [
    # (text, what it says)
    ("", {}),
    ('name: "m" # a comment\n# another', {"name": "m"}),
    ("name: 'm' platform: \"a\" 'b'", {"name": "m", "platform": "ab"}),
    ("max_batch_size: 0x10", {"max_batch_size": 16}),
    ("max_batch_size: 8, name: 'x'; backend: 'y'", {"max_batch_size": 8, "backend": "y"}),
    ("input { name: 'a' } input { name: 'b' }", {"input": ["a", "b"]}),
    ("input [ { name: 'a' }, { name: 'b' } ]", {"input": ["a", "b"]}),
    ("input: [ { name: 'a' } ]", {"input": ["a"]}),
    ("input < name: 'a' >", {"input": ["a"]}),
    ("input [ ]", {"input": []}),
    ("input { name: 'a' data_type: 11 }", {"input": ["a"]}),
]


@pytest.mark.parametrize(("text", "said"), GOOD_TEXT)
def test_every_way_to_write_text_is_read(text: str, said: dict[str, Any]) -> None:
    config = parse_text(text.encode(), source="config.pbtxt")
    for name, value in said.items():
        got = getattr(config, name)
        assert (got if name != "input" else [tensor.name for tensor in got]) == value


BAD_TEXT = [
    # (content, what the error must say)
    (b"input [ { dim: 3 } ]", ["line 1, column 11", '"dim"', "Did you mean 'dims'?"]),
    (b"\n\n  maxbatchsize: 3", ["line 3, column 3", "Did you mean 'max_batch_size'?"]),
    (b"inputs { }", ["Did you mean 'input'?"]),
    (b"wxyz: 3", ['no field named "wxyz"']),
    (b"input { data_type: FP32 }", ["named FP32", "Did you mean 'TYPE_FP32'?"]),
    (b"input { data_type: TYPE_BYTES }", ["Did you mean 'TYPE_STRING'?"]),
    (b"instance_group { kind: CPU }", ["Did you mean 'KIND_CPU'?"]),
    (b"instance_group { kind: KIND_GPUS }", ["Did you mean 'KIND_GPU'?"]),
    (b'name: "a', ["line 1"]),
    (b"max_batch_size: 3.5", ["line 1, column"]),
    (b"max_batch_size: 99999999999", ["line 1, column", "99999999999"]),
    (b"input {", ["line 1"]),
    (b"input }", ["line 1"]),
    (b"\xff\xfe", ["line 1", "not UTF-8"]),
    (b'name: "m"\nplatform: "\xe9"', ["line 2", "not UTF-8"]),
    (
        b"model_warmup { inputs { key: 'a' value { zero_data: true random_data: true } } }",
        ["oneof"],
    ),
    (b"input { " * 100_000, ["failed to read"]),
]


@pytest.mark.parametrize(("content", "wanted"), BAD_TEXT, ids=range(len(BAD_TEXT)))
def test_an_error_in_text_says_where_and_what(content: bytes, wanted: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        parse_text(content, source="some/config.pbtxt")
    text = str(raised.value)
    assert text.startswith("failed to read text proto from some/config.pbtxt: ")
    assert "\n" not in text and len(text) < 400
    for part in wanted:
        assert part in text


GOOD_JSON = [
    ("{}", ModelConfig()),
    ('{"maxBatchSize": 3}', ModelConfig(max_batch_size=3)),
    ('{"name": "a", "name": "b"}', ModelConfig(name="b")),
    ('{"max_batch_size": 3}', ModelConfig(max_batch_size=3)),
    (
        '{"input": [{"name": "a", "data_type": "type_fp32", "dims": ["-1", 3]}]}',
        ModelConfig(input=[{"name": "a", "data_type": DataType.TYPE_FP32, "dims": [-1, 3]}]),
    ),
    (
        '{"instanceGroup": [{"kind": "kind_model", "gpus": []}]}',
        ModelConfig(instance_group=[{"kind": ModelInstanceGroup.KIND_MODEL}]),
    ),
    (
        '{"instance_group": [{"kind": 2}]}',
        ModelConfig(instance_group=[{"kind": ModelInstanceGroup.KIND_CPU}]),
    ),
    (
        '{"parameters": {"type_fp32": {"stringValue": "type_fp32"}}}',
        ModelConfig(parameters={"type_fp32": {"string_value": "type_fp32"}}),
    ),
    (
        '{"model_warmup": [{"inputs": {"a": {"data_type": "Type_Bool"}}}]}',
        ModelConfig(model_warmup=[{"inputs": {"a": {"data_type": DataType.TYPE_BOOL}}}]),
    ),
]


@pytest.mark.parametrize(("text", "message"), GOOD_JSON)
def test_json_is_read_as_triton_reads_it(text: str, message: ModelConfig) -> None:
    assert parse_json(text) == message


BAD_JSON = [
    ("", ["Expecting value"]),
    ("[]", ["expected an object at the top, found list"]),
    ('{"name": "a"', ["line 1 column"]),
    ('{"name": "a"} x', ["Extra data"]),
    ('{"max_batchsize": 3}', ['no field named "max_batchsize"', "Did you mean 'max_batch_size'?"]),
    ('{"input": [{"dim": [1]}]}', ["Did you mean 'dims'?", "input[0]"]),
    ('{"input": [{"data_type": "FP32"}]}', ["Did you mean 'TYPE_FP32'?"]),
    ('{"max_batch_size": "x"}', ["max_batch_size"]),
    ('{"max_batch_size": 1.5}', ["max_batch_size"]),
    ('{"max_batch_size": 1e10}', ["max_batch_size"]),
    ('{"max_batch_size": NaN}', ["NaN is not a number"]),
    ('{"max_batch_size": true}', ["max_batch_size"]),
    ('{"name": 3}', ["name"]),
    ('{"input": {"name": "a"}}', ["input"]),
    ('{"input": ["a"]}', ["input"]),
    ('{"parameters": [1]}', ["parameters"]),
    ('{"parameters": {"a": "b"}}', ["parameters"]),
    ('{"dynamic_batching": {}, "sequence_batching": {}}', ["oneof"]),
    ('{"dynamic_batching": 3}', ["dynamic_batching"]),
    ("[" * 100_000, ["nested too deeply"]),
    (b"\xff{}", ["failed to parse"]),
]


@pytest.mark.parametrize(("text", "wanted"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_an_error_in_json_says_what(text: str | bytes, wanted: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        parse_json(text)
    message = str(raised.value)
    assert message.startswith("failed to parse model configuration JSON: ")
    assert "\n" not in message and len(message) < 400
    for part in wanted:
        assert part in message


def test_what_is_shown_can_be_read_back() -> None:
    text = """name: "m" max_batch_size: 4
        sequence_batching { direct { minimum_slot_utilization: 0.3 }
        control_input { name: "S" control { fp32_false_true: [ -0.1, 1e20 ] } }
        state { dims: [ -1 ] initial_state { dims: 9007199254740993 data_file: "f" } } }
        model_warmup { inputs { key: "a" value { dims: 4 random_data: false } } }
        model_metrics { metric_control { histogram_options { buckets: [ 0.1, 2, 1e300, inf ] } } }
        instance_group { secondary_devices { device_id: -3 } rate_limiter { } }
        version_policy { specific { versions: [ 1, 9007199254740993 ] } }"""
    config = parse_text(text.encode(), source="x")
    assert parse_json(config_json(config)) == config
    shown = config_dict(config)
    state = shown["sequence_batching"]["state"][0]
    assert state["dims"] == [-1]
    assert list(state["initial_state"][0].items())[1:] == [
        ("dims", ["9007199254740993"]),
        ("name", ""),
        ("data_file", "f"),
    ]
    assert shown["sequence_batching"]["direct"]["minimum_slot_utilization"] == 0.3
    assert shown["version_policy"] == {"specific": {"versions": [1, 9007199254740993]}}
    assert shown["instance_group"][0]["secondary_devices"][0]["device_id"] == "-3"
    assert shown["model_warmup"][0]["inputs"]["a"]["random_data"] is False
    buckets = shown["model_metrics"]["metric_control"][0]["histogram_options"]["buckets"]
    assert json.dumps(buckets) == '[0.1, 2, 1e+300, "Infinity"]'
