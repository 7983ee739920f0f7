"""Asks a model what it is, in a process that is bounded in time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from pyserver.backends import backend_info
from pyserver.check.subject import Subject
from pyserver.config.autocomplete import DEFAULT_MAX_BATCH_SIZE, ModelSignature, complete
from pyserver.config.json_view import config_json
from pyserver.config.model_config_pb2 import ModelConfig, ModelInstanceGroup
from pyserver.settings import Settings, usable_memory_byte_size

_MOST_OUTPUT_BYTES: Final = 4000
_MOST_ANSWER_BYTES: Final = 64 << 20
# Of its pipes, when it has been killed: something that has left its session may hold them.
_ENDS_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Description:
    """`full`: what the model adds to its config; `bare`: what it would say without the config's
    tensors, None if it says nothing by itself. `error`: why it cannot be loaded. `skipped`: why
    nobody looked.
    """

    full: Mapping[str, Any] | None = None
    bare: Mapping[str, Any] | None = None
    error: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Describer:
    """`timeout_s` is for each model."""

    settings: Settings
    timeout_s: float
    memory_byte_size: int = field(default_factory=usable_memory_byte_size)

    def describe(self, subject: Subject) -> Description:
        """Of a model whose config could be read and has a version. May be called in threads."""
        config = subject.config
        assert config is not None
        if backend_info(config.backend) is None:
            return Description()
        environment = own_environment(subject)
        if environment:
            return Description(skipped=environment)
        asked = {
            "model": self._model(subject, config),
            "bare_config": config_json(_bare(config)),
            "parent": os.getpid(),
            "memory_byte_size": self.memory_byte_size,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pyserver.check.describe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin and process.stdout and process.stderr
        said = _Tail(process.stderr)
        answers = _Tail(process.stdout, _MOST_ANSWER_BYTES)
        try:
            with suppress(BrokenPipeError), process.stdin as asking:
                asking.write(json.dumps(asked).encode() + b"\n")
            process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            return Description(
                error=f"the model's code did not come to an end within {self.timeout_s:g} s"
            )
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            output, answer = said.end(), answers.end()
        if process.returncode != 0 or not answer:
            return Description(error=_death(process.returncode, output))
        return _read(json.loads(answer))

    def complete(self, subject: Subject, description: Description) -> ModelConfig:
        """The config with what the model adds; raises a ServerError where they contradict."""
        assert subject.config is not None
        said = description.full
        answer: ModelSignature | Mapping[str, Any] | None = said
        if said is not None and "inputs" in said:
            answer = ModelSignature.from_json(said)
        given = self.settings.backend_settings(subject.config.backend)
        text = given.get("default-max-batch-size", "")
        limit = int(text) if text.isdigit() else DEFAULT_MAX_BATCH_SIZE
        return complete(subject.config, answer, default_max_batch_size=limit)

    def _model(self, subject: Subject, config: ModelConfig) -> dict[str, Any]:
        on_cpu = ModelConfig()
        on_cpu.CopyFrom(config)
        _onto_cpu(on_cpu)
        return {
            "name": config.name,
            "version": subject.versions[-1],
            "backend": config.backend,
            "model_dir": str(subject.folder),
            "version_dir": str(subject.version_dir),
            "config": config_json(on_cpu),
            "backend_config": self.settings.backend_settings(config.backend),
        }


def own_environment(subject: Subject) -> str:
    """Why a model cannot be run by our own Python; empty if it can."""
    config = subject.config
    if config is None or config.backend != "python":
        return ""
    for key in ("EXECUTION_ENV_PATH", "python"):
        if key in config.parameters:
            return f"it brings its own Python ('{key}')"
    folders: tuple[Path, ...] = (
        subject.folder,
        *([subject.version_dir] if subject.versions else []),
    )
    if any((folder / "requirements.txt").exists() for folder in folders):
        return "it brings its own Python (requirements.txt)"
    return ""


def _bare(config: ModelConfig) -> ModelConfig:
    """What is left when all is left out that the model can tell by itself."""
    bare = ModelConfig()
    bare.CopyFrom(config)
    for name in ("input", "output", "batch_input", "batch_output", "max_batch_size"):
        bare.ClearField(name)
    bare.ClearField("dynamic_batching")
    bare.ClearField("model_transaction_policy")
    _onto_cpu(bare)
    return bare


def _onto_cpu(config: ModelConfig) -> None:
    """A signature is the same everywhere, and there may be no GPU here."""
    config.ClearField("instance_group")
    config.instance_group.add(name=config.name, kind=ModelInstanceGroup.KIND_CPU, count=1)


def _read(answer: Mapping[str, Any]) -> Description:
    return Description(full=answer["full"], bare=answer["bare"], error=str(answer["full_error"]))


class _Tail:
    """Reads a pipe to its end, in a thread, and keeps the last bytes."""

    def __init__(self, pipe: IO[bytes], most: int = _MOST_OUTPUT_BYTES) -> None:
        self._pipe = pipe
        self._most = most
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while part := os.read(self._pipe.fileno(), 1 << 16):
            self._kept = (self._kept + part)[-self._most :]

    def end(self) -> bytes:
        """What is left of it. Whoever writes must have ended."""
        self._thread.join(_ENDS_WITHIN_S)
        if not self._thread.is_alive():
            self._pipe.close()
        return self._kept


def _death(code: int, output: bytes) -> str:
    said = output.decode("utf-8", "replace").strip()
    last = said.splitlines()[-1] if said else ""
    how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    return f"the model's code ended its process: {how}" + (f"; it said: {last}" if last else "")
