"""Cures of a model's own config that need more than one word: see cures.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyserver.check.config_text import ConfigPath, ConfigText
from pyserver.check.cures import Cured, Match, Row, control_path, nth_of, tensor_path
from pyserver.config.autofill import FORMATS
from pyserver.config.model_config_pb2 import DataType, ModelConfig, ModelQueuePolicy
from pyserver.config.parse import did_you_mean
from pyserver.config.validate_scheduling import CORRELATION_KIND


def _group(config: ModelConfig, name: str) -> ConfigPath:
    names = [group.name for group in config.instance_group]
    return ("instance_group", names.index(name) if name in names else 0)


def bad_dimension(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    kind, index = tensor_path(m, c, n)
    dims: Sequence[int] = getattr(c, kind)[index].dims
    bad = next((i for i, dim in enumerate(dims) if dim < 1 and dim != -1), 0)
    path = (kind, index, "dims", bad)
    wanted = "use -1 for a size that varies; the batch's own dimension is not listed"
    return Cured(path, wanted, t.renaming(path, "-1") if t.has(path) else ())


def bad_reshape(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    kind, index = tensor_path(m, c, n)
    dims: Sequence[int] = getattr(c, kind)[index].dims
    path = (kind, index, "reshape")
    shape = list(dims) if -1 in dims else [math.prod(dims)]
    wanted = f"the shape must have as many elements as dims, {list(dims)}"
    return Cured(path, wanted, t.setting((*path, "shape"), str(shape)))


def platform(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    known = sorted({one.platform for one in FORMATS if one.platform} | {"ensemble"})
    near = did_you_mean(c.platform, known)
    if near is None:
        path: ConfigPath = ("platform",)
        wanted = f"it is one of {', '.join(known)}; or name a backend instead of a platform"
        return Cured(path, wanted)
    return Cured(("platform",), f"Did you mean '{near}'?", t.setting(("platform",), f'"{near}"'))


def control_rivals(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = control_path(c, m["kind"])
    given = [
        name
        for name in ("int32_false_true", "fp32_false_true", "bool_false_true")
        if t.has((*path, name))
    ]
    surplus = (
        given
        if m["kind"] == type(c.sequence_batching).Control.Kind.Name(CORRELATION_KIND)
        else given[1:]
    )
    edits = tuple(edit for name in surplus for edit in t.removing((*path, name)))
    at = (*path, surplus[0]) if surplus else path
    return Cured(at, f"remove {' and '.join(surplus) or 'it'}", edits)


def control_twice(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    name = m["name"]
    inputs = c.sequence_batching.control_input
    path = (
        "sequence_batching",
        "control_input",
        nth_of((i for i, one in enumerate(inputs) if one.name == name), 1),
    )
    return Cured(path, "each control tensor is listed once, with all its controls")


def delayed(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    batching = c.dynamic_batching
    path: ConfigPath = ("dynamic_batching", "default_queue_policy")
    if batching.default_queue_policy.timeout_action != ModelQueuePolicy.DELAY:
        path = ("dynamic_batching", "priority_queue_policy")
        return Cured(path, "use timeout_action: REJECT, or leave out preserve_ordering")
    path = (*path, "timeout_action")
    wanted = "use timeout_action: REJECT, or leave out preserve_ordering"
    return Cured(path, wanted, t.setting(path, "REJECT"))


def gpus(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = (*_group(c, m["group"]), "gpus")
    wanted = "use kind: KIND_GPU with gpus, or leave gpus out"
    return Cured(path, wanted, t.removing(path))


def no_gpu(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = (*_group(c, m["group"]), "kind")
    wanted = "it loads only where there is such a GPU; kind: KIND_AUTO takes what there is"
    gpus = t.removing((*path[:-1], "gpus"))  # KIND_AUTO would take none of them
    return Cured(path, wanted, (*t.setting(path, "KIND_AUTO"), *gpus))


def profile(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = (*_group(c, m["group"]), "profile")
    return Cured(path, "remove it: only TensorRT has profiles", t.removing(path))


def source(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    names = [one.name for one in (c.input if m["what"] == "source input" else c.output)]
    field = "source_input" if m["what"] == "source input" else "target_name"
    for section in ("batch_input", "batch_output"):
        for i, one in enumerate(getattr(c, section)):
            for j, name in enumerate(getattr(one, field, ())):
                path = (section, i, field, j)
                if name == m["name"] and t.has(path):
                    near = did_you_mean(name, names)
                    wanted = f"Did you mean '{near}'?" if near else f"it is one of {names}"
                    return Cured(path, wanted, t.renaming(path, f'"{near}"') if near else ())
    return Cured(("batch_input",), f"it is one of {names}")


def tensorrt_flag(field: str) -> Row:
    """The n-th tensor, inputs first, that has a flag which is TensorRT's alone."""

    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        paths = [
            (kind, index, field)
            for kind in ("input", "output")
            for index, tensor in enumerate(getattr(c, kind))
            if getattr(tensor, field)
        ]
        path = paths[min(n, len(paths) - 1)]
        return Cured(path, f"remove {field}: the backend is not TensorRT", t.removing(path))

    return row


def bad_kind(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    section = f"batch_{m['kind']}"
    items = getattr(c, section)
    kinds = type(items[0]).Kind
    index = nth_of((i for i, one in enumerate(items) if one.kind not in kinds.values()), n)
    return Cured((section, index, "kind"), f"it is one of {', '.join(kinds.keys())}")


def bad_batch_datatype(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    good = (DataType.TYPE_INT32, DataType.TYPE_FP32)
    bad = (i for i, one in enumerate(c.batch_input) if one.data_type not in good)
    path = ("batch_input", nth_of(bad, n), "data_type")
    return Cured(path, "use TYPE_INT32 or TYPE_FP32", t.setting(path, "TYPE_FP32"))


def source_count(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    section = f"batch_{m['kind']}"
    bad = (i for i, one in enumerate(getattr(c, section)) if len(one.source_input) != 1)
    return Cured((section, nth_of(bad, n), "source_input"), "name exactly one source_input")


def second_target(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    paths = [
        ("batch_output", i, "target_name", j)
        for i, one in enumerate(c.batch_output)
        for j, name in enumerate(one.target_name)
        if name == m["name"]
    ]
    path = paths[min(n + 1, len(paths) - 1)]
    return Cured(path, "name each output once", t.removing(path))
