"""onnxruntime driven without a server: the "load generator" that belongs to onnxruntime_direct."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.loads.load import Seen
from bench.targets.onnxruntime_direct import OnnxruntimeDirect
from bench.targets.onnxruntime_loop import Command
from bench.targets.process import ServerProcess
from bench.workload import Workload

_WARM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Direct:
    """`threads` that call, each with batches of `batch_size`. Requests are counted in rows, since
    one row is what a client's request carries.
    """

    batch_size: int = 1
    threads: int = 1
    intra_op_threads: int = 0
    spinning: bool = True

    @property
    def text(self) -> str:
        return f"in process, batch {self.batch_size}, {self.threads} at once"

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        if not isinstance(target, OnnxruntimeDirect) or workload.model != "minilm":
            raise RuntimeError(f"{self.text}: not for {workload.model} on {target.name}")
        target.run(self._command(workload, _WARM_SECONDS))
        return lambda: self._run(target, workload, seconds)

    def _command(self, workload: Workload, seconds: float) -> Command:
        return Command(
            seconds=seconds,
            batch_size=self.batch_size,
            tokens=workload.elements,
            threads=self.threads,
            intra_op_threads=self.intra_op_threads,
            spinning=self.spinning,
        )

    def _run(self, target: OnnxruntimeDirect, workload: Workload, seconds: float) -> Seen:
        report = target.run(self._command(workload, seconds))
        return Seen(
            requests=report.rows,
            per_second=report.rows / report.seconds,
            p50_us=report.p50_us,
            p99_us=report.p99_us,
            p999_us=report.p999_us,
            bad=0 if report.right else report.rows,
        )
