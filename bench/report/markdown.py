"""Results as Markdown: every figure in tables for bench/, and a summary for the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import numbers
from bench.report.figures import (
    CPU,
    FIGURES,
    P50,
    PYSERVER,
    TRITON,
    Measure,
    Scenario,
    measures,
    scenarios,
    sections,
)
from bench.results import Header, Results

RIGHT, LEFT = "--:", "---"
_RATIO = f"{PYSERVER} / {TRITON}"
_SPOILED = f"{numbers.SPOILED} Of rounds with answers that were bad, so not to be relied on."


def full(results: Results) -> str:
    """The header, then a table of the loads and one of the facts for each section."""
    parts = [_header(results.header)]
    found, facts = scenarios(results.rounds), measures(results.facts)
    for section in sections(results):
        parts.append(f"### {section}")
        here = [one for one in found if one.section == section]
        if here:
            parts.append(_loads(here))
        measured = [one for one in facts if one.section == section]
        if measured:
            parts.append(_facts(measured))
    return _joined(parts)


def summary(results: Results) -> str:
    """What pyserver and Triton were both asked: cost, median latency and facts."""
    parts = [f"Measured on {_day(results.header)} with `{results.header.command}`: {_how(results)}"]
    both = [one for one in scenarios(results.rounds) if {PYSERVER, TRITON} <= set(one.targets)]
    if both:
        parts.append(_summary_of_loads(both))
    facts = [one for one in measures(results.facts) if {PYSERVER, TRITON} <= set(one.values)]
    if facts:
        parts.append(markdown_table([("", LEFT), *_PAIR], map(_fact_cells, facts)))
    return _joined(parts)


def _day(header: Header) -> str:
    return header.date.partition("T")[0]


def _header(header: Header) -> str:
    """One sentence for when and how, one for where, one for what."""
    when = header.date.replace("T", " ").replace("Z", " UTC")
    said = [f"Measured on {when} with `{header.command}`."]
    for title, properties in (("Machine", header.machine), ("Versions", header.versions)):
        if properties:
            said.append(f"{title}: " + "; ".join(f"{k} {v}" for k, v in properties.items()) + ".")
    return "\n".join(said)


def _how(results: Results) -> str:
    counts = [len(one) for found in scenarios(results.rounds) for one in found.rounds.values()]
    machine = results.header.machine
    where = [machine[name] for name in ("processor", "system") if name in machine]
    if "cores" in machine:
        where.insert(1, f"{machine['cores']} cores")
    said = ", ".join(where) or "some machine"
    if counts:
        least, most = min(counts), max(counts)
        rounds = f"{most}" if least == most else f"{least} to {most}"
        said += (
            f". Medians of rounds in turns, {rounds} of each; a ratio is pyserver's figure over"
            " Triton's, round by round, with its range"
        )
    return said + "."


def _loads(found: Sequence[Scenario]) -> str:
    """A line for each scenario and target, then each target's ratio to Triton."""
    columns = [("scenario", LEFT), ("load", LEFT), ("server", LEFT)]
    columns += [(figure.title, RIGHT) for figure in FIGURES] + [("bad", RIGHT)]
    lines = []
    for one in found:
        lines += [_target_cells(one, target) for target in one.targets]
        lines += [
            _ratio_cells(one, target)
            for target in one.targets
            if target != TRITON and TRITON in one.targets
        ]
    return markdown_table(columns, lines)


def _target_cells(one: Scenario, target: str) -> list[str]:
    figures = [numbers.median(one.spread(target, figure)) for figure in FIGURES]
    bad, spoiled = one.bad(target), one.spoiled(target)
    if spoiled:
        text = f"**{bad:,}** in {spoiled} of {len(one.rounds[target])} rounds {numbers.SPOILED}"
    else:
        text = "0"
    return [one.title, one.rounds[target][0].load, target, *figures, text]


def _ratio_cells(one: Scenario, target: str) -> list[str]:
    ratios = [numbers.ratio(one.ratio(target, figure)) for figure in FIGURES]
    return [one.title, one.load, f"**{target} / {TRITON}**", *ratios, _mark(one, target).strip()]


def _mark(one: Scenario, *targets: str) -> str:
    """What stands behind figures of which these targets' rounds, or Triton's, are spoiled."""
    return f" {numbers.SPOILED}" if any(map(one.spoiled, (*targets, TRITON))) else ""


def _facts(found: Sequence[Measure]) -> str:
    targets = list(dict.fromkeys(target for one in found for target in one.values))
    compared = {PYSERVER, TRITON} <= set(targets)
    columns = [("", LEFT), *((target, RIGHT) for target in targets)]
    if compared:
        columns.append((f"**{_RATIO}**", RIGHT))
    lines = []
    for one in found:
        cells = [one.title, *(_with_unit(one, target) for target in targets)]
        lines.append([*cells, numbers.ratio(one.ratio(PYSERVER))] if compared else cells)
    return markdown_table(columns, lines)


def _with_unit(one: Measure, target: str) -> str:
    if target not in one.values:
        return numbers.NOTHING
    return f"{numbers.median(one.values[target])} {one.unit}"


_PAIR = [(PYSERVER, RIGHT), ("Triton", RIGHT), ("ratio", RIGHT)]


def _fact_cells(one: Measure) -> list[str]:
    values = [_with_unit(one, target) for target in (PYSERVER, TRITON)]
    return [one.title, *values, numbers.ratio(one.ratio(PYSERVER))]


def _summary_of_loads(found: Sequence[Scenario]) -> str:
    columns = [("", LEFT), ("load", LEFT)]
    for figure in (CPU, P50):
        columns += [(f"{PYSERVER} {figure.title}", RIGHT), *_PAIR[1:]]
    lines: list[list[str]] = []
    section = None
    for one in found:
        if one.section != section:
            section = one.section
            lines.append([f"**{section}**", *[""] * (len(columns) - 1)])
        cells = [one.title, one.load + _mark(one, PYSERVER)]
        for figure in (CPU, P50):
            cells += [numbers.median(one.spread(target, figure)) for target in (PYSERVER, TRITON)]
            cells.append(numbers.ratio(one.ratio(PYSERVER, figure)))
        lines.append(cells)
    return markdown_table(columns, lines)


def markdown_table(columns: Sequence[tuple[str, str]], lines: Iterable[Sequence[str]]) -> str:
    """Columns are titles with what aligns them."""
    heads, rules = zip(*columns, strict=True)
    rows = [_row(heads), "|" + "|".join(rules) + "|", *map(_row, lines)]
    return "\n".join(rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _joined(parts: list[str]) -> str:
    if any(numbers.SPOILED in part for part in parts):
        parts = [*parts, _SPOILED]
    return "\n\n".join(parts) + "\n"
