"""The tables that people read."""

from __future__ import annotations

import dataclasses

from bench.report import markdown
from tests.bench.made_up import BOTH, fact_of, results_of, round_of, rounds_of

_FULL = """\
Measured on 2026-11-28 19:07 UTC with `python -m bench`.
Machine: processor Any CPU; cores 2; load average 0.10 0.20 0.30.
Versions: pyserver 0.1.0; triton 2.51.0.

### Small tensors

| scenario | load | server | requests/s | CPU µs/request | p50 µs | p99 µs | p99.9 µs | switches/request | RSS MiB | bad |
|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
| identity over http-1 | wrk, 1 connection | pyserver | 1,000 | 11 | 100 | 200 | - | 2.00 | 150 | 0 |
| identity over http-1 | wrk, 1 connection | triton | 1,000 | 50 | 100 | 200 | - | 2.00 | 150 | 0 |
| identity over http-1 | wrk, 1 connection | **pyserver / triton** | 1.00 | 0.22 (0.20-0.30) | 1.00 | 1.00 | - | 1.00 | 1.00 |  |

### Start

|  | pyserver | triton | **pyserver / triton** |
|---|--:|--:|--:|
| the start | 0.60 s | 1.20 s | 0.50 |
"""  # noqa: E501

_SUMMARY = """\
Measured on 2026-11-28 with `python -m bench`: Any CPU, 2 cores. Medians of rounds in turns, 3 of each; \
a ratio is pyserver's figure over Triton's, round by round, with its range.

|  | load | pyserver CPU µs/request | Triton | ratio | pyserver p50 µs | Triton | ratio |
|---|---|--:|--:|--:|--:|--:|--:|
| **Small tensors** |  |  |  |  |  |  |  |
| identity over http-1 | wrk, 1 connection | 11 | 50 | 0.22 (0.20-0.30) | 100 | 100 | 1.00 |

|  | pyserver | Triton | ratio |
|---|--:|--:|--:|
| the start | 0.60 s | 1.20 s | 0.50 |
"""  # noqa: E501


def test_the_full_text_has_every_figure_with_the_ratio_below() -> None:
    assert markdown.full(BOTH) == _FULL


def test_the_summary_has_cost_and_latency_of_both_servers() -> None:
    assert markdown.summary(BOTH) == _SUMMARY


def test_the_summary_leaves_out_what_only_one_server_was_asked() -> None:
    alone = results_of(
        [*BOTH.rounds, *rounds_of("pyserver", [1.0], "alone")],
        [*BOTH.facts, fact_of("pyserver", 1.0, scenario="alone")],
    )
    assert "alone" not in markdown.summary(alone)
    assert "alone" in markdown.full(alone)


def test_without_triton_there_is_no_ratio() -> None:
    alone = results_of(rounds_of("pyserver", [1.0]), [fact_of("pyserver", 1.0)])
    assert "pyserver / triton" not in markdown.full(alone)


def test_every_other_server_has_its_ratio() -> None:
    third = results_of([*BOTH.rounds, *rounds_of("mosec", [25, 20, 25])])
    assert "| **mosec / triton** | 1.00 | 0.50 |" in markdown.full(third)


def test_bad_answers_are_marked_wherever_their_rounds_are_used() -> None:
    spoiled = results_of([*BOTH.rounds[:-1], round_of("triton", 2, 50, bad=7)])
    lines = [line for line in markdown.full(spoiled).splitlines() if "†" in line]
    assert [line.rsplit("|", 2)[1].strip() for line in lines[:-1]] == [
        "**7** in 1 of 3 rounds †",
        "†",
    ]
    assert lines[-1].startswith("† ")
    assert "| wrk, 1 connection † |" in markdown.summary(spoiled)
    assert "†" not in markdown.full(BOTH)


def test_a_bar_in_a_title_does_not_end_its_cell() -> None:
    barred = dataclasses.replace(fact_of("pyserver", 1.0), title="a|b")
    assert "| a\\|b |" in markdown.full(results_of(facts=[barred]))


def test_nothing_measured_is_a_header_alone() -> None:
    assert markdown.full(results_of()) == _FULL.partition("\n\n")[0] + "\n"
    assert markdown.summary(results_of()).count("\n") == 1
