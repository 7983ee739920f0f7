"""The backends by name: what the control plane must know of each without importing it.

The table is all there is here; the classes behind it are imported by the instance process that
needs them, through `pyserver.backends.interface.make_backend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One backend as core sees it.

    `entry` is "module:Class". `platforms` are the `platform` values of a model config that mean
    this backend. `threads_share_process`: its runtime is thread-safe, so that all instances of a
    version are threads of one process and share the weights; otherwise each instance has a process
    of its own. `default_instance_count` is that of a CPU group without a count. `uses_gpu`: an
    instance group without a kind goes to the GPUs, where there are any. `models_bring_python`: a
    model may name the Python environment that its processes run in. `may_call`: its models may call
    other models while they execute. `may_fork`: instances may be forked from a template that has
    loaded the model once. `parameters` are those of the model config that the backend reads;
    `free_parameters`: its models may read others.
    """

    name: str
    entry: str
    platforms: tuple[str, ...] = ()
    threads_share_process: bool = True
    default_instance_count: int = 1
    uses_gpu: bool = False
    models_bring_python: bool = False
    may_call: bool = False
    may_fork: bool = False
    parameters: tuple[str, ...] = ()
    free_parameters: bool = False


BACKENDS: Final[Mapping[str, BackendInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            BackendInfo(
                "identity",
                "pyserver.backends.identity:IdentityBackend",
                parameters=("execute_delay_ms", "creation_delay_sec"),
            ),
            BackendInfo(
                "onnxruntime",
                "pyserver.backends.onnxruntime:OnnxRuntimeBackend",
                platforms=("onnxruntime_onnx",),
                default_instance_count=2,
                uses_gpu=True,
                parameters=(
                    "intra_op_thread_count",
                    "inter_op_thread_count",
                    "execution_mode",
                    "enable_mem_arena",
                    "enable_mem_pattern",
                    "memory.enable_memory_arena_shrinkage",
                    "session.use_device_allocator_for_initializers",
                ),
            ),
            BackendInfo(
                "python",
                "pyserver.backends.python:PythonBackend",
                threads_share_process=False,
                models_bring_python=True,
                may_call=True,
                may_fork=True,
                parameters=(
                    "EXECUTION_ENV_PATH",
                    "FORCE_CPU_ONLY_INPUT_TENSORS",
                    "fork_instances",
                    "python",
                ),
                free_parameters=True,
            ),
        )
    }
)


def backend_info(name: str) -> BackendInfo | None:
    """The backend of that name; None when there is no such."""
    return BACKENDS.get(name)
