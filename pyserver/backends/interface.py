"""What a backend is: three small protocols, and the data that it is given.

    Backend --describe--> what the model says of itself, for auto-complete
            --load------> LoadedModel --make_instance--> Instance --run--> until the executor stops

A new backend is one file with these three classes and one row in `pyserver.backends.BACKENDS`;
tests/contract runs over that table.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pyserver.backends import BackendInfo
from pyserver.beneath import LeadsOut, path_beneath
from pyserver.errors import InternalError, InvalidArgumentError

if TYPE_CHECKING:
    from pyserver._core import Executor


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version. `config_text` is the JSON of `GET .../config`, `config` the same parsed.

    Before auto-complete the config may lack inputs and outputs. `backend_config` holds the
    `--backend-config` settings of this backend.
    """

    name: str
    version: int
    model_dir: Path
    version_dir: Path
    config_text: str
    backend_config: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> ModelInfo:
        """From the "model" member of core's "prepare" message."""
        text = str(message["config"])
        return cls(
            name=str(message["name"]),
            version=int(message["version"]),
            model_dir=Path(message["model_dir"]),
            version_dir=Path(message["version_dir"]),
            config_text=text,
            backend_config=dict(message.get("backend_config") or {}),
            config=json.loads(text),
        )

    def with_config(self, text: str) -> ModelInfo:
        return replace(self, config_text=text, config=json.loads(text))

    def version_file(self, name: str) -> Path:
        """What the config names in the version's folder; InvalidArgumentError for what is not in
        it by its name.
        """
        return self._file(self.version_dir, name)

    def model_file(self, name: str) -> Path:
        """The same for the model's folder."""
        return self._file(self.model_dir, name)

    def _file(self, folder: Path, name: str) -> Path:
        try:
            return path_beneath(folder, name)
        except LeadsOut as error:
            raise InvalidArgumentError(
                f"the config of model '{self.name}' names the file '{name}', which must be inside"
                f" '{folder}': it {error}"
            ) from error

    @property
    def max_batch_size(self) -> int:
        return int(self.config.get("max_batch_size", 0))

    @property
    def decoupled(self) -> bool:
        return bool(self.config.get("model_transaction_policy", {}).get("decoupled", False))

    @property
    def output_names(self) -> list[str]:
        return [output["name"] for output in self.config.get("output", [])]

    @property
    def control_names(self) -> list[str]:
        """The control tensors of a model with sequences: inputs that no client sends."""
        controls = self.config.get("sequence_batching", {}).get("control_input", [])
        return [control["name"] for control in controls]

    @property
    def states(self) -> list[Mapping[str, Any]]:
        """The implicit states of a model with sequences, as in the config."""
        states: list[Mapping[str, Any]] = self.config.get("sequence_batching", {}).get("state", [])
        return states

    @property
    def instance_count(self) -> int:
        """Instances of all groups together, at least 1."""
        groups = self.config.get("instance_group", [])
        counts = [int(group["count"]) * max(1, len(group["gpus"])) for group in groups]
        return max(1, sum(counts))

    def parameter(self, key: str) -> str | None:
        """The text of a `parameters` entry of the config."""
        entry = self.config.get("parameters", {}).get(key)
        return None if entry is None else str(entry["string_value"])


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """One instance: `kind` is KIND_CPU, KIND_GPU or KIND_MODEL; `index` counts in the version."""

    name: str
    kind: str = "KIND_CPU"
    device_id: int = 0
    index: int = 0

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> InstanceInfo:
        return cls(
            name=str(message["name"]),
            kind=str(message["kind"]),
            device_id=int(message["device_id"]),
            index=int(message["index"]),
        )


class Instance(Protocol):
    """One executor of a model. All of it is called in the instance's own thread."""

    def run(self, executor: Executor) -> None:
        """Executes batches until the executor stops. An exception ends the whole process."""

    def finalize(self) -> None:
        """Called once, after `run`."""


class LoadedModel(Protocol):
    """A model version in memory."""

    def make_instance(self, info: InstanceInfo) -> Instance:
        """Raises a ServerError when the instance cannot be."""


class Backend(Protocol):
    """A kind of model. Made once in a process, without arguments; then one model is loaded."""

    def describe(self, model: ModelInfo) -> dict[str, Any] | None:
        """What the model itself says, to complete its config; None adds nothing.

        Either a framework's signature, {"inputs": [{"name", "datatype", "dims"}], "outputs": ...}
        with every dimension (the batch's too, -1 where variable) and datatypes by wire name, or a
        dict in the shape of a model config. Raises a ServerError when the model cannot be read.
        """

    def load(self, model: ModelInfo) -> LoadedModel:
        """Loads with the final config. Raises a ServerError."""


class Server(Protocol):
    """The way to core, for what a model asks of its server. Both from any thread."""

    def send(self, message: dict[str, Any]) -> None:
        """Says something that has no answer."""

    def ask(self, message: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """Waits for the answer: "value", and descriptors in "fds" that are the caller's. Raises the
        ServerError that core answers with.
        """


@runtime_checkable
class AsksServer(Protocol):
    """A backend whose models may ask something of the server."""

    def connect(self, server: Server) -> None:
        """Called before anything else."""


@runtime_checkable
class Preloads(Protocol):
    """A backend whose models may be loaded in part before their instances are forked."""

    def preload(self, model: ModelInfo) -> None:
        """Called before anything else, with the config as it was written. Raises a ServerError."""


@runtime_checkable
class TellsReadiness(Protocol):
    """An instance whose model may say by itself whether it is ready."""

    @property
    def has_readiness(self) -> bool: ...

    def is_ready(self) -> bool:
        """Called in a thread of its own, also while `run` executes. Raising means no."""


def make_backend(info: BackendInfo) -> Backend:
    """Imports the backend's class and makes one.

    Raises UnavailableError (from the backend's own module) when a framework is not installed.
    """
    module_name, _, class_name = info.entry.partition(":")
    backend_class = getattr(importlib.import_module(module_name), class_name, None)
    if backend_class is None:
        raise InternalError(f"backend '{info.name}' has no class {info.entry}")
    made: Backend = backend_class()
    return made
