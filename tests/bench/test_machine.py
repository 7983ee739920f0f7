"""What the header of a run says about its machine."""

from __future__ import annotations

import re

import pytest

from bench.report import machine


@pytest.mark.parametrize(
    ("cpuinfo", "wanted"),
    [
        ("processor\t: 0\nmodel name\t: AMD  EPYC 7B13\nflags: x\n", "AMD EPYC 7B13"),
        ("model name\t: One\n\nmodel name\t: Two\n", "One"),
        ("processor\t: 0\nBogoMIPS\t: 243.75\n", None),
        ("", None),
    ],
)
def test_the_processor_is_the_model_of_the_first_core(cpuinfo: str, wanted: str | None) -> None:
    assert machine.processor(cpuinfo) == wanted


@pytest.mark.parametrize(
    ("meminfo", "wanted"),
    [("MemTotal:       8167848 kB\nMemFree:  1 kB\n", "7.8 GiB"), ("MemFree: 1 kB\n", None)],
)
def test_the_memory_is_all_there_is(meminfo: str, wanted: str | None) -> None:
    assert machine.memory(meminfo) == wanted


def test_a_header_has_the_date_to_the_minute_and_every_property() -> None:
    made = machine.header("python -m bench", {"pyserver": "0.1.0"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", made.date)
    assert (made.command, made.versions) == ("python -m bench", {"pyserver": "0.1.0"})
    names = ["processor", "cores", "memory", "kernel", "system", machine.LOAD_AVERAGE]
    assert list(made.machine) == names
    assert all(made.machine.values())
