"""The Python backend beside the real Triton's: the same model files, in turns, in one run.

What a call of another model costs (business logic scripting) is a difference: of a request that
makes CALLS of them and of one that makes none, round by round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.deployment import Deployment
from bench.loads.wrk import Wrk
from bench.measure import Scenario
from bench.results import Round
from bench.workload import Wire, Workload

CALLS: Final = 64
_CALLED: Final = "python_plain"
_SMALL: Final = "Python models, 16 floats"
_SIZED: Final = "Python models, larger tensors"
_CALLING: Final = "Python models that call another"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, out of the rounds of `model` with CALLS of them and with none."""

    model: str
    title: str
    targets: tuple[str, ...] = ("pyserver", "triton")

    @property
    def name(self) -> str:
        return f"{self._prefix}-call"

    @property
    def _prefix(self) -> str:
        return self.model.replace("_", "-")

    def scenario(self, calls: int) -> Scenario:
        return Scenario(
            _CALLING,
            f"{self._prefix}-{calls}",
            f"{self.title}, {calls} in a request",
            Workload(self.model, Wire.BINARY, calls),
            Wrk(1),
            self.targets,
            Deployment((self.model, _CALLED)),
        )

    def round(self, with_calls: Round, without: Round) -> Round:
        return dataclasses.replace(
            with_calls,
            scenario=self.name,
            title=f"{self.title}, one of them",
            load=f"difference of {CALLS} and none",
            requests=with_calls.requests * CALLS,
            per_second=with_calls.per_second * CALLS,
            cpu_us=(with_calls.cpu_us - without.cpu_us) / CALLS,
            p50_us=_each(with_calls.p50_us, without.p50_us),
            p99_us=None,
            p999_us=None,
            switches=(with_calls.switches - without.switches) / CALLS,
        )


def _each(with_calls: float | None, without: float | None) -> float | None:
    return None if with_calls is None or without is None else (with_calls - without) / CALLS


CALL_KINDS: Final = (
    Call("bls_exec", "exec, one after the other"),
    Call("bls_async_exec", "async_exec, one after the other"),
    Call("bls_gather", "async_exec, all at once"),
)


def _scenarios() -> list[Scenario]:
    made = []
    for model, name, title in (
        ("python_identity", "python-dynamic", "identity, dynamic batching"),
        ("python_plain", "python-plain", "identity, one at a time"),
    ):
        for connections in (1, 16, 64):
            made.append(
                Scenario(
                    _SMALL,
                    f"{name}-{connections}",
                    title,
                    Workload(model, Wire.BINARY),
                    Wrk(connections),
                )
            )
    for model, name, title, elements in (
        ("python_any", "python-600k", "identity of 600 KB", 150_000),
        ("python_bytes", "python-strings", "identity of 1,000 BYTES", 1000),
    ):
        workload = Workload(model, Wire.BINARY, elements)
        made.append(Scenario(_SIZED, name, title, workload, Wrk(4)))
    for kind in CALL_KINDS:
        made += [kind.scenario(0), kind.scenario(CALLS)]
    return made


SCENARIOS: Final = tuple(_scenarios())


def calls(rounds: Iterable[Round]) -> list[Round]:
    """What single calls cost, wherever both rounds of the same number and target are there."""
    found = {(one.scenario, one.target, one.number): one for one in rounds}
    made = []
    for kind in CALL_KINDS:
        without, with_calls = kind.scenario(0).name, kind.scenario(CALLS).name
        for (scenario, target, number), one in found.items():
            base = found.get((without, target, number))
            if scenario == with_calls and base is not None:
                made.append(kind.round(one, base))
    return made


def with_calls(rounds: Sequence[Round]) -> list[Round]:
    return [*rounds, *calls(rounds)]
