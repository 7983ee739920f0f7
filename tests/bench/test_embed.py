"""Tables between marker lines, and that those of this repository are current."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import embed, markdown
from tests.bench.made_up import BOTH, results_of

ROOT = Path(__file__).resolve().parents[2]
_BEGIN = "<!-- bench: summary results/a.json -->\n"
_END = "<!-- /bench -->\n"


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """A Markdown file beside results/a.json; a test writes it."""
    (tmp_path / "results").mkdir()
    BOTH.write(tmp_path / "results" / "a.json")
    return tmp_path / "README.md"


@pytest.mark.parametrize("name", ["README.md", "bench/README.md"])
def test_no_figure_of_this_repository_is_typed_by_hand(name: str) -> None:
    assert embed.is_current(ROOT / name), (
        f"{name}: run python -m bench report FILE to make its tables anew"
    )


@pytest.mark.parametrize("before", ["", "old\n", "\nold\n\n| a |\n"])
def test_what_stands_between_the_markers_is_made_anew(paper: Path, before: str) -> None:
    paper.write_text(f"# Title\n{_BEGIN}{before}{_END}after\n")
    assert not embed.is_current(paper)
    assert embed.update(paper)
    made = markdown.summary(BOTH)
    assert paper.read_text() == f"# Title\n{_BEGIN}\n{made}\n{_END}after\n"
    assert embed.is_current(paper)
    assert not embed.update(paper)


def test_each_block_has_its_own_table(paper: Path) -> None:
    results_of().write(paper.parent / "b.json")
    paper.write_text(f"{_BEGIN}{_END}\n<!-- bench: full b.json -->\n{_END}")
    embed.update(paper)
    text = paper.read_text()
    assert markdown.summary(BOTH) in text
    assert markdown.full(results_of()) in text


def test_blocks_can_be_pointed_to_newer_results(paper: Path) -> None:
    newer = paper.parent / "results" / "newer.json"
    newer.parent.mkdir(exist_ok=True)
    results_of().write(newer)
    paper.write_text(_BEGIN + _END)
    assert embed.update(paper, newer)
    assert "<!-- bench: summary results/newer.json -->" in paper.read_text()
    assert markdown.summary(results_of()) in paper.read_text()


def test_a_figure_changed_by_hand_is_seen(paper: Path) -> None:
    paper.write_text(_BEGIN + _END)
    embed.update(paper)
    paper.write_text(paper.read_text().replace("0.22", "0.12"))
    assert not embed.is_current(paper)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no block, no end of line",
        "```\n<!-- bench: summary none.json -->\n<!-- /bench -->\n```\n",
        "    <!-- bench: summary none.json -->\n",
    ],
)
def test_a_file_without_blocks_is_current(paper: Path, text: str) -> None:
    paper.write_text(text)
    assert embed.is_current(paper)
    assert not embed.update(paper)
    assert paper.read_text() == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (_BEGIN, "README.md:1: the block has no <!-- /bench -->"),
        ("a\n" + _BEGIN + _BEGIN + _END, "README.md:3: the block of line 2 has no"),
        (_END, "README.md:1: <!-- /bench --> ends no block"),
        ("<!-- bench: all results/a.json -->\n" + _END, "no table all; there are summary, full"),
        ("<!-- bench: summary -->\n" + _END, "README.md:1: <!-- bench: summary --> is not like"),
        ("<!-- bench: full b.json -->\n" + _END, "cannot read b.json: No such file"),
        ("<!-- bench: full README.md -->\n" + _END, "README.md is no file of results"),
    ],
)
def test_a_broken_block_is_refused_and_the_file_left_alone(
    paper: Path, text: str, wanted: str
) -> None:
    paper.write_text(text)
    for ask in (embed.update, embed.is_current):
        with pytest.raises(ValueError) as refused:
            ask(paper)
        assert wanted in str(refused.value)
    assert paper.read_text() == text
