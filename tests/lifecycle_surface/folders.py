"""Model folders of the scenarios, and how they are written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PROGRAM: Final = Path(__file__).with_name("models") / "subject.py"
# What stands in configs, and in files, for the folder of the gates.
GATES: Final = "@GATES@"
TENSORS: Final = """\
input [ { name: "X" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "SAYS" data_type: TYPE_STRING dims: [ 1 ] } ]
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """A model's folder. Without a `config` there is no config file. `programs` says for each
    version whether it has a program; `files` are more files by their paths.
    """

    name: str
    config: str | None
    programs: Mapping[int, bool] = field(default_factory=lambda: {1: True})
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, repository: Path, gates: Path) -> None:
        """Complete before it can be seen there."""
        hidden = repository.parent / f".{self.name}.new"
        hidden.mkdir()
        if self.config is not None:
            _put(hidden / "config.pbtxt", self.config, gates)
        for version, has_program in self.programs.items():
            (hidden / str(version)).mkdir()
            if has_program:
                shutil.copy(_PROGRAM, hidden / str(version) / "model.py")
        for name, text in self.files.items():
            _put(hidden / name, text, gates)
        place = repository / self.name
        if place.exists():
            shutil.rmtree(place)
        hidden.rename(place)


def _put(path: Path, text: str, gates: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(GATES, str(gates)), encoding="utf-8")


def program() -> bytes:
    """The file of the models that are sent with a load request."""
    return _PROGRAM.read_bytes()


def python(
    name: str,
    more: str = "",
    *,
    batch: int = 0,
    versions: tuple[int, ...] = (1,),
    mark: str = "",
    named: str = "",
    files: Mapping[str, str] | None = None,
    **parameters: str,
) -> Folder:
    """A Python model. What its program does on request is in models/subject.py."""
    given = ({"mark": mark} if mark else {}) | parameters
    lines = [
        f'name: "{named}"' if named else "",
        'backend: "python"',
        f"max_batch_size: {batch}",
        TENSORS.rstrip(),
        "instance_group [ { kind: KIND_CPU } ]",
        more,
        *(
            f'parameters [ {{ key: "{key}" value: {{ string_value: "{value}" }} }} ]'
            for key, value in given.items()
        ),
    ]
    text = "\n".join(line for line in lines if line) + "\n"
    return Folder(name, text, dict.fromkeys(versions, True), files or {})


def plain(name: str, more: str = "", *, batch: int = 0, versions: tuple[int, ...] = (1,)) -> Folder:
    """A model that is quick to load: of the identity backend."""
    config = (
        f'backend: "identity"\nmax_batch_size: {batch}\n'
        'input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]\n'
        'output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]\n'
        f"instance_group [ {{ kind: KIND_CPU }} ]\n{more}\n"
    )
    return Folder(name, config, dict.fromkeys(versions, False))


def ensemble(name: str, *steps: str, more: str = "") -> Folder:
    """Hands its input from one plain model to the next."""
    tensors = ["INPUT0", *(f"t{number}" for number in range(1, len(steps))), "OUTPUT0"]
    written = ", ".join(
        f'{{ model_name: "{model}" model_version: -1'
        f' input_map {{ key: "INPUT0" value: "{tensors[place]}" }}'
        f' output_map {{ key: "OUTPUT0" value: "{tensors[place + 1]}" }} }}'
        for place, model in enumerate(steps)
    )
    config = (
        'platform: "ensemble"\n'
        'input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]\n'
        'output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ -1 ] } ]\n'
        f"{more}\nensemble_scheduling {{ step [ {written} ] }}\n"
    )
    return Folder(name, config, {1: False})
