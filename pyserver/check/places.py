"""Where a rule's message belongs in the config, and what would cure it: one row per text.

The rules of pyserver.config say what is wrong in Triton's words and nothing else, so that the texts
are what rows are found by. A text without a row is told at the file's beginning.
"""

from __future__ import annotations

import re
from typing import Final

from pyserver.check import ensemble_cures as ensemble
from pyserver.check import model_cures as model
from pyserver.check.config_text import ConfigText
from pyserver.check.cures import (
    Cured,
    Row,
    at,
    nth_of,
    removes,
    removes_in_tensor,
    sets,
    sets_in_control,
    sets_in_tensor,
    size_too_big,
    tensor_path,
)
from pyserver.config.model_config_pb2 import ModelConfig


def cure(message: str, config: ModelConfig, text: ConfigText, nth: int = 0) -> Cured | None:
    """The row of a message; None where there is none."""
    for pattern, row in ROWS:
        match = re.search(pattern, message, re.DOTALL)
        if match is not None:
            return row(match, config, text, nth)
    return None


_T = r"model (?P<kind>input|output)"
_NAMED = rf"{_T} '(?P<name>[^']*)'"
_PAIRS = "'int32_false_true', 'fp32_false_true'"
_IN_STEP = r"in step (?P<step>\d+) of"
_IN_GROUP = r"^instance group (?P<group>\S+) of model \S+"
_IN_ENSEMBLE = "^in ensemble [^,]+, "

ROWS: Final[tuple[tuple[str, Row], ...]] = (
    (
        rf"^{_T} must specify 'name'",
        sets_in_tensor("name", '"<name>"', "give it the name that the model has for it"),
    ),
    (
        rf"^{_NAMED} must specify 'data_type'",
        sets_in_tensor("data_type", "TYPE_FP32", "add its datatype, such as data_type: TYPE_FP32"),
    ),
    (
        rf"^{_NAMED} must specify 'dims'",
        sets_in_tensor(
            "dims", "[ -1 ]", "add its dims without the batch's dimension, such as dims: [ -1 ]"
        ),
    ),
    (rf"^{_NAMED} dimension must be", model.bad_dimension),
    (rf"^{_NAMED} (reshape dim|cannot have empty|has different)", model.bad_reshape),
    (
        rf"^{_T} NHWC/NCHW require 3",
        removes_in_tensor("format", "remove format, or give three dims"),
    ),
    (r"^shape tensors are only", model.tensorrt_flag("is_shape_tensor")),
    (r"^Non-linear IO format", model.tensorrt_flag("is_non_linear_format_io")),
    (
        rf"^{_NAMED} is specified more than once",
        lambda m, c, t, n: Cured(
            (*tensor_path(m, c, 1), "name"),
            "give each tensor a name of its own, or remove one",
            t.removing(tensor_path(m, c, 1)),
        ),
    ),
    (r"unknown (?P<what>source input|target output) name '(?P<name>[^']*)'", model.source),
    (r"unknown batch (?P<kind>input|output) kind", model.bad_kind),
    (r"batch input data type must be", model.bad_batch_datatype),
    (r"batch (?P<kind>input|output) kind .* expects 1 source", model.source_count),
    (r"^target output name '(?P<name>[^']*)' can only be", model.second_target),
    (
        r"'max_batch_size' must be non-negative",
        sets(("max_batch_size",), "0", "0 means that the model is not batched"),
    ),
    (r"^unexpected platform type", model.platform),
    (
        r"must specify 'platform' or 'backend'|Could not determine backend",
        sets(
            ("backend",),
            '"python"',
            'name a backend: backend: "python", "onnxruntime" or "identity"',
        ),
    ),
    (
        r"unexpected 'platform' and 'backend' pair",
        removes(("platform",), "remove platform; the backend alone says it all"),
    ),
    (r"and empty backend type", removes(("backend",), "remove it: an ensemble has no backend")),
    (
        r"^unexpected directory name '(?P<folder>[^']*)'",
        lambda m, c, t, n: Cured(
            ("name",),
            f'name it as its folder: "{m["folder"]}", or leave name out',
            t.setting(("name",), f'"{m["folder"]}"'),
        ),
    ),
    (r"^dynamic batching preferred size", size_too_big(("dynamic_batching",))),
    (r"^sequence batching preferred batch", size_too_big(("sequence_batching", "oldest"))),
    (
        r"^default priority level must be in range \[1, (?P<most>\d+)\]",
        sets(("dynamic_batching", "default_priority_level"), "1", "use 1 to {most}"),
    ),
    (
        r"^priority queue policy must have",
        at(("dynamic_batching", "priority_queue_policy"), "its keys are levels of priority_levels"),
    ),
    (
        r"^Only one priority level",
        removes(
            ("dynamic_batching", "priority_levels"), "remove priority_levels or preserve_ordering"
        ),
    ),
    (r"^Queue policy can not have DELAY", model.delayed),
    (r"^Response Cache does not", removes(("response_cache",), "remove response_cache")),
    (
        rf"must specify either {_PAIRS}.*for (?P<kind>CONTROL_\w+)",
        sets_in_control(
            "int32_false_true", "[ 0, 1 ]", "add what the tensor holds: int32_false_true: [ 0, 1 ]"
        ),
    ),
    (rf"more than one from {_PAIRS}.*for (?P<kind>CONTROL_\w+)", model.control_rivals),
    (rf"must not specify either {_PAIRS}.*for (?P<kind>CONTROL_\w+)", model.control_rivals),
    (
        r"control '(?P<pair>\w+)' must have exactly 2 entries for (?P<kind>CONTROL_\w+)",
        lambda m, c, t, n: sets_in_control(m["pair"], "[ 0, 1 ]", "two values: false and true")(
            m, c, t, n
        ),
    ),
    (
        r"data type for control (?P<kind>CONTROL_\w+)",
        sets_in_control(
            "data_type",
            "TYPE_UINT64",
            "use TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 or TYPE_STRING",
        ),
    ),
    (r"control tensor '(?P<name>[^']*)' is specified for multiple", model.control_twice),
    (
        r"control tensor must have a name",
        at(("sequence_batching", "control_input"), "add the name of the model's input"),
    ),
    (
        r"sequence batching specifies multiple",
        at(("sequence_batching", "control_input"), "one tensor for each kind of control"),
    ),
    (
        r"minimum slot utilization must be",
        sets(("sequence_batching", "direct", "minimum_slot_utilization"), "0.5", "use 0.0 to 1.0"),
    ),
    (
        r"^ensemble scheduling cannot be set",
        sets(
            ("platform",), '"ensemble"', 'add platform: "ensemble", or remove ensemble_scheduling'
        ),
    ),
    (
        r"^ensemble scheduling must be set",
        lambda m, c, t, n: Cured(
            ("platform",),
            "add ensemble_scheduling with its steps",
            t.adding(
                t.root,
                'ensemble_scheduling {\n  step [ {\n    model_name: "<model>"'
                ' model_version: -1\n    input_map { key: "<its input>" value:'
                ' "<tensor>" }\n    output_map { key: "<its output>" value: "<tensor>"'
                " }\n  } ]\n}",
            ),
        ),
    ),
    (
        r"^instance group should not be",
        removes(("instance_group",), "remove it: an ensemble has no instances"),
    ),
    (
        r"^optimization should not be",
        removes(("optimization",), "remove it: an ensemble is not optimized"),
    ),
    (
        r"^model_warmup can not be",
        removes(("model_warmup",), "remove it: warm up the models of its steps"),
    ),
    (r"^must specify 'step'", at(("ensemble_scheduling",), "add a step")),
    (rf"must specify 'model_name' {_IN_STEP}", ensemble.in_step("model_name")),
    (rf"must specify 'input_map' {_IN_STEP}", ensemble.in_step("input_map")),
    (rf"must specify 'output_map' {_IN_STEP}", ensemble.in_step("output_map")),
    (
        r"tensor '(?P<tensor>[^']*)' can appear in an output map only once.*step (?P<step>\d+)",
        ensemble.made_twice,
    ),
    (r"^ensemble (?P<kind>input|output) '(?P<name>[^']*)'.*is not used", ensemble.unused_end),
    (r"is not written: .*depending tensors, '(?P<tensor>[^']*)'", ensemble.not_connected),
    (r"^ensemble tensor '(?P<tensor>[^']*)' is unused", ensemble.unused_tensor),
    (
        r"allows maximum batch size \d+, but it contains .* to be (?P<most>\d+)",
        lambda m, c, t, n: Cured(
            ("max_batch_size",), f"at most {m['most']}", t.setting(("max_batch_size",), m["most"])
        ),
    ),
    (
        rf"{_IN_ENSEMBLE}ensemble tensor \S+ is mapp(ing to|ed from) non-existing"
        r" (?P<kind>input|output) (?P<name>\S+) in model (?P<model>\S+)",
        ensemble.no_such_end,
    ),
    (
        rf"{_IN_ENSEMBLE}input (?P<name>\S+) in model (?P<model>\S+) is not mapped",
        ensemble.not_mapped,
    ),
    (
        rf"{_IN_ENSEMBLE}ensemble tensor (?P<tensor>\S+): inconsistent (?P<what>data type|shape):"
        r" (?P<one>\S+) is inferred from model (?P<first>\S+) while (?P<other>\S+) is inferred from"
        r" model (?P<second>\S+)",
        ensemble.inconsistent,
    ),
    (
        rf"{_IN_ENSEMBLE}step of model",
        at(("ensemble_scheduling",), "a step can follow one decoupled model only"),
    ),
    (rf"{_IN_GROUP} has kind \S+ but specifies one or more GPUs", model.gpus),
    (rf"{_IN_GROUP} (has kind KIND_GPU but no|specifies invalid or unsupported gpu)", model.no_gpu),
    (rf"{_IN_GROUP} and platform", model.profile),
    (
        r"metric",
        at(
            ("model_metrics",),
            "each metric_control has a metric_identifier with a family,"
            " and histogram_options with buckets",
        ),
    ),
    (
        r"label file '[^']*' of output '(?P<name>[^']*)'",
        lambda m, c, t, n: Cured(
            (
                "output",
                nth_of((i for i, o in enumerate(c.output) if o.name == m["name"]), 0),
                "label_filename",
            ),
            "name a file in the model's own folder",
        ),
    ),
)
