"""The parser that goes on after mistakes: it agrees with protobuf's, finds its way in anything, and
its corrections are ones that protobuf takes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from google.protobuf import text_format

from pyserver.check.config_text import ConfigText
from pyserver.config.model_config_pb2 import ModelConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path
    for top in ("model_repository", "tests/oracle", "tests/e2e", "tests/check/correct_models")
    for path in (ROOT / top).rglob("config.pbtxt")
)


def _text(content: str) -> ConfigText:
    return ConfigText(Path("config.pbtxt"), content.encode())


def _protobuf_takes(text: str) -> bool:
    try:
        text_format.Parse(text, ModelConfig())
    except text_format.ParseError:
        return False
    return True


def _corrected(text: ConfigText) -> str:
    return text.corrected([edit for flaw in text.flaws for edit in flaw.edits])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_protobuf_takes_has_no_flaws(path: Path) -> None:
    content = path.read_text()
    assert (_text(content).flaws == ()) == _protobuf_takes(content)


ODD = (
    "",
    "# only a remark",
    'name: "a" "b"',
    "name: 'a\"b'",
    "max_batch_size: 0x10",
    "max_batch_size: 010",
    "version_policy: { all: { } }",
    "version_policy < all { } >",
    "input: [ ]",
    "input { dims: [ ] }",
    "input { dims: 1 dims: 2, dims: 3; }",
    "input [ { name: 'x' }, < name: 'y' > ]",
    "parameters: { key: 'a' value: { string_value: 'b' } }",
    "parameters [ { key: 'a' value { string_value: 'b' } } ]",
    "model_metrics { metric_control { histogram_options { buckets: [ 1, .5, 1e3, inf, 2.f ] } } }",
    "dynamic_batching { preserve_ordering: t }",
    "input { data_type: 11 }",
)


@pytest.mark.parametrize("content", ODD)
def test_odd_but_right_text_has_no_flaws(content: str) -> None:
    assert _protobuf_takes(content)
    assert _text(content).flaws == ()


BROKEN = (
    "max_batch_sise: 8",
    "name: 8",
    "input { dims: [ 1, 2 }",
    "input { dims: [ 1 2 ] }",
    "input [ { name: 'x' ] ",
    "input { name 'x' }",
    "input: 3",
    "max_batch_size { }",
    "max_batch_size: [ 1 ]",
    "name: 'x",
    "dynamic_batching { } }",
    "dims: : 3",
    "version_policy { latest { num_versions: -1 } }",
    "input { optional: maybe }",
    "] } >",
    "name:",
    "name",
    "[",
)


@pytest.mark.parametrize("content", BROKEN)
def test_what_protobuf_refuses_has_flaws_with_a_place_and_a_cure(content: str) -> None:
    assert not _protobuf_takes(content)
    text = _text(content)
    assert text.flaws
    for flaw in text.flaws:
        assert flaw.problem and flaw.wanted
        assert 0 <= flaw.start <= len(content)


def test_paths_lead_to_lines() -> None:
    text = _text(
        'name: "m"\ninput [\n  { name: "A" },\n  { name: "B"\n    dims: [ 1,\n 2 ] }\n]\n'
        'input { name: "C" }\nparameters { key: "k"\n value { string_value: "v" } }\n'
    )
    assert text.where(("input", 1, "dims", 1)).line == 6
    assert text.where(("input", 2, "name")).line == 8
    assert text.where(("parameters", "k", "value", "string_value")).line == 10
    assert text.where(("input", 1, "data_type")).line == 4  # what is missing: its block
    assert text.where(("output", 0)).line == 1
    assert (text.where(("input", 0, "name")).line, text.where(("input", 0, "name")).column) == (
        3,
        5,
    )


def test_corrections_of_single_mistakes_are_what_protobuf_takes() -> None:
    """One character of a right config taken out: whatever is found, correcting it is progress."""
    content = (ROOT / "model_repository/minilm/config.pbtxt").read_text()
    taken = broken = 0
    for at in range(len(content)):
        text = _text(content[:at] + content[at + 1 :])
        if not text.flaws:
            assert _protobuf_takes(text.text)
            continue
        broken += 1
        taken += _protobuf_takes(_corrected(text))
    assert broken > 100
    assert taken > 0.9 * broken


@pytest.mark.parametrize("seed", range(40))
def test_nothing_stops_it(seed: int) -> None:
    """Pieces of configs, shuffled, repeated and cut: no exception, every place within the text."""
    chance = random.Random(seed)
    words = " ".join(path.read_text() for path in CONFIGS[:20]).split()
    signs = [*"{}[]<>:,;\"'#\n\x00é-.", "[" * 50, "{" * 200, '"', "0x", "1e", "-"]
    for _ in range(25):
        parts = [chance.choice(words if chance.random() < 0.7 else signs) for _ in range(60)]
        text = _text(chance.choice((" ", "", "\n")).join(parts))
        for flaw in text.flaws:
            place = text.place(flaw.start)
            assert 1 <= place.line <= text.text.count("\n") + 1
            text.block(flaw.start, flaw.edits)
        _corrected(text)
        if not text.flaws:
            assert _protobuf_takes(text.text)


def test_a_file_that_is_no_config_is_soon_given_up() -> None:
    text = _text("{ x: ] " * 100_000)
    assert 0 < len(text.flaws) <= 110
