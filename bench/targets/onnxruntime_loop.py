"""The process behind bench.targets.onnxruntime_direct: a model in a loop, and nothing around it.

Says `{"ready": true}` when it has run the model once. Then each line of its stdin is a Command as
JSON, and a line of its stdout the Report, or an object with an `error`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from bench import kserve

OUTPUT = "last_hidden_state"


@dataclass(frozen=True, slots=True)
class Command:
    """Run sentences of `tokens` for so long: `batch_size` in each call, from each of `threads`.
    `intra_op_threads` are onnxruntime's own for one call; 0 is its default, one for each core.
    With `spinning`, its default too, they wait for work busily.
    """

    seconds: float
    batch_size: int
    tokens: int
    threads: int = 1
    intra_op_threads: int = 0
    spinning: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """Latencies are of calls, which have `batch_size` rows each. `right` says that all values of
    the threads' last answers were there, and finite.
    """

    rows: int
    seconds: float
    p50_us: float
    p99_us: float
    p999_us: float
    right: bool


class Loop:
    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._sessions: dict[tuple[int, bool], Any] = {}

    def session(self, intra_op_threads: int, spinning: bool) -> Any:
        """Made once for each pair; those of earlier commands stay."""
        import onnxruntime  # not in the harness, which only wants the commands

        if (intra_op_threads, spinning) not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = intra_op_threads
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
            self._sessions[intra_op_threads, spinning] = onnxruntime.InferenceSession(
                self._weights, options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[intra_op_threads, spinning]

    def run(self, command: Command) -> Report:
        session = self.session(command.intra_op_threads, command.spinning)
        feed = {
            name: numpy.repeat(row, command.batch_size, axis=0)
            for name, row in kserve.tokens(command.tokens).items()
        }
        start = time.perf_counter()

        def calls(_: int) -> tuple[list[float], bool]:
            took: list[float] = []
            end = start + command.seconds
            before = time.perf_counter()
            while before < end or not took:
                (states,) = session.run([OUTPUT], feed)
                after = time.perf_counter()
                took.append(after - before)
                before = after
            whole = states.shape[:2] == (command.batch_size, command.tokens)
            return took, whole and bool(numpy.isfinite(states).all())

        with ThreadPoolExecutor(command.threads) as pool:
            found = list(pool.map(calls, range(command.threads)))
        seconds = time.perf_counter() - start
        latencies = sorted(one for took, _ in found for one in took)
        return Report(
            rows=len(latencies) * command.batch_size,
            seconds=seconds,
            p50_us=_percentile_us(latencies, 50),
            p99_us=_percentile_us(latencies, 99),
            p999_us=_percentile_us(latencies, 99.9),
            right=all(right for _, right in found),
        )


def _percentile_us(latencies: Sequence[float], percent: float) -> float:
    return latencies[int((len(latencies) - 1) * percent / 100)] * 1e6


def _answer(loop: Loop, line: str) -> dict[str, Any]:
    try:
        return dataclasses.asdict(loop.run(Command(**json.loads(line))))
    except Exception as error:  # whoever commands is told, and may go on
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    described = json.loads(Path(sys.argv[1]).read_text())
    loop = Loop(Path(described["weights"]))
    loop.run(Command(seconds=0, batch_size=1, tokens=16))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(loop, line)), flush=True)


if __name__ == "__main__":
    main()
