"""The table of model configurations, good and bad, that the real Triton and ours are both asked about.

`record.py` asks the real one and keeps its answers in recorded.json; test_recorded.py compares ours with them.
"""

from __future__ import annotations

from dataclasses import dataclass

# One input and one output, for configurations that are about something else.
IO = """
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One model directory: its config.pbtxt (None: no file), and what its version directories hold.

    `changes` is the body of the model's `auto_complete_config(config)`, one statement a line.
    """

    name: str
    config: str | None
    changes: str | None = None
    versions: tuple[str, ...] = ("1",)
    file: str = "model.py"


def _batching(name: str, body: str, *, size: int = 8) -> Case:
    return Case(name, f'backend: "python" max_batch_size: {size}\n{IO}{body}')


def _plain(name: str, body: str) -> Case:
    return Case(name, f'backend: "python"\n{IO}{body}')


def _sequence(name: str, body: str) -> Case:
    return _batching(name, "sequence_batching { " + body + " }")


def _control(name: str, body: str) -> Case:
    return _sequence(name, body)


def _input(name: str, body: str, *, size: int = 0, head: str = 'backend: "python"') -> Case:
    return Case(
        name,
        f"{head} max_batch_size: {size} input [ {{ {body} }} ]\n"
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    )


def _output(name: str, body: str, *, size: int = 0) -> Case:
    return Case(
        name,
        f'backend: "python" max_batch_size: {size} output [ {{ {body} }} ]\n'
        'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    )


def _ensemble(
    name: str, body: str, *, inputs: str = "A", outputs: str = "B", head: str = ""
) -> Case:
    sections = "".join(
        f'{kind} [ {{ name: "{tensor}" data_type: TYPE_FP32 dims: [ 4 ] }} ]\n'
        for kind, tensors in (("input", inputs), ("output", outputs))
        for tensor in tensors.split()
    )
    return Case(name, f'platform: "ensemble" {head}\n{sections}ensemble_scheduling {{ {body} }}')


def _step(model: str, inputs: str, outputs: str, *, version: int = -1) -> str:
    """One step; `inputs` and `outputs` are words of the form `tensor_of_the_model=tensor_of_the_ensemble`."""
    maps = "".join(
        f' {kind}_map {{ key: "{word.split("=")[0]}" value: "{word.split("=")[1]}" }}'
        for kind, words in (("input", inputs), ("output", outputs))
        for word in words.split()
    )
    return f'step {{ model_name: "{model}" model_version: {version}{maps} }} '


_STEP = (
    'step [ { model_name: "plain_minimal" model_version: -1 '
    'input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } } ]'
)
_START = "control [ { kind: CONTROL_SEQUENCE_START %s } ]"

GENERAL = (
    Case("plain_minimal", f'backend: "python"\n{IO}'),
    Case("no_backend_but_model_py", IO),
    Case("named_right", f'name: "named_right" backend: "python"\n{IO}'),
    Case("named_wrong", f'name: "other" backend: "python"\n{IO}'),
    Case("empty_config", ""),
    Case("no_config_no_hook", None),
    Case("nothing_known", IO, file="weights.bin"),
    Case("with.dot", IO, file="weights.bin"),
    Case("platform_unknown", f'platform: "nonsense"\n{IO}'),
    Case("backend_and_other_platform", f'backend: "python" platform: "onnxruntime_onnx"\n{IO}'),
    Case("backend_tensorflow_alone", f'backend: "tensorflow"\n{IO}'),
    Case("pair_onnx_wrong", f'backend: "onnxruntime" platform: "tensorrt_plan"\n{IO}'),
    Case("pair_tensorrt_wrong", f'backend: "tensorrt" platform: "onnxruntime_onnx"\n{IO}'),
    Case("pair_pytorch_wrong", f'backend: "pytorch" platform: "tensorrt_plan"\n{IO}'),
    Case("pair_openvino_any", f'backend: "openvino" platform: "tensorrt_plan"\n{IO}'),
    Case("pair_python_onnx_model", f'backend: "onnxruntime" platform: "pytorch_libtorch"\n{IO}'),
    Case("backend_unknown", f'backend: "nonsense"\n{IO}'),
    Case("batch_size_negative", f'backend: "python" max_batch_size: -1\n{IO}'),
    Case("unknown_field", 'backend: "python" max_batchsize: 3'),
    Case("unknown_enum", 'backend: "python" input { name: "A" data_type: TYPE_FLOAT dims: 1 }'),
    Case("syntax_error", 'backend: "python" input [ { name: "A" '),
    Case("wrong_type", 'backend: "python" max_batch_size: "eight"'),
    Case("two_schedulers", 'backend: "python" dynamic_batching {} sequence_batching {}'),
    Case("twice_the_same", 'backend: "python" backend: "python"'),
    Case("filename_given", f'backend: "python" default_model_filename: "model.py"\n{IO}'),
    Case("decoupled", f'backend: "python" model_transaction_policy {{ decoupled: true }}\n{IO}'),
    _plain(
        "decoupled_with_cache",
        "model_transaction_policy { decoupled: true } response_cache { enable: true }",
    ),
    _plain("cache", "response_cache { enable: true }"),
    _plain(
        "free_parameters",
        'parameters { key: "b" value { string_value: "2" } } parameters { key: "a" value { string_value: "1" } }',
    ),
    _plain("tags", 'metric_tags { key: "z" value: "1" } metric_tags { key: "a" value: "2" }'),
    _plain("files_by_capability", 'cc_model_filenames { key: "7.5" value: "x.py" }'),
    _plain("operations", 'model_operations { op_library_filename: [ "a.so", "b.so" ] }'),
    _plain("agents", "model_repository_agents { agents [ ] }"),
    _plain(
        "model_metrics_good",
        'model_metrics { metric_control [ { metric_identifier { family: "nv_inference_first_response_histogram_ms" } histogram_options { buckets: [ 0.1, 2, 1e30, 3.5 ] } } ] }',
    ),
    _plain(
        "metric_without_identifier",
        "model_metrics { metric_control [ { histogram_options { buckets: [ 1 ] } } ] }",
    ),
    _plain(
        "metric_without_family",
        "model_metrics { metric_control [ { metric_identifier {} histogram_options { buckets: [ 1 ] } } ] }",
    ),
    _plain(
        "metric_without_options",
        'model_metrics { metric_control [ { metric_identifier { family: "x" } } ] }',
    ),
    _plain(
        "metric_without_buckets",
        'model_metrics { metric_control [ { metric_identifier { family: "x" } histogram_options {} } ] }',
    ),
    _plain("label_file_missing", ""),
)

VERSIONS = (
    Case("two_versions", f'backend: "python"\n{IO}', versions=("1", "3")),
    Case(
        "all_versions",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "3", "10"),
    ),
    Case(
        "latest_two",
        f'backend: "python" version_policy {{ latest {{ num_versions: 2 }} }}\n{IO}',
        versions=("1", "3", "10"),
    ),
    Case(
        "latest_none",
        f'backend: "python" version_policy {{ latest {{}} }}\n{IO}',
        versions=("1", "3"),
    ),
    Case(
        "specific_two",
        f'backend: "python" version_policy {{ specific {{ versions: [ 1, 3, 7 ] }} }}\n{IO}',
        versions=("1", "3", "10"),
    ),
    Case(
        "specific_missing",
        f'backend: "python" version_policy {{ specific {{ versions: [ 7 ] }} }}\n{IO}',
        versions=("1",),
    ),
    Case("policy_empty", f'backend: "python" version_policy {{}}\n{IO}', versions=("1", "3")),
    Case("no_version", f'backend: "python"\n{IO}', versions=()),
    Case(
        "directories_zero_padded",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "02"),
    ),
    Case(
        "directories_text",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "x"),
    ),
    Case(
        "directories_mixed",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "3a"),
    ),
    Case(
        "directories_negative",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "-4"),
    ),
    Case(
        "directories_configs",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "configs"),
    ),
    Case(
        "directories_plus",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "+5"),
    ),
    Case(
        "version_zero",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("0", "1"),
    ),
    Case(
        "version_huge",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "99999999999999999999"),
    ),
    Case(
        "version_big",
        f'backend: "python" version_policy {{ all {{}} }}\n{IO}',
        versions=("1", "9007199254740993"),
    ),
)

DYNAMIC = (
    _batching("dynamic_default", "dynamic_batching {}"),
    _batching("dynamic_mbs_one", "dynamic_batching {}", size=1),
    _batching("dynamic_mbs_zero", "dynamic_batching {}", size=0),
    _batching(
        "dynamic_full",
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 preserve_ordering: true }",
    ),
    _batching(
        "dynamic_delay_huge",
        "dynamic_batching { max_queue_delay_microseconds: 18446744073709551615 }",
    ),
    _batching("dynamic_preferred_zero", "dynamic_batching { preferred_batch_size: [ 0 ] }"),
    _batching("dynamic_preferred_negative", "dynamic_batching { preferred_batch_size: [ 4, -2 ] }"),
    _batching("dynamic_preferred_large", "dynamic_batching { preferred_batch_size: [ 4, 9 ] }"),
    _batching(
        "dynamic_preferred_no_batching", "dynamic_batching { preferred_batch_size: [ 4 ] }", size=0
    ),
    _batching(
        "priority_good",
        "dynamic_batching { priority_levels: 3 default_priority_level: 2 priority_queue_policy { key: 3 value { timeout_action: DELAY default_timeout_microseconds: 5 allow_timeout_override: true max_queue_size: 7 } } default_queue_policy { max_queue_size: 9 } }",
    ),
    _batching("priority_default_missing", "dynamic_batching { priority_levels: 3 }"),
    _batching(
        "priority_default_large",
        "dynamic_batching { priority_levels: 3 default_priority_level: 4 }",
    ),
    _batching("priority_without_levels", "dynamic_batching { default_priority_level: 4 }"),
    _batching(
        "priority_key_zero",
        "dynamic_batching { priority_levels: 3 default_priority_level: 1 priority_queue_policy { key: 0 value {} } }",
    ),
    _batching(
        "priority_key_large",
        "dynamic_batching { priority_levels: 3 default_priority_level: 1 priority_queue_policy { key: 4 value {} } }",
    ),
    _batching(
        "priority_key_without_levels",
        "dynamic_batching { priority_queue_policy { key: 4 value {} } }",
    ),
    _batching(
        "ordering_with_levels",
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
    ),
    _batching(
        "ordering_with_one_level",
        "dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1 }",
    ),
    _batching(
        "ordering_with_delay",
        "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 } }",
    ),
    _batching(
        "ordering_with_delay_no_timeout",
        "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY } }",
    ),
    _batching(
        "ordering_with_delay_override",
        "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY allow_timeout_override: true } }",
    ),
    _batching(
        "ordering_with_level_delay",
        "dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1 priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 1 } } }",
    ),
)

SEQUENCE = (
    _sequence("sequence_default", ""),
    _sequence("sequence_direct", "direct {}"),
    _sequence("sequence_oldest", "oldest {}"),
    _sequence("sequence_oldest_candidates", "oldest { max_candidate_sequences: 4 }"),
    _sequence(
        "sequence_full",
        'max_sequence_idle_microseconds: 5000000 control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] }, { name: "END" control [ { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } ] }, { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] }, { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ]',
    ),
    _sequence(
        "sequence_state",
        'state [ { input_name: "SI" output_name: "SO" data_type: TYPE_INT32 dims: [ 1 ] initial_state: { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true name: "zero" } } ]',
    ),
    _sequence("sequence_with_cache", "} response_cache { enable: true"),
    _sequence(
        "oldest_preferred_zero", "oldest { max_candidate_sequences: 4 preferred_batch_size: [ 0 ] }"
    ),
    _sequence(
        "oldest_preferred_large",
        "oldest { max_candidate_sequences: 4 preferred_batch_size: [ 9 ] }",
    ),
    _sequence("utilization_negative", "direct { minimum_slot_utilization: -0.1 }"),
    _sequence("utilization_large", "direct { minimum_slot_utilization: 1.5 }"),
    _sequence("utilization_one", "direct { minimum_slot_utilization: 1 }"),
    _control(
        "control_without_name", f"control_input [ {{ {_START % 'int32_false_true: [ 0, 1 ]'} }} ]"
    ),
    _control("control_without_values", f'control_input [ {{ name: "S" {_START % ""} }} ]'),
    _control(
        "control_two_kinds_of_values",
        f'control_input [ {{ name: "S" {_START % "int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ]"} }} ]',
    ),
    _control(
        "control_int32_and_bool",
        f'control_input [ {{ name: "S" {_START % "int32_false_true: [ 0, 1 ] bool_false_true: [ false, true ]"} }} ]',
    ),
    _control(
        "control_int32_one_value",
        f'control_input [ {{ name: "S" {_START % "int32_false_true: [ 0 ]"} }} ]',
    ),
    _control(
        "control_fp32_three_values",
        f'control_input [ {{ name: "S" {_START % "fp32_false_true: [ 0, 1, 2 ]"} }} ]',
    ),
    _control(
        "control_bool_one_value",
        f'control_input [ {{ name: "S" {_START % "bool_false_true: [ true ]"} }} ]',
    ),
    _control(
        "control_twice",
        f'control_input [ {{ name: "S" {_START % "int32_false_true: [ 0, 1 ]"} }}, {{ name: "T" {_START % "int32_false_true: [ 0, 1 ]"} }} ]',
    ),
    _control(
        "control_twice_in_one_tensor",
        'control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }, { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] } ]',
    ),
    _control(
        "control_tensor_two_kinds",
        'control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }, { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] } ]',
    ),
    _control(
        "control_tensor_named_twice",
        'control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] }, { name: "S" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] } ]',
    ),
    _control(
        "control_tensor_start_and_corrid",
        'control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] }, { name: "S" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ]',
    ),
    _control(
        "control_with_data_type",
        f'control_input [ {{ name: "S" {_START % "int32_false_true: [ 0, 1 ] data_type: TYPE_FP64"} }} ]',
    ),
    _control("control_empty", 'control_input [ { name: "S" } ]'),
    _control(
        "corrid_without_name",
        "control_input [ { control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ]",
    ),
    _control(
        "corrid_without_data_type",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID } ] } ]',
    ),
    _control(
        "corrid_fp32",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } ] } ]',
    ),
    _control(
        "corrid_int16",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT16 } ] } ]',
    ),
    _control(
        "corrid_string",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] } ]',
    ),
    _control(
        "corrid_with_values",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ] } ] } ]',
    ),
    _control(
        "corrid_twice",
        'control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }, { name: "D" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ]',
    ),
)

TENSORS = (
    _input("input_without_name", "data_type: TYPE_FP32 dims: [ 4 ]"),
    _input("input_without_type", 'name: "IN" dims: [ 4 ]'),
    _input("input_without_dims", 'name: "IN" data_type: TYPE_FP32'),
    _input("input_dim_zero", 'name: "IN" data_type: TYPE_FP32 dims: [ 4, 0 ]'),
    _input("input_dim_negative", 'name: "IN" data_type: TYPE_FP32 dims: [ -2 ]'),
    _input("input_variable", 'name: "IN" data_type: TYPE_FP32 dims: [ -1, 4 ]'),
    _input("input_variable_batching", 'name: "IN" data_type: TYPE_FP32 dims: [ -1, 4 ]', size=4),
    _input("input_nhwc", 'name: "IN" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 2, 3, 4 ]'),
    _input(
        "input_nhwc_two_dims", 'name: "IN" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 3, 4 ]'
    ),
    _input(
        "input_nchw_four_dims",
        'name: "IN" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 1, 2, 3, 4 ]',
    ),
    _input(
        "input_shape_tensor", 'name: "IN" data_type: TYPE_INT32 dims: [ 2 ] is_shape_tensor: true'
    ),
    _input(
        "input_non_linear",
        'name: "IN" data_type: TYPE_FP32 dims: [ 1, 2, 3 ] is_non_linear_format_io: true',
    ),
    _input(
        "input_optional_ragged",
        'name: "IN" data_type: TYPE_STRING dims: [ -1 ] optional: true allow_ragged_batch: true',
        size=4,
    ),
    _input(
        "input_ragged_no_batching",
        'name: "IN" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true',
    ),
    _input("input_bf16", 'name: "IN" data_type: TYPE_BF16 dims: [ 2 ]'),
    _input(
        "reshape_good", 'name: "IN" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ 2, 2 ] }'
    ),
    _input(
        "reshape_empty_batching",
        'name: "IN" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] }',
        size=4,
    ),
    _input(
        "reshape_empty_no_batching",
        'name: "IN" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] }',
    ),
    _input(
        "reshape_empty_batching_two",
        'name: "IN" data_type: TYPE_FP32 dims: [ 2 ] reshape: { shape: [ ] }',
        size=4,
    ),
    _input("reshape_size", 'name: "IN" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ 3 ] }'),
    _input(
        "reshape_dim_zero",
        'name: "IN" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ 4, 0 ] }',
    ),
    _input(
        "reshape_dim_negative",
        'name: "IN" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ -3 ] }',
    ),
    _input(
        "reshape_variable",
        'name: "IN" data_type: TYPE_FP32 dims: [ -1, 4, 2 ] reshape: { shape: [ -1, 8 ] }',
    ),
    _input(
        "reshape_variable_count",
        'name: "IN" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape: { shape: [ 4 ] }',
    ),
    _input(
        "reshape_variable_more",
        'name: "IN" data_type: TYPE_FP32 dims: [ -1 ] reshape: { shape: [ -1, -1 ] }',
    ),
    _input(
        "reshape_variable_between",
        'name: "IN" data_type: TYPE_FP32 dims: [ 2, -1, 4, -1 ] reshape: { shape: [ 2, -1, 3, -1 ] }',
    ),
    _input(
        "reshape_variable_moved",
        'name: "IN" data_type: TYPE_FP32 dims: [ 4, -1 ] reshape: { shape: [ -1, 4 ] }',
    ),
    _output("output_without_name", "data_type: TYPE_FP32 dims: [ 4 ]"),
    _output("output_without_type", 'name: "OUT" dims: [ 4 ]'),
    _output("output_without_dims", 'name: "OUT" data_type: TYPE_FP32'),
    _output("output_dim_zero", 'name: "OUT" data_type: TYPE_FP32 dims: [ 0 ]'),
    _output(
        "output_shape_tensor", 'name: "OUT" data_type: TYPE_INT32 dims: [ 2 ] is_shape_tensor: true'
    ),
    _output(
        "output_non_linear",
        'name: "OUT" data_type: TYPE_FP32 dims: [ 1, 2, 3 ] is_non_linear_format_io: true',
    ),
    _output(
        "output_reshape_size",
        'name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ 3 ] }',
    ),
    _output(
        "output_label_missing",
        'name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt"',
    ),
    _output(
        "output_label_outside",
        'name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "../labels.txt"',
    ),
    _input(
        "input_name_twice",
        'name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "IN" data_type: TYPE_INT32 dims: [ 4 ]',
    ),
    _output(
        "output_name_twice",
        'name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "OUT" data_type: TYPE_INT32 dims: [ 4 ]',
    ),
    Case(
        "no_input", 'backend: "python" output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]'
    ),
    Case(
        "no_output", 'backend: "python" input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]'
    ),
    _batching(
        "batch_input_good",
        'batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "N" data_type: TYPE_FP32 source_input: "IN" } ]',
    ),
    _batching(
        "batch_input_no_source",
        'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" data_type: TYPE_FP32 } ]',
    ),
    _batching(
        "batch_input_two_sources",
        'batch_input [ { kind: BATCH_ITEM_SHAPE target_name: "N" data_type: TYPE_FP32 source_input: [ "IN", "IN" ] } ]',
    ),
    _batching(
        "batch_input_unknown_source",
        'batch_input [ { kind: BATCH_ITEM_SHAPE target_name: "N" data_type: TYPE_FP32 source_input: "X" } ]',
    ),
    _batching(
        "batch_input_type",
        'batch_input [ { kind: BATCH_ITEM_SHAPE_FLATTEN target_name: "N" data_type: TYPE_INT64 source_input: "IN" } ]',
    ),
    _batching(
        "batch_input_unknown_kind",
        'batch_input [ { kind: 17 target_name: "N" data_type: TYPE_INT32 source_input: "IN" } ]',
    ),
    _batching(
        "batch_output_good",
        'batch_output [ { target_name: "OUT" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "IN" } ]',
    ),
    _batching(
        "batch_output_no_source",
        'batch_output [ { target_name: "OUT" kind: BATCH_SCATTER_WITH_INPUT_SHAPE } ]',
    ),
    _batching(
        "batch_output_unknown_source",
        'batch_output [ { target_name: "OUT" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "X" } ]',
    ),
    _batching(
        "batch_output_unknown_target",
        'batch_output [ { target_name: "X" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "IN" } ]',
    ),
    _batching(
        "batch_output_target_twice",
        'batch_output [ { target_name: [ "OUT", "OUT" ] kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "IN" } ]',
    ),
)

INSTANCES = (
    _plain("group_count", "instance_group [ { count: 2 } ]"),
    _plain("group_two", 'instance_group [ { count: 2 }, { name: "mine" kind: KIND_CPU } ]'),
    _plain("group_cpu", "instance_group [ { kind: KIND_CPU } ]"),
    _plain("group_model", "instance_group [ { kind: KIND_MODEL } ]"),
    _plain("group_negative_count", "instance_group [ { kind: KIND_CPU count: -3 } ]"),
    _plain("group_host_policy", 'instance_group [ { kind: KIND_CPU host_policy: "numa0" } ]'),
    _plain(
        "group_rate_limiter",
        'instance_group [ { kind: KIND_CPU rate_limiter { resources [ { name: "R" count: 4 }, { name: "G" global: true count: 2 } ] priority: 2 } passive: true } ]',
    ),
    _plain("group_auto_with_gpu", "instance_group [ { gpus: [ 0 ] } ]"),
    _plain("group_cpu_with_gpu", "instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]"),
    _plain("group_model_with_gpu", "instance_group [ { kind: KIND_MODEL gpus: [ 0 ] } ]"),
    _plain("group_gpu", "instance_group [ { kind: KIND_GPU } ]"),
    _plain("group_gpu_zero", "instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]"),
    _plain("group_profile", 'instance_group [ { kind: KIND_CPU profile: "0" } ]'),
    _plain(
        "group_secondary",
        "instance_group [ { kind: KIND_MODEL secondary_devices [ { kind: KIND_NVDLA device_id: 1 } ] } ]",
    ),
)

REST = (
    _plain(
        "many_parameters",
        "".join(
            f'parameters {{ key: "{k}" value {{ string_value: "v" }} }} '
            for k in ("b", "a", "C", "aa", "10", "9", "z", "y", "x")
        ),
    ),
    _plain(
        "odd_text",
        'parameters { key: "é" value { string_value: "\\303\\274 <tag> & \\n \\t \\" / \\\\ \\x01 \'" } }',
    ),
    _batching(
        "many_priorities",
        "dynamic_batching { priority_levels: 12 default_priority_level: 1 "
        + "".join(f"priority_queue_policy {{ key: {k} value {{}} }} " for k in (10, 9, 2, 12, 1))
        + "}",
    ),
    _sequence(
        "utilization_fraction",
        "direct { minimum_slot_utilization: 0.3 max_queue_delay_microseconds: 18446744073709551615 }",
    ),
    _sequence(
        "state_with_file_missing",
        'state [ { input_name: "SI" output_name: "SO" data_type: TYPE_INT32 dims: [ 1 ] initial_state: { data_type: TYPE_INT32 dims: [ 1 ] data_file: "nothing" name: "file" } } ]',
    ),
    _sequence(
        "control_fractions",
        'control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ -0.1, 1e20 ] } ] } ]',
    ),
    _sequence(
        "growable_state",
        'state [ { input_name: "SI" output_name: "SO" data_type: TYPE_INT32 dims: [ -1 ] use_growable_memory: true } ]',
    ),
    _plain(
        "warmup",
        'model_warmup [ { name: "w" batch_size: 1 inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } count: 0 } ]',
    ),
    _batching(
        "optimization_full",
        'optimization { graph { level: -1 } priority: PRIORITY_MAX cuda { graphs: true graph_spec [ { batch_size: 1 input { key: "IN" value { dim: [ 4 ] } } graph_lower_bound { batch_size: 1 input { key: "IN" value { dim: [ 2 ] } } } } ] } execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" parameters { key: "x" value: "y" } } ] } input_pinned_memory { enable: false } gather_kernel_buffer_threshold: 3 eager_batching: true }',
    ),
)

ENSEMBLES = (
    _ensemble("ensemble_good", _STEP),
    _ensemble("ensemble_batching_lie", _STEP, head="max_batch_size: 4"),
    Case("ensemble_without_scheduling", f'platform: "ensemble"\n{IO}'),
    Case(
        "ensemble_scheduling_on_python",
        f'backend: "python"\n{IO} ensemble_scheduling {{ {_STEP} }}',
    ),
    _ensemble("ensemble_with_backend", _STEP, head='backend: "python"'),
    _ensemble("ensemble_with_group", _STEP + "} instance_group { count: 1"),
    _ensemble("ensemble_with_optimization", _STEP + "} optimization { eager_batching: true"),
    _ensemble("ensemble_with_warmup", _STEP + '} model_warmup { name: "w"'),
    _ensemble("ensemble_without_step", ""),
    _ensemble(
        "step_without_model",
        'step [ { input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } } ]',
    ),
    _ensemble(
        "step_without_input_map",
        'step [ { model_name: "plain_minimal" output_map { key: "OUT" value: "B" } } ]',
    ),
    _ensemble(
        "step_without_output_map",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } } ]',
    ),
    _ensemble(
        "tensor_made_twice",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } } ]',
    ),
    _ensemble(
        "input_made_by_a_step",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "A" } } ]',
    ),
    _ensemble("input_unused", _STEP, inputs="A Z"),
    _ensemble("output_unwritten", _STEP, outputs="B Z"),
    _ensemble(
        "tensor_unused",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "C" } } ]',
    ),
    _ensemble(
        "tensor_unreachable",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "Q" } output_map { key: "OUT" value: "B" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "C" } } ]',
    ),
    _ensemble(
        "tensor_loop",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "C" } output_map { key: "OUT" value: "D" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "D" } output_map { key: "OUT" value: "C" } } ]',
    ),
    _ensemble("ensemble_output_is_input", _STEP, outputs="A"),
    _ensemble(
        "ensemble_two_steps",
        'step [ { model_name: "plain_minimal" input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "M" } }, { model_name: "plain_minimal" input_map { key: "IN" value: "M" } output_map { key: "OUT" value: "B" } } ]',
    ),
)

COMPOSING = (
    Case(
        "two_inputs",
        'backend: "python" input [ { name: "IN0" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "IN1" data_type: TYPE_FP32 dims: [ 4 ] } ] output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    ),
    Case(
        "optional_input",
        'backend: "python" input [ { name: "IN0" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "IN1" data_type: TYPE_FP32 dims: [ 4 ] optional: true } ] output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    ),
    Case(
        "int_model",
        'backend: "python" input [ { name: "IN" data_type: TYPE_INT32 dims: [ 4 ] } ] output [ { name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]',
    ),
    Case(
        "wild_model",
        'backend: "python" input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ] output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]',
    ),
    Case(
        "six_model",
        'backend: "python" input [ { name: "IN" data_type: TYPE_FP32 dims: [ 6 ] } ] output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 6 ] } ]',
    ),
    Case(
        "decoupled_other", f'backend: "python" model_transaction_policy {{ decoupled: true }}\n{IO}'
    ),
    _ensemble("composing_unknown_model", _step("nobody", "IN=A", "OUT=B")),
    _ensemble("composing_version_missing", _step("plain_minimal", "IN=A", "OUT=B", version=5)),
    _ensemble("composing_version_one", _step("plain_minimal", "IN=A", "OUT=B", version=1)),
    _ensemble("composing_unknown_input", _step("plain_minimal", "X=A", "OUT=B")),
    _ensemble("composing_more_input", _step("plain_minimal", "IN=A X=A", "OUT=B")),
    _ensemble("composing_unknown_output", _step("plain_minimal", "IN=A", "X=B")),
    _ensemble("composing_datatype", _step("int_model", "IN=A", "OUT=B")),
    _ensemble(
        "composing_datatype_between",
        _step("plain_minimal", "IN=A", "OUT=M") + _step("int_model", "IN=M", "OUT=B"),
    ),
    _ensemble("composing_shape", _step("six_model", "IN=A", "OUT=B")),
    _ensemble(
        "composing_shape_between",
        _step("wild_model", "IN=A", "OUT=M")
        + _step("six_model", "IN=M", "OUT=N")
        + _step("wild_model", "IN=N", "OUT=B"),
    ),
    _ensemble("composing_shape_wild", _step("wild_model", "IN=A", "OUT=B")),
    _ensemble("composing_input_missing", _step("two_inputs", "IN0=A", "OUT=B")),
    _ensemble("composing_optional_missing", _step("optional_input", "IN0=A", "OUT=B")),
    _ensemble("composing_batching_in_plain", _step("dynamic_default", "IN=A", "OUT=B")),
    _ensemble(
        "composing_batch_smaller",
        _step("dynamic_default", "IN=A", "OUT=B"),
        head="max_batch_size: 16",
    ),
    _ensemble(
        "composing_batch_equal", _step("dynamic_default", "IN=A", "OUT=B"), head="max_batch_size: 8"
    ),
    _ensemble(
        "composing_plain_in_batching",
        _step("plain_minimal", "IN=A", "OUT=B"),
        head="max_batch_size: 8",
    ),
    _ensemble(
        "composing_two_steps",
        _step("plain_minimal", "IN=A", "OUT=M") + _step("plain_minimal", "IN=M", "OUT=B"),
    ),
    _ensemble("composing_self", _step("composing_self", "A=A", "B=B")),
    _ensemble("composing_circle", _step("composing_circle_back", "A=A", "B=B")),
    _ensemble("composing_circle_back", _step("composing_circle", "A=A", "B=B")),
    _ensemble("composing_nested", _step("ensemble_good", "A=A", "B=B")),
    _ensemble("composing_decoupled_one", _step("decoupled", "IN=A", "OUT=B")),
    _ensemble(
        "composing_decoupled_two",
        _step("decoupled", "IN=A", "OUT=M")
        + _step("decoupled_other", "IN=A", "OUT=N")
        + _step("two_inputs", "IN0=M IN1=N", "OUT=B"),
    ),
    _ensemble(
        "composing_decoupled_chain",
        _step("decoupled", "IN=A", "OUT=M")
        + _step("decoupled_other", "IN=M", "OUT=N")
        + _step("two_inputs", "IN0=M IN1=N", "OUT=B"),
    ),
    _ensemble(
        "composing_decoupled_outputs",
        _step("decoupled", "IN=A", "OUT=B") + _step("decoupled_other", "IN=A", "OUT=C"),
        outputs="B C",
    ),
    _ensemble("composing_bad_model", _step("input_without_type", "IN=A", "OUT=B")),
)

_ADD = (
    'config.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": [4]})\n'
    'config.add_output({"name": "B", "data_type": "TYPE_INT64", "dims": [-1, 2]})\n'
)

AUTOCOMPLETE = (
    Case("complete_nothing", None, changes="pass"),
    Case("complete_io", None, changes=_ADD),
    Case("complete_batching", None, changes=_ADD + "config.set_max_batch_size(8)\n"),
    Case(
        "complete_dynamic",
        None,
        changes=_ADD + "config.set_max_batch_size(8)\nconfig.set_dynamic_batching()\n",
    ),
    Case("complete_dynamic_no_batching", None, changes=_ADD + "config.set_dynamic_batching()\n"),
    Case(
        "complete_decoupled",
        None,
        changes=_ADD + 'config.set_model_transaction_policy({"decoupled": True})\n',
    ),
    Case(
        "complete_optional",
        None,
        changes=_ADD
        + 'config.add_input({"name": "O", "data_type": "TYPE_STRING", "dims": [1], "optional": True})\n',
    ),
    Case(
        "complete_same_io",
        f'backend: "python"\n{IO}',
        changes='config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [4]})\n',
    ),
    Case(
        "complete_other_dims",
        f'backend: "python"\n{IO}',
        changes='config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [5]})\n',
    ),
    Case(
        "complete_more_io",
        f'backend: "python"\n{IO}',
        changes='config.add_input({"name": "MORE", "data_type": "TYPE_BOOL", "dims": [1]})\n',
    ),
    Case(
        "complete_bad_dims",
        None,
        changes='config.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": [0]})\n'
        + _ADD.split("\n")[1],
    ),
    Case(
        "complete_bad_type",
        None,
        changes='config.add_input({"name": "A", "data_type": "FP32", "dims": [1]})\n'
        + _ADD.split("\n")[1],
    ),
    Case(
        "complete_lower_type",
        None,
        changes='config.add_input({"name": "A", "data_type": "type_fp32", "dims": [1]})\n'
        + _ADD.split("\n")[1],
    ),
    Case(
        "complete_string_dims",
        None,
        changes='config.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": ["7"]})\n'
        + _ADD.split("\n")[1],
    ),
    Case("complete_no_output", None, changes=_ADD.split("\n")[0]),
    Case(
        "complete_keeps_scheduler",
        f'backend: "python" max_batch_size: 4 dynamic_batching {{ max_queue_delay_microseconds: 7 }}\n{IO}',
        changes="config.set_dynamic_batching()\n",
    ),
    Case(
        "complete_sequence_conflict",
        f'backend: "python" max_batch_size: 4 sequence_batching {{}}\n{IO}',
        changes="config.set_dynamic_batching()\n",
    ),
    Case(
        "complete_changes_scheduler",
        f'backend: "python" max_batch_size: 4 sequence_batching {{}}\n{IO}',
        changes='config._model_config["dynamic_batching"] = {}\ndel config._model_config["sequence_batching"]\n',
    ),
    Case(
        "complete_removes_scheduler",
        f'backend: "python" max_batch_size: 4 sequence_batching {{}}\n{IO}',
        changes='del config._model_config["sequence_batching"]\n',
    ),
    Case(
        "complete_both_schedulers",
        f'backend: "python" max_batch_size: 4 dynamic_batching {{}}\n{IO}',
        changes='config._model_config["sequence_batching"] = {}\n',
    ),
    Case(
        "complete_ignored_members",
        f'backend: "python"\n{IO}',
        changes='config._model_config["instance_group"] = [{"count": 5, "kind": "KIND_CPU"}]\nconfig._model_config["parameters"] = {"x": {"string_value": "y"}}\nconfig._model_config["name"] = "other"\nconfig._model_config["version_policy"] = {"all": {}}\n',
    ),
    Case(
        "complete_unknown_member",
        f'backend: "python"\n{IO}',
        changes='config._model_config["nonsense"] = 3\n',
    ),
    Case(
        "complete_sets_sequence",
        f'backend: "python" max_batch_size: 4\n{IO}',
        changes='config._model_config["sequence_batching"] = {"oldest": {"max_candidate_sequences": 3}}\n',
    ),
    Case(
        "complete_negative_batch",
        f'backend: "python"\n{IO}',
        changes='config._model_config["max_batch_size"] = -2\n',
    ),
    Case(
        "complete_batch_mismatch",
        f'backend: "python" max_batch_size: 4\n{IO}',
        changes="config.set_max_batch_size(8)\n",
    ),
    Case(
        "complete_batch_lower",
        f'backend: "python" max_batch_size: 4\n{IO}',
        changes="config.set_max_batch_size(2)\n",
    ),
    Case(
        "complete_preferred_large",
        f'backend: "python" max_batch_size: 4 dynamic_batching {{ preferred_batch_size: 3 }}\n{IO}',
        changes='config._model_config["max_batch_size"] = 2\n',
    ),
    Case("complete_raises", None, changes='raise ValueError("no")\n'),
    Case(
        "complete_clears_io",
        f'backend: "python"\n{IO}',
        changes='config._model_config["input"] = []\n',
    ),
)

CASES: tuple[Case, ...] = (
    *GENERAL,
    *VERSIONS,
    *DYNAMIC,
    *SEQUENCE,
    *TENSORS,
    *INSTANCES,
    *REST,
    *ENSEMBLES,
    *COMPOSING,
    *AUTOCOMPLETE,
)
