"""What counts as worse between two files of results."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.report import compare
from bench.report.compare import Outcome, Verdict
from bench.report.figures import Spread
from bench.results import Fact, Results, Round
from tests.bench.made_up import BOTH, HEADER, fact_of, results_of, round_of, rounds_of


def _verdict(verdicts: list[Verdict], figure: str) -> Verdict:
    (found,) = [one for one in verdicts if one.figure == figure]
    return found


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ([10, 11, 12], [10, 11, 12], Outcome.SAME),
        ([10, 11, 12], [13, 14, 15], Outcome.WORSE),
        ([13, 14, 15], [10, 11, 12], Outcome.BETTER),
        ([10, 11, 13], [13, 14, 15], Outcome.SAME),  # the ranges touch
        ([10.0, 10.1, 10.2], [10.5, 10.6, 10.7], Outcome.SAME),  # less than a tenth
        ([10], [11.1], Outcome.WORSE),
        ([0], [1], Outcome.WORSE),
        ([1], [0], Outcome.BETTER),
        ([0], [0], Outcome.SAME),
    ],
)
def test_worse_is_beyond_what_is_allowed_and_outside_the_old_range(
    old: list[float], new: list[float], wanted: Outcome
) -> None:
    before, after = (results_of(rounds_of("pyserver", cpu)) for cpu in (old, new))
    verdict = _verdict(compare.compare(before, after, 1.10), "CPU µs/request")
    assert (verdict.outcome, verdict.relative) == (wanted, False)


@pytest.mark.parametrize(
    ("change", "figure", "wanted"),
    [
        ({"per_second": 500.0}, "requests/s", Outcome.WORSE),
        ({"per_second": 2000.0}, "requests/s", Outcome.BETTER),
        ({"per_second": 0.0}, "requests/s", Outcome.WORSE),
        ({"p50_us": 200.0}, "p50 µs", Outcome.WORSE),
        ({"p99_us": 100.0}, "p99 µs", Outcome.BETTER),
        ({"p99_us": None}, "p99 µs", Outcome.ONLY_OLD),
        ({"bad": 1}, "bad answers", Outcome.WORSE),
    ],
)
def test_every_figure_knows_its_good_direction(
    change: dict[str, float], figure: str, wanted: Outcome
) -> None:
    one = round_of()
    verdicts = compare.compare(
        results_of([one]), results_of([dataclasses.replace(one, **change)]), 1.10
    )
    assert _verdict(verdicts, figure).outcome is wanted
    others = [verdict for verdict in verdicts if verdict.figure != figure]
    assert {verdict.outcome for verdict in others} == {Outcome.SAME}


@pytest.mark.parametrize(
    ("old", "new", "wanted"), [(0, 0, None), (0, 9, "worse"), (9, 0, "better"), (2, 9, None)]
)
def test_bad_answers_count_where_there_were_none(old: int, new: int, wanted: str | None) -> None:
    before, after = (results_of([round_of(bad=bad)]) for bad in (old, new))
    verdicts = compare.compare(before, after, 1.10)
    found = [one.outcome.value for one in verdicts if one.figure == "bad answers"]
    assert found == ([wanted] if wanted else [])
    assert all(one.spoiled for one in verdicts if one.figure == "p50 µs") is bool(old or new)


def _slower(rounds: tuple[Round, ...], factor: float, *targets: str) -> list[Round]:
    return [
        dataclasses.replace(one, cpu_us=one.cpu_us * factor) if one.target in targets else one
        for one in rounds
    ]


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        (("pyserver", "triton"), Outcome.SAME),  # the machine is slower
        (("pyserver",), Outcome.WORSE),
        (("triton",), Outcome.BETTER),
    ],
)
def test_where_both_files_have_triton_the_ratio_decides(
    targets: tuple[str, ...], wanted: Outcome
) -> None:
    new = dataclasses.replace(BOTH, rounds=tuple(_slower(BOTH.rounds, 2, *targets)))
    verdict = _verdict(compare.compare(BOTH, new, 1.10), "CPU µs/request")
    assert (verdict.outcome, verdict.relative) == (wanted, True)
    assert verdict.old == Spread(0.22, 0.2, 0.3)


def test_where_one_file_lacks_triton_the_figures_decide() -> None:
    alone = results_of(one for one in BOTH.rounds if one.target == "pyserver")
    for old, new in ((BOTH, alone), (alone, BOTH)):
        assert not _verdict(compare.compare(old, new, 1.10), "CPU µs/request").relative


@pytest.mark.parametrize(
    ("old", "new", "unit", "wanted"),
    [
        ([1.0], [1.2], "s", Outcome.WORSE),
        ([1.0], [1.2], "answers/s", Outcome.BETTER),
        ([1.0, 1.3], [1.2, 1.4], "s", Outcome.SAME),
        ([100.0], [105.0], "MiB", Outcome.SAME),
    ],
)
def test_facts_are_judged_alike(
    old: list[float], new: list[float], unit: str, wanted: Outcome
) -> None:
    def made(values: list[float]) -> Results:
        return results_of(facts=[fact_of("pyserver", value, unit=unit) for value in values])

    assert _verdict(compare.compare(made(old), made(new), 1.10), unit).outcome is wanted


def test_what_is_in_one_file_only_is_said_and_is_not_worse() -> None:
    old = results_of([round_of(scenario="a"), round_of(scenario="b")])
    new = results_of([round_of(scenario="b")], [fact_of("pyserver", 1.0)])
    verdicts = compare.compare(old, new, 1.10)
    found = [(one.title, one.outcome) for one in verdicts if one.outcome is not Outcome.SAME]
    assert found == [
        ("identity over a", Outcome.ONLY_OLD),
        ("the start", Outcome.ONLY_NEW),
    ]


def test_only_pyserver_is_judged() -> None:
    old = results_of(rounds_of("triton", [10]), [fact_of("mosec", 1.0)])
    assert compare.compare(old, results_of(rounds_of("triton", [90])), 1.10) == []


@pytest.mark.parametrize("allowed", [0.9, 0, -1, float("nan")])
def test_a_factor_below_one_is_refused(allowed: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        compare.compare(BOTH, BOTH, allowed)


def _files(folder: Path, old: Results, new: Results) -> tuple[Path, Path]:
    paths = folder / "old.json", folder / "new.json"
    for path, results in zip(paths, (old, new), strict=True):
        results.write(path)
    return paths


@pytest.mark.parametrize(
    ("factor", "allowed", "code"), [(1.0, 1.1, 0), (3.0, 1.1, 1), (3.0, 4.0, 0), (0.1, 1.1, 0)]
)
def test_the_exit_code_says_whether_anything_is_worse(
    tmp_path: Path, factor: float, allowed: float, code: int
) -> None:
    new = dataclasses.replace(BOTH, rounds=tuple(_slower(BOTH.rounds, factor, "pyserver")))
    assert compare.main(*_files(tmp_path, BOTH, new), allowed) == code


def test_the_text_counts_what_is_the_same_and_shows_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = {**HEADER.machine, "cores": "8", "load average": "9.99"}
    new = Results(
        dataclasses.replace(HEADER, machine=machine),
        tuple(_slower(BOTH.rounds, 3, "pyserver")),
        (*BOTH.facts, Fact("Size", "size", "installed", "pyserver", 7.0, "MiB")),
    )
    assert compare.main(*_files(tmp_path, BOTH, new)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "machines differ: cores 2 -> 8; so only ratios say much"
    table = [" ".join(line.split()) for line in lines[5:]]
    assert table == [
        "worse identity over http-1 wrk, 1 connection CPU µs/request"
        " 0.22 (0.20-0.30) 0.66 (0.60-0.90) 3.00 ratio to Triton",
        "only in the new file installed",
        "",
        "1 worse, 4 same, 1 only in the new file",
    ]


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"header": {}}', "\udcff"])
def test_an_unreadable_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    old, new = _files(tmp_path, BOTH, BOTH)
    new.unlink()
    if text is not None:
        new.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert compare.main(old, new) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert str(new) in shown.err
