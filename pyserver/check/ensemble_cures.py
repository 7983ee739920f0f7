"""Cures of an ensemble's config: see cures.py."""

from __future__ import annotations

from pyserver.check.config_text import ConfigPath, ConfigText
from pyserver.check.cures import Cured, Match, Row, tensor_path
from pyserver.config.model_config_pb2 import ModelConfig
from pyserver.config.parse import did_you_mean


def _mapped(config: ModelConfig, tensor: str) -> ConfigPath:
    """The entry of an input_map or output_map that names the ensemble's tensor."""
    for i, step in enumerate(config.ensemble_scheduling.step):
        for name in ("input_map", "output_map"):
            for key, value in getattr(step, name).items():
                if value == tensor:
                    return ("ensemble_scheduling", "step", i, name, key, "value")
    return ("ensemble_scheduling",)


def unused_end(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    """An input or output of an ensemble that no step names."""
    kind, index = tensor_path(m, c)
    names = [
        tensor
        for step in c.ensemble_scheduling.step
        for tensor in (step.input_map if kind == "input" else step.output_map).values()
    ]
    near = did_you_mean(m["name"], sorted(set(names)))
    path = (kind, index, "name")
    if near is None:
        map_name = f"{kind}_map"
        return Cured(path, f"name it as a value of a step's {map_name}, or remove it")
    return Cured(path, f"Did you mean '{near}'?", t.setting(path, f'"{near}"'))


def not_connected(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = _mapped(c, m["tensor"])
    made = {one.name for one in c.input} | {
        value for step in c.ensemble_scheduling.step for value in step.output_map.values()
    }
    near = did_you_mean(m["tensor"], sorted(made - {m["tensor"]}))
    wanted = f"'{m['tensor']}' is made by no step and is no input"
    if near is None or not t.has(path):
        return Cured(path, wanted)
    return Cured(path, f"{wanted}. Did you mean '{near}'?", t.renaming(path, f'"{near}"'))


def unused_tensor(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = _mapped(c, m["tensor"])[:-1] or ("ensemble_scheduling",)
    wanted = "use it as a later step's input or as an output of the ensemble, or do not map it"
    if "output_map" not in path or not t.has(path):
        return Cured(path, wanted)
    step = c.ensemble_scheduling.step[int(path[2])]
    if len(step.output_map) > 1:
        return Cured(path, wanted, t.removing(path))
    return Cured(path, f"{wanted} and remove the step", t.removing(path[:3]))


def in_step(field: str) -> Row:
    def row(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
        path: ConfigPath = ("ensemble_scheduling", "step", int(m["step"]))
        value = {
            "model_name": 'model_name: "<model>"',
            "input_map": 'input_map { key: "<input of the model>" value: "<tensor>" }',
            "output_map": 'output_map { key: "<output of the model>" value: "<tensor>" }',
        }[field]
        return Cured(path, f"add {value}", t.adding(t.find(path), value))

    return row


def made_twice(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    step = int(m["step"])
    keys = c.ensemble_scheduling.step[step].output_map.items()
    key = next((key for key, value in keys if value == m["tensor"]), "")
    path = ("ensemble_scheduling", "step", step, "output_map", key, "value")
    wanted = "give the tensor of this step a name of its own"
    return Cured(path, wanted, t.renaming(path, f'"{m["tensor"]}_{step}"') if t.has(path) else ())


def _step_of(model: str, config: ModelConfig) -> int:
    names = [step.model_name for step in config.ensemble_scheduling.step]
    return names.index(model) if model in names else 0


def no_such_end(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    map_name = f"{m['kind']}_map"
    path = ("ensemble_scheduling", "step", _step_of(m["model"], c), map_name, m["name"], "key")
    return Cured(path, f"the key is the name of an {m['kind']} of model '{m['model']}'")


def not_mapped(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    path = ("ensemble_scheduling", "step", _step_of(m["model"], c))
    entry = f'input_map {{ key: "{m["name"]}" value: "<tensor of the ensemble>" }}'
    return Cured(path, f"add {entry}", t.adding(t.find(path), entry))


def inconsistent(m: Match, c: ModelConfig, t: ConfigText, n: int) -> Cured:
    """At the ensemble's own declaration, where it has one."""
    field = "data_type" if m["what"] == "data type" else "dims"
    wanted = (
        f"the {m['what']}s of a tensor must agree: {m['one']} in '{m['first']}',"
        f" {m['other']} in '{m['second']}'"
    )
    for kind in ("input", "output"):
        for index, tensor in enumerate(getattr(c, kind)):
            if tensor.name == m["tensor"]:
                path = (kind, index, field)
                value = m["other"]
                if field == "dims" and c.max_batch_size > 0 and m["other"].startswith("[-1,"):
                    value = f"[{m['other'][4:]}"
                return Cured(path, wanted, t.setting(path, value))
    return Cured(_mapped(c, m["tensor"]), wanted)
