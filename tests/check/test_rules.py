"""On every config that the real Triton was asked about (tests/config/cases.txt), a check and a load
agree; and a check knows the place of every rule's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserver.check.findings import Finding, Severity
from pyserver.check.folder import look_at_folder
from pyserver.check.rules import judge_tensors, read_subject
from pyserver.check.syntax import Edit
from pyserver.config.load import finish, load_config
from pyserver.errors import ServerError
from tests.config.cases import CASES, Case

# Which backends there are is not a matter of the configuration alone.
NOT_THE_CONFIGS = {"with.dot", "pair_openvino_any", "backend_unknown"}
# Found where nothing stands, so that the file's first line is the place.
MISSING = ("determine backend", "ensemble scheduling", "unable to find backend")
# Two steps that feed only each other: to leave one out is not enough.
IN_A_LOOP = {"tensor_loop"}


def _refused(case: Case, folder: Path) -> bool:
    try:
        loaded = load_config(case.name, folder, config_name=None, gpu_count=0)
        finish(loaded.message, gpu_count=0, model_dir=folder)
    except ServerError:
        return True
    return False


def _found(case: Case, folder: Path) -> list[Finding]:
    subject = read_subject(case.name, folder, gpu_count=0)
    look_at_folder(subject)
    if subject.config is not None:
        judge_tensors(subject, subject.config)
    # Without a GPU, what needs one is a warning.
    return [
        one
        for one in subject.findings
        if one.severity is Severity.MISTAKE or "gpu" in one.problem.lower()
    ]


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.changes], ids=lambda case: case.name
)
def test_a_check_finds_a_mistake_where_a_load_is_refused(case: Case, tmp_path: Path) -> None:
    folder = case.write(tmp_path, "")
    found = _found(case, folder)
    assert bool(found) == (_refused(case, folder) or case.name in NOT_THE_CONFIGS)
    for one in found:
        assert one.wanted != "correct the config", f"places.py has no row for: {one.problem}"
        if one.line == 1 and one.column == 1:
            first = (folder / "config.pbtxt").read_text().split(":")[0]
            assert first in one.problem + one.wanted or any(t in one.problem for t in MISSING)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.config and case.name not in IN_A_LOOP],
    ids=lambda case: case.name,
)
def test_what_is_corrected_is_not_told_again(case: Case, tmp_path: Path) -> None:
    folder = case.write(tmp_path, "")
    file = folder / "config.pbtxt"
    text, found = file.read_text(), _found(case, folder)
    for one in found:
        if one.edits:
            file.write_text(_apply(text, one.edits))
            again = [other.problem for other in _found(case, folder)]
            before = [other.problem for other in found]
            assert again.count(one.problem) < before.count(one.problem), file.read_text()


def _apply(text: str, edits: tuple[Edit, ...]) -> str:
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
