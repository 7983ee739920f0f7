"""What each process holds on the GPUs, asked of NVIDIA's management library where there is one.

The library comes with the driver; it is found when it is first asked for, and nothing is linked
against it. Source: NVML's reference, nvmlDeviceGetComputeRunningProcesses.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any, Final

log = logging.getLogger(__name__)

_LIBRARY: Final = "libnvidia-ml.so.1"
_SUCCESS: Final = 0
_INSUFFICIENT_SIZE: Final = 7
_NOT_AVAILABLE: Final = (1 << 64) - 1  # what the driver says of memory that it does not account
_MOST_PROCESSES: Final = 1 << 16


class _ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_t of the third version of the call."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_gpu_memory", ctypes.c_ulonglong),
        ("gpu_instance_id", ctypes.c_uint),
        ("compute_instance_id", ctypes.c_uint),
    )


class DeviceMemory:
    """Bytes on all GPUs by process. One picture is asked of the driver by `refresh`.

    `open_library` gives the library, or raises OSError where there is none. Not thread-safe.
    """

    def __init__(self, open_library: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._open_library: Callable[[str], Any] | None = open_library
        self._nvml: Any = None
        self._bytes_by_pid: dict[int, int] | None = None

    def refresh(self) -> None:
        """Asks anew; afterwards `byte_size` tells of now."""
        self._bytes_by_pid = None
        if not self._opened():
            return
        count = ctypes.c_uint()
        if self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS or not count.value:
            return
        found: dict[int, int] = {}
        for index in range(count.value):
            device = ctypes.c_void_p()
            if self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != _SUCCESS:
                continue  # not for this process to see
            for info in self._processes(device):
                if info.used_gpu_memory != _NOT_AVAILABLE:
                    found[info.pid] = found.get(info.pid, 0) + info.used_gpu_memory
        self._bytes_by_pid = found

    def byte_size(self, pid: int) -> int | None:
        """0 for a process that uses no GPU; None where no GPU can be asked."""
        return None if self._bytes_by_pid is None else self._bytes_by_pid.get(pid, 0)

    def _opened(self) -> bool:
        """Tried once: a driver does not come by itself."""
        if self._nvml is None and self._open_library is not None:
            try:
                library = self._open_library(_LIBRARY)
                if library.nvmlInit_v2() == _SUCCESS:
                    self._nvml = library
            except (OSError, AttributeError) as error:
                log.debug("GPU memory is not told of: %s", error)
            self._open_library = None
        return self._nvml is not None

    def _processes(self, device: ctypes.c_void_p) -> list[_ProcessInfo]:
        count = ctypes.c_uint(64)
        while count.value <= _MOST_PROCESSES:
            room = count.value
            infos = (_ProcessInfo * room)()
            ask = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3
            said = ask(device, ctypes.byref(count), infos)
            if said == _SUCCESS:
                return list(infos[: min(count.value, room)])
            if said != _INSUFFICIENT_SIZE:
                return []
            count.value = max(count.value, room) * 2
        return []
