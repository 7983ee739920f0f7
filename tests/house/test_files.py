"""The shape of files: length, first line, names, and what must never be in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 430  # house.md: about 400
GENERATED = ("_pb2.py", "_pb2.pyi")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
SOURCES = (".py", ".cc", ".h")


def _tracked() -> list[Path]:
    """Files under version control; in an unpacked archive, all files of the source folders."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        files = [ROOT / name for name in listed]
    except (OSError, subprocess.CalledProcessError):
        files = [
            p for top in ("pyserver", "csrc", "tests", "bench") for p in ROOT.glob(f"{top}/**/*")
        ]
    return [path for path in files if path.is_file()]


def _sources(*tops: str) -> list[Path]:
    return [
        path
        for path in _tracked()
        if path.suffix in SOURCES
        and path.relative_to(ROOT).parts[0] in tops
        and not path.name.endswith(GENERATED)
    ]


def _shown(paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def test_no_source_file_outgrows_its_reader() -> None:
    long = [p for p in _sources("pyserver", "csrc") if p.read_text().count("\n") > MOST_LINES]
    assert _shown(long) == []


def test_every_source_file_says_first_what_it_is_for() -> None:
    def speaks(path: Path) -> bool:
        text = path.read_text()
        return not text.strip() or text.startswith(('"""', 'r"""', "//", "#!", "# "))

    assert _shown([p for p in _sources("pyserver", "csrc") if not speaks(p)]) == []


def test_no_file_is_named_after_nothing() -> None:
    assert _shown([p for p in _sources("pyserver", "csrc") if p.stem in BANNED_NAMES]) == []


def test_every_package_is_one_that_setuptools_finds() -> None:
    folders = {path.parent for path in _tracked() if path.suffix == ".py"}
    packages = [p for p in folders if p.relative_to(ROOT).parts[:1] == ("pyserver",)]
    assert _shown([p for p in packages if not (p / "__init__.py").exists()]) == []


def test_headers_are_included_once() -> None:
    headers = [p for p in _sources("csrc") if p.suffix == ".h"]
    assert _shown([p for p in headers if "#pragma once" not in p.read_text()]) == []


def test_nothing_is_left_to_do_in_the_sources() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert _shown([p for p in _sources("pyserver", "csrc") if marks.search(p.read_text())]) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_papers_are_there_and_their_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
