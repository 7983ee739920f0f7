"""Device bytes by process, through a library in NVML's place."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from pyserver.observe.device_memory import DeviceMemory
from pyserver.observe.memory import memory_of

_NOT_AVAILABLE = (1 << 64) - 1


class Library:
    """Two GPUs; `held` is what each process holds on each."""

    def __init__(self, *held: dict[int, int], init: int = 0) -> None:
        self.held = held
        self.init = init
        self.opened = 0

    def __call__(self, name: str) -> Library:
        assert name == "libnvidia-ml.so.1"
        self.opened += 1
        return self

    def nvmlInit_v2(self) -> int:
        return self.init

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.held)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:
        device._obj.value = index + 1
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(
        self, device: ctypes.c_void_p, count: Any, infos: Any
    ) -> int:
        held = self.held[(device.value or 0) - 1]
        room, count._obj.value = count._obj.value, len(held)
        if room < len(held):
            return 7
        for info, (pid, size) in zip(infos, held.items(), strict=False):
            info.pid, info.used_gpu_memory = pid, size
        return 0


def test_what_a_process_holds_on_all_gpus_is_added_up() -> None:
    devices = DeviceMemory(Library({7: 100, 8: 5}, {7: 11}))
    assert devices.byte_size(7) is None  # not asked yet
    devices.refresh()
    assert (devices.byte_size(7), devices.byte_size(8), devices.byte_size(9)) == (111, 5, 0)


def test_more_processes_than_expected_are_asked_for_again() -> None:
    devices = DeviceMemory(Library({pid: pid for pid in range(1, 1001)}))
    devices.refresh()
    assert devices.byte_size(1000) == 1000


def test_memory_that_the_driver_does_not_account_is_not_added() -> None:
    devices = DeviceMemory(Library({7: _NOT_AVAILABLE}))
    devices.refresh()
    assert devices.byte_size(7) == 0


def test_without_a_driver_nothing_is_said_of_devices() -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    for library in (missing, Library({7: 1}, init=9), Library()):
        devices = DeviceMemory(library)
        devices.refresh()
        assert set(memory_of(os.getpid(), devices)) == {
            "resident_byte_size",
            "proportional_byte_size",
        }


def test_the_library_is_looked_for_once() -> None:
    library = Library({7: 1}, init=9)
    devices = DeviceMemory(library)
    for _ in range(3):
        devices.refresh()
    assert library.opened == 1


def test_a_process_that_is_gone_holds_nothing() -> None:
    figures = memory_of(2**22 + 1, DeviceMemory(Library()))
    assert figures == {"resident_byte_size": 0, "proportional_byte_size": 0}


def test_proportional_memory_is_no_more_than_resident_memory() -> None:
    figures = memory_of(os.getpid(), DeviceMemory(Library()))
    assert 0 < figures["proportional_byte_size"] <= figures["resident_byte_size"]
