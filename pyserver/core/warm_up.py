"""Samples of a config's model_warmup: from the config and the files of `warmup/` to requests that
the engine can send (spec/05, section 5.7).

A sample of batch size N is N requests of one row in one batch. Control tensors of sequence models
are made for it as for a client's request that is a whole sequence of its own (START, READY and END
are true, the correlation ids count from 1); those that the sample itself gives are used instead.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyserver import _core
from pyserver.beneath import LeadsOut, Refused, read_beneath
from pyserver.datatype import BY_NUMBER, wire_name
from pyserver.errors import InternalError, InvalidArgumentError

if TYPE_CHECKING:
    from pyserver.config.model_config_pb2 import ModelConfig, ModelWarmup

log = logging.getLogger(__name__)

FOLDER: Final = "warmup"
# How Triton's texts name a request that has no id.
_PREFIX: Final = "[request id: <id_unknown>] "


@dataclass(frozen=True, slots=True)
class Sample:
    """What an instance runs `count` times before it takes traffic. Holds the bytes of its files,
    because a process that is restarted is to meet what the version was loaded with.
    """

    name: str
    count: int
    requests: _core.WarmUp


def make_samples(
    config: ModelConfig, spec: Mapping[str, Any], version: int, model_dir: Path
) -> tuple[Sample, ...]:
    """Reads the files and checks everything as requests are checked.

    Raises InvalidArgumentError for a sample that does not fit the model, InternalError for a file
    that cannot be read; texts are Triton's where it has one.
    """
    entry = {"version": version, "handle": 1, "state": "READY", "spec": spec}
    catalog = json.dumps({"op": "model", "name": config.name, "versions": [entry]})
    samples = []
    for setting in config.model_warmup:
        if setting.batch_size == 0:
            log.warning(
                "model '%s': warm-up sample '%s' has batch_size 0 and is skipped",
                config.name,
                setting.name,
            )
            continue
        try:
            samples.append(_make(config, setting, catalog, version, model_dir))
        except (InvalidArgumentError, InternalError):
            log.error("model '%s': warm-up sample '%s' is no good", config.name, setting.name)
            raise
    return tuple(samples)


def _make(
    config: ModelConfig, setting: ModelWarmup, catalog: str, version: int, model_dir: Path
) -> Sample:
    most = max(1, config.max_batch_size)
    if setting.batch_size > most:
        raise InvalidArgumentError(
            f"failed to run warmup sample '{setting.name}': batch size {setting.batch_size} for"
            f" '{config.name}', max allowed is {most}"
        )
    made_by_server = set(_made_by_server(config))
    inputs = [
        {
            "name": name,
            "datatype": wire_name(given.data_type),
            "dims": list(given.dims),
            "server_made": name in made_by_server,
            "data": _data(name, given, model_dir),
        }
        for name, given in sorted(setting.inputs.items())
    ]
    requests = _core.WarmUp(catalog, config.name, version, setting.batch_size, inputs)
    return Sample(setting.name, max(1, setting.count), requests)


def _made_by_server(config: ModelConfig) -> Iterator[str]:
    """Inputs that the model has and no client sends."""
    for control in config.sequence_batching.control_input:
        yield control.name
    for state in config.sequence_batching.state:
        yield state.input_name
    for batch_input in config.batch_input:
        yield from batch_input.target_name


def _data(name: str, given: ModelWarmup.Input, model_dir: Path) -> bytes | str:
    """What `_core.WarmUp` takes: bytes, "zero" or "random"."""
    if -1 in given.dims:
        raise InvalidArgumentError(
            f"warmup setting expects all variable-size dimensions are specified for input '{name}'"
        )
    source = given.WhichOneof("input_data_type")
    if source is None:
        raise InvalidArgumentError(
            f"{_PREFIX}warmup setting expects input '{name}' to have input_data_type set"
        )
    if source != "input_data_file":
        return "zero" if source == "zero_data" else "random"
    datatype = BY_NUMBER.get(given.data_type)
    if datatype is None or datatype.byte_size == 0:
        return _read(given.input_data_file, model_dir)
    return _read_elements(given, math.prod(given.dims) * datatype.byte_size, model_dir)


def _read_elements(given: ModelWarmup.Input, wanted: int, model_dir: Path) -> bytes:
    # Of a longer file Triton takes the beginning, too.
    found = _read(given.input_data_file, model_dir)
    if len(found) < wanted:
        raise InvalidArgumentError(
            f"{_PREFIX}warmup setting expects {wanted} bytes, but the data provided from"
            f" {given.input_data_file}only has {len(found)} bytes"
        )
    if len(found) > wanted:
        log.warning(
            "warm-up file '%s' of %s has %d bytes, of which the first %d are taken",
            given.input_data_file,
            model_dir,
            len(found),
            wanted,
        )
    return found[:wanted]


def _read(file: str, model_dir: Path) -> bytes:
    folder = model_dir / FOLDER
    path = folder / file
    try:
        return read_beneath(folder, file)
    except LeadsOut as error:
        raise InvalidArgumentError(
            f"warm-up file '{file}' must be inside the folder '{FOLDER}' of the model's directory:"
            f" it {error}"
        ) from error
    except Refused as error:
        raise InvalidArgumentError(f"warm-up file {path} {error}") from error
    except OSError as error:
        raise InternalError(
            f"failed to open text file for read {path}: {error.strerror}"
        ) from error
