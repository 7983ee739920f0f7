"""Must-show 7: of each wrong model every mistake is found, with file, line and cure; of correct
ones none. One check, and with it one server, for all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserver.check.checking import Request, check
from pyserver.check.findings import Finding, Report, Severity
from tests.check.repository import CORRECT, MODELS, WRONG, Expected, expected, lay_out, names


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    repository = lay_out(tmp_path_factory.mktemp("models"), WRONG, CORRECT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without GPUs, wherever this runs
        return check(Request(repository))


def _of(report: Report, name: str) -> list[Finding]:
    return [one for one in report.findings if one.model == name]


def _fits(found: Finding, wanted: Expected, name: str) -> bool:
    return (
        found.severity == wanted.severity
        and Path(found.file).parts[-len(Path(name, wanted.file).parts) :]
        == Path(name, wanted.file).parts
        and found.line == wanted.line
        and wanted.problem in found.problem
        and wanted.cure in found.wanted
        and wanted.block in found.block
    )


def test_there_are_enough_wrong_models() -> None:
    assert len(names(WRONG)) >= 25


@pytest.mark.parametrize("name", names(WRONG))
def test_each_mistake_is_found_and_nothing_else_is(report: Report, name: str) -> None:
    found = _of(report, name)
    told = "\n".join(one.to_text() for one in found)
    for wanted in expected(name):
        assert any(_fits(one, wanted, name) for one in found), f"no {wanted} in\n{told}"
    assert len(found) == len(expected(name)), told


@pytest.mark.parametrize("name", names(WRONG))
def test_each_message_names_file_line_and_cure(report: Report, name: str) -> None:
    for found in _of(report, name):
        first = found.to_text().splitlines()[0]
        assert first.startswith(f"{found.file}:{found.line}" if found.line else found.file)
        assert f"; {found.wanted.splitlines()[0]}" in first
        assert found.problem and found.wanted


@pytest.mark.parametrize("name", names(CORRECT))
def test_correct_models_have_no_mistakes(report: Report, name: str) -> None:
    assert [one.to_text() for one in _of(report, name)] == []


def test_the_summary_counts(report: Report) -> None:
    assert report.summary().startswith(f"{len(names(WRONG)) + len(names(CORRECT))} models, ")
    wanted = [one for name in names(WRONG) for one in expected(name)]
    assert len(report.mistakes) == sum(one.severity == "mistake" for one in wanted)
    assert len(report.warnings) == sum(one.severity == "warning" for one in wanted)


def test_only_what_needs_a_gpu_was_not_asked(report: Report) -> None:
    assert [note.split(":")[0] for note in report.notes] == ["model 'warns_of_gpu'"]


def test_the_models_of_this_repository_have_no_mistakes() -> None:
    """Those whose weights are here: others come with `make demo`."""
    present = tuple(
        name
        for name in names(MODELS)
        if (MODELS / name / "1").is_dir()
        and (
            "onnxruntime" not in (MODELS / name / "config.pbtxt").read_text()
            or (MODELS / name / "1" / "model.onnx").exists()
        )
    )
    assert {"add_sub", "identity", "identity_bytes", "python_add_sub"} <= set(present)
    findings = check(Request(MODELS, present)).findings
    # Of those that demand other values than zeros and ones a warning says so.
    mistakes = [one for one in findings if one.severity is not Severity.WARNING]
    assert [one.to_text() for one in mistakes] == []
