"""Load requests that bring a config, or files, of their own."""

from __future__ import annotations

import json
from typing import Any

from tests.lifecycle_surface.folders import plain, program, python
from tests.lifecycle_surface.steps import (
    Index,
    Infer,
    Load,
    Ready,
    Scenario,
    Told,
    Unload,
)

_TENSORS: dict[str, Any] = {
    "input": [{"name": "X", "data_type": "TYPE_INT32", "dims": [-1]}],
    "output": [{"name": "SAYS", "data_type": "TYPE_STRING", "dims": [1]}],
}


def _config(mark: str, **more: Any) -> str:
    return json.dumps(
        {
            "backend": "python",
            "instance_group": [{"kind": "KIND_CPU"}],
            "parameters": {"mark": {"string_value": mark}},
            **_TENSORS,
            **more,
        }
    )


_PLAIN: dict[str, Any] = {
    "backend": "identity",
    "input": [{"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [-1]}],
    "output": [{"name": "OUTPUT0", "data_type": "TYPE_INT32", "dims": [-1]}],
}


def _refused(name: str, config: str) -> Scenario:
    model = f"config_{name.replace(' ', '_')}"
    return Scenario(
        f"config override: {name}",
        (
            Load(model, config),
            Index(),
            Load(model),
            Load(model, config),
            Index(),
            Infer(model),
            Told(model),
        ),
        (plain(model),),
    )


_CONFIGS = (
    Scenario(
        "config override: another mark, then none",
        (
            Load("told"),
            Infer("told"),
            Load("told", _config("override")),
            Index(),
            Infer("told"),
            Told("told"),
            Load("told"),
            Infer("told"),
            Told("told"),
            Load("told", _config("again")),
            Infer("told"),
            Unload("told"),
            Index(),
            Load("told"),
            Infer("told"),
        ),
        (python("told", mark="file"),),
    ),
    Scenario(
        "config override: of one that was not loaded",
        (Load("fresh", _config("override")), Index(), Infer("fresh"), Told("fresh")),
        (python("fresh", mark="file"),),
    ),
    Scenario(
        "config override: other largest batch",
        (
            Load("wider"),
            Told("wider"),
            Load("wider", json.dumps({**_PLAIN, "max_batch_size": 16})),
            Told("wider"),
            Index(),
            Infer("wider"),
        ),
        (plain("wider", batch=4),),
    ),
    Scenario(
        "config override: version policy",
        (
            Load(
                "chosen", json.dumps({**_PLAIN, "version_policy": {"specific": {"versions": [1]}}})
            ),
            Index(),
            Infer("chosen"),
            Load("chosen"),
            Index(),
            Infer("chosen"),
        ),
        (plain("chosen", versions=(1, 2)),),
    ),
    Scenario(
        "config override: of an unknown model",
        (Load("nowhere_at_all", json.dumps(_PLAIN)), Index(("nowhere_at_all",))),
    ),
    _refused("not json", "nonsense"),
    _refused("empty", ""),
    _refused("empty object", "{}"),
    _refused("a list", "[]"),
    _refused("unknown field", json.dumps({**_PLAIN, "speed": 3})),
    _refused("wrong type", json.dumps({**_PLAIN, "max_batch_size": "many"})),
    _refused("refused", json.dumps({**_PLAIN, "max_batch_size": -1})),
    _refused("other name", json.dumps({**_PLAIN, "name": "somebody_else"})),
    _refused("own name", json.dumps({**_PLAIN, "name": "config_own_name"})),
    _refused("unknown backend", json.dumps({**_PLAIN, "backend": "nowhere"})),
    _refused(
        "no such version", json.dumps({**_PLAIN, "version_policy": {"specific": {"versions": [9]}}})
    ),
)

_PROGRAM = program()
_GIVEN = {"file:1/model.py": _PROGRAM}


def _path(name: str, parameter: str, content: bytes = b"content") -> Scenario:
    model = f"path_{name.replace(' ', '_')}"
    return Scenario(
        f"file override: {name}",
        (
            Load(model, _config("sent"), {**_GIVEN, parameter: content}),
            Index((model,)),
            Infer(model),
            Unload(model),
        ),
    )


_FILES = (
    Scenario(
        "file override: of a model of no repository",
        (
            Load("sent", _config("sent"), _GIVEN),
            Index(("sent",)),
            Infer("sent"),
            Ready("sent"),
            Told("sent"),
            Load("sent"),
            Index(("sent",)),
            Infer("sent"),
            Unload("sent"),
            Index(("sent",)),
            Load("sent"),
            Index(("sent",)),
        ),
    ),
    Scenario(
        "file override: in the place of a folder",
        (
            Load("placed"),
            Infer("placed"),
            Load("placed", _config("sent"), {"file:5/model.py": _PROGRAM}),
            Index(),
            Infer("placed"),
            Infer("placed", "1"),
            Infer("placed", "5"),
            Load("placed", _config("config alone")),
            Index(),
            Infer("placed"),
            Load("placed"),
            Index(),
            Infer("placed"),
            Infer("placed", "5"),
        ),
        (python("placed", mark="file"),),
    ),
    Scenario(
        "file override: fails beside one that serves",
        (
            Load("guarded"),
            Load("guarded", _config("sent"), {"file:1/model.py": b"nonsense("}),
            Index(),
            Infer("guarded"),
            Load("guarded", "nonsense", _GIVEN),
            Index(),
            Infer("guarded"),
            Load("guarded", _config("sent"), {"file:model.py": _PROGRAM}),
            Index(),
            Infer("guarded"),
            Load("guarded", _config("sent", name="other"), _GIVEN),
            Index(),
        ),
        (python("guarded", mark="file"),),
    ),
    Scenario(
        "file override: without a config",
        (Load("alone", None, _GIVEN), Index(), Load("alone"), Load("alone", None, _GIVEN), Index()),
        (python("alone"),),
    ),
    Scenario(
        "file override: a config file in the place of a config",
        (
            Load(
                "file_config",
                None,
                {**_GIVEN, "file:config.pbtxt": (python("file_config").config or "").encode()},
            ),
            Index(("file_config",)),
        ),
    ),
    _path("climbs", "file:../climbed/x"),
    _path("climbs inside", "file:1/../../climbed/x"),
    _path("climbs and returns", "file:1/../1/x"),
    _path("absolute", "file:/tmp/climbed"),
    _path("empty path", "file:"),
    _path("a dot", "file:."),
    _path("a folder", "file:1/"),
    _path("two slashes", "file:1//x"),
    _path("deep", "file:1/a/b/c/d/x"),
    _path("empty content", "file:1/x", b""),
    _path("no colon", "filex"),
    Scenario(
        "file override: no version",
        (Load("unversioned", _config("sent"), {"file:x": b"x"}), Index(("unversioned",))),
    ),
)

SCENARIOS = (*_CONFIGS, *_FILES)
