"""What a process prints, made into lines within bounds."""

from __future__ import annotations

from pyserver.observe.output_budget import BURST_BYTES, BURST_LINES, LINES_PER_S
from pyserver.observe.output_lines import LAST_DROPPED_LINES, MAX_LINE_BYTES, OutputLines


def test_lines_come_when_they_end_however_they_were_cut() -> None:
    whole = OutputLines()
    assert whole.feed(b"one\ntwo\n\nthr", 0.0) == ["one", "two", ""]
    assert whole.feed(b"ee\r\nfour", 0.1) == ["three"]
    assert whole.waiting
    assert whole.finish() == ["four"]
    bytewise = OutputLines()
    got = [line for byte in b"one\ntwo\n" for line in bytewise.feed(bytes([byte]), 0.0)]
    assert got == ["one", "two"] and not bytewise.waiting


def test_a_line_without_an_end_is_told_after_a_second() -> None:
    lines = OutputLines()
    assert lines.feed(b"are you there? ", 5.0) == []
    assert lines.tick(5.5) == []
    assert lines.tick(6.0) == ["are you there? "]
    assert not lines.waiting


def test_a_progress_bar_is_told_as_it_stands() -> None:
    lines = OutputLines()
    for percent in range(10_000):
        assert lines.feed(b"\r%d %%" % percent, 0.0) == []
    assert lines.tick(1.0) == ["9999 %"]
    assert lines.feed(b"\rready\r\n", 1.1) == ["ready"]


def test_a_long_line_is_cut_and_says_so() -> None:
    lines = OutputLines()
    (line,) = lines.feed(b"x" * (MAX_LINE_BYTES + 5) + b"\n", 0.0)
    assert line == "x" * MAX_LINE_BYTES + "... (5 bytes more)"
    assert lines.feed(b"short\n", 0.0) == ["short"]
    for _ in range(100):
        lines.feed(b"y" * MAX_LINE_BYTES, 0.0)
    (line,) = lines.finish()
    assert line.endswith(f"({99 * MAX_LINE_BYTES} bytes more)")


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    assert OutputLines().feed(b"\xff\xfe\n", 0.0) == ["��"]


def test_a_flood_is_dropped_and_counted() -> None:
    lines = OutputLines()
    passed = lines.feed(b"a\n" * (BURST_LINES + 10), 0.0)
    assert len(passed) == BURST_LINES
    for turn in range(50):
        assert lines.feed(b"a\n" * 100, turn / 100) == []
    assert lines.tick(0.9) == []
    (notice,) = lines.tick(1.0)
    assert notice.startswith(f"{10 + 5000} lines ({2 * 5010} bytes) of output were dropped")
    again = lines.feed(b"a\n" * 5000, 1.0)
    assert 0 <= LINES_PER_S - len(again) <= 1
    notice, *_ = lines.finish()
    assert notice.startswith(f"{5000 - len(again)} lines")


def test_a_gigabyte_costs_a_few_lines_and_no_memory() -> None:
    lines = OutputLines()
    chunk = (b"z" * 1023 + b"\n") * 64
    told = sum(len(line) for turn in range(16_384) for line in lines.feed(chunk, turn / 8192))
    told += sum(len(line) for line in lines.finish())
    assert told < 2 * BURST_BYTES
    assert not lines.waiting


def test_the_last_words_in_a_flood_are_told_at_the_end() -> None:
    lines = OutputLines()
    lines.feed(b"a\n" * (BURST_LINES + 100), 0.0)
    lines.feed(b"why it\nended\n", 0.1)
    notice, *last = lines.finish()
    assert notice.startswith("102 lines") and last[-2:] == ["why it", "ended"]
    assert len(last) == LAST_DROPPED_LINES
    assert OutputLines().finish() == []
