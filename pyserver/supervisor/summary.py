"""The start-up summary: tables of models, options and processes, as Triton prints them; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyserver
from pyserver.settings import Settings


def startup_summary(
    summary: Mapping[str, Any],
    settings: Settings,
    *,
    processes: Mapping[str, int],
    addresses: Mapping[str, str] | None = None,
) -> str:
    """The tables that are logged once, when every model has loaded or failed to.

    `summary` is core's: {"models": [{"name", "version", "state", "reason"}], "backends": [{"name",
    "detail"}], "memory": {label: bytes}}; each part may be missing.
    """
    tables = []
    backends = summary.get("backends") or []
    if backends:
        rows = [(str(one.get("name", "")), str(one.get("detail", ""))) for one in backends]
        tables.append(table(("Backend", "Detail"), rows))
    tables.append(table(("Model", "Version", "Status"), _model_rows(summary)))
    options = {
        "server_id": settings.id,
        "server_version": pyserver.__version__,
        **{
            f"model_repository_path[{index}]": path
            for index, path in enumerate(settings.model_repository)
        },
        "model_control_mode": settings.model_control_mode,
        "strict_model_config": int(settings.disable_auto_complete_config),
        "model_config_name": settings.model_config_name,
        "strict_readiness": int(settings.strict_readiness),
        "exit_timeout": settings.exit_timeout_secs,
        "region_byte_size": size(settings.region_byte_size),
    }
    options |= {f"address[{protocol}]": at for protocol, at in (addresses or {}).items()}
    options |= {f"processes[{role}]": count for role, count in processes.items()}
    options |= {
        f"memory[{label}]": size(count) if isinstance(count, int) else str(count)
        for label, count in (summary.get("memory") or {}).items()
    }
    tables.append(table(("Option", "Value"), [(key, str(value)) for key, value in options.items()]))
    return "\n\n".join(tables)


def models_line(summary: Mapping[str, Any]) -> str:
    """How many models are ready, in a few words."""
    states = [str(one.get("state", "")) for one in summary.get("models") or []]
    ready = sum(state == "READY" for state in states)
    return f"{ready} of {len(states)} model versions are ready"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A box of columns, each as wide as its widest cell; line breaks in cells become spaces."""
    clean = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (heads, *clean)) for column in range(len(heads))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: Sequence[str]) -> str:
        padded = (f" {cell:<{width}} " for cell, width in zip(cells, widths, strict=True))
        return "|" + "|".join(padded) + "|"

    return "\n".join([rule, line(heads), rule, *(line(row) for row in clean), rule])


def size(count: int) -> str:
    """Bytes for people: 1536 is 1.5 KiB."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def _model_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for model in summary.get("models") or []:
        state, reason = str(model.get("state", "")), str(model.get("reason") or "")
        version = str(model.get("version") or "-")
        status = f"{state}: {reason}" if reason else state
        rows.append((str(model.get("name", "")), version, status))
    return rows
