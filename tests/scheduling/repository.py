"""The models that the scenarios use, and how a repository of them is laid out: few programs
(`models/*.py`) under many configs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = Path(__file__).with_name("models")
_TENSORS = """\
input [ { name: "X" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the repository. Without a `program` it is an ensemble; `files` are more files of
    its folder.
    """

    name: str
    config: str
    program: str | None = "reporter"
    versions: tuple[int, ...] = (1,)
    files: tuple[tuple[str, str | bytes], ...] = ()


def model(
    name: str,
    scheduling: str = "",
    *,
    batch: int = 4,
    tensors: str = _TENSORS,
    instances: int = 1,
    group: str = "",
    more: str = "",
    program: str = "reporter",
    versions: tuple[int, ...] = (1,),
    parameters: tuple[tuple[str, str], ...] = (),
    files: tuple[tuple[str, str | bytes], ...] = (),
) -> Model:
    """A Python model whose config is put together from its parts."""
    written = [
        'backend: "python"',
        f"max_batch_size: {batch}",
        tensors,
        group or f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]",
        scheduling,
        more,
        *(_parameter(key, value) for key, value in parameters),
    ]
    return Model(name, "\n".join(written) + "\n", program, versions, files)


def ensemble(
    name: str,
    *steps: str,
    batch: int = 4,
    tensors: str = _TENSORS,
    more: str = "",
    files: tuple[tuple[str, str | bytes], ...] = (),
) -> Model:
    """An ensemble; `steps` are written as `step(...)` makes them."""
    config = (
        f'platform: "ensemble"\nmax_batch_size: {batch}\n{tensors}{more}\n'
        f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}\n"
    )
    return Model(name, config, None, files=files)


def step(model_name: str, inputs: str, outputs: str, version: int = -1) -> str:
    """A step of an ensemble. `inputs` and `outputs` are `model's=ensemble's` pairs between
    blanks.
    """

    def mapped(field: str, pairs: str) -> str:
        split = [pair.split("=") for pair in pairs.split()]
        return " ".join(f'{field} {{ key: "{key}" value: "{value}" }}' for key, value in split)

    return (
        f'{{ model_name: "{model_name}" model_version: {version} '
        f"{mapped('input_map', inputs)} {mapped('output_map', outputs)} }}"
    )


def tensors(inputs: str, outputs: str) -> str:
    """The two lists of a config. Each tensor is `NAME:TYPE:dim,dim`, an input may end in `?`: it is
    optional.
    """

    def listed(described: str) -> str:
        name, datatype, dims = described.rstrip("?").split(":")
        optional = " optional: true" if described.endswith("?") else ""
        return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dims} ]{optional} }}'

    return (
        f"input [ {', '.join(map(listed, inputs.split()))} ]\n"
        f"output [ {', '.join(map(listed, outputs.split()))} ]\n"
    )


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def lay_out(folder: Path, models: Iterable[Model]) -> tuple[Path, Path]:
    """Make the repository and the folder for reports in `folder`; their paths."""
    repository, reports = folder / "models", folder / "reports"
    reports.mkdir(parents=True)
    for each in models:
        home = repository / each.name
        config = each.config
        for version in each.versions:
            (home / str(version)).mkdir(parents=True)
            if each.program is not None:
                program = _PROGRAMS / f"{each.program}.py"
                shutil.copy(program, home / str(version) / "model.py")
        if each.program is not None:
            config += _parameter("reports", str(reports)) + "\n"
        (home / "config.pbtxt").write_text(config)
        for name, content in each.files:
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return repository, reports
