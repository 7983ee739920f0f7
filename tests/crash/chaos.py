"""Random kills, stops, exceptions, exits and memory blow-ups of one model's instances, while
clients ask it and others.

`python -m tests.crash.chaos --seconds 600` is the long run; test_chaos.py a short one.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import signal
import struct
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.targets.pyserver import Pyserver
from tests.crash.load import ELEMENTS, Load, Outcome, infer
from tests.crash.processes import Holdings, holdings, processes_by_role
from tests.serving import counters
from tests.waiting import wait_until

VICTIM: Final = "victim"
BYSTANDERS: Final = ("bystander", "native")
# From what was done to an instance until whoever waited for it has read why.
REASON_WITHIN_S: Final = 2.0
EXECUTE_LIMIT_S: Final = 0.8
# Fewer than make a crash loop, which takes a model out of service on purpose.
_ENDS_BY_ITSELF, _WITHIN_S = 4, 30.0
_RAISE, _EXIT, _MEMORY = 1000.0, 1001.0, 1002.0

_CONFIG = """
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {count} }} ]
dynamic_batching {{ }}
{more}
"""
_MODEL = f"""
import os
import resource

import triton_python_backend_utils as pb_utils


def blow_up():
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limit[1]))
    try:
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
    finally:
        kept = None
        resource.setrlimit(resource.RLIMIT_AS, limit)


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            if given[0, 0] == {_RAISE}:
                raise RuntimeError("it was told to")
            if given[0, 0] == {_EXIT}:
                os._exit(3)
            if given[0, 0] == {_MEMORY}:
                blow_up()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", given)]))
        return answers
"""


def write_models(repository: Path) -> None:
    limit = (
        'parameters { key: "execute_timeout_secs"'
        f' value {{ string_value: "{EXECUTE_LIMIT_S}" }} }}'
    )
    for name, backend, count, more in (
        (VICTIM, "python", 2, limit),
        ("bystander", "python", 1, ""),
        ("native", "identity", 1, ""),
    ):
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        config = _CONFIG.format(backend=backend, count=count, more=more)
        (repository / name / "config.pbtxt").write_text(config)
        if backend == "python":
            (folder / "model.py").write_text(_MODEL)


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done; `end_s`: when whatever it set off had its chance."""

    what: str
    begin_s: float
    end_s: float


@dataclass
class Chaos:
    """Does one thing after another to the victim's instances until it is told to stop."""

    server: Pyserver
    seed: int = 1
    pause_s: float = 1.0
    deeds: list[Deed] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=_ENDS_BY_ITSELF))

    def run(self, seconds: float) -> None:
        chance = random.Random(self.seed)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            what = chance.choice(("kill", "stop", "raise", "exit", "memory"))
            if what in ("stop", "exit"):
                now_s = time.monotonic()
                if len(self._ends) == _ENDS_BY_ITSELF and now_s - self._ends[0] < _WITHIN_S:
                    what = "kill"
                else:
                    self._ends.append(now_s)
            begin_s = time.monotonic()
            self._do(what, chance)
            self.deeds.append(Deed(what, begin_s, time.monotonic()))
            self._over.wait(chance.uniform(0, 2 * self.pause_s))

    def _do(self, what: str, chance: random.Random) -> None:
        if what in ("kill", "stop"):
            number = signal.SIGKILL if what == "kill" else signal.SIGSTOP
            _signal_one(self.server, number, chance)
            return
        word = {"raise": _RAISE, "exit": _EXIT, "memory": _MEMORY}[what]
        assert self.server.ports is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.server.ports.http, timeout=60)
        try:
            infer(connection, VICTIM, struct.pack(f"<{ELEMENTS}f", word, *[0.0] * (ELEMENTS - 1)))
        finally:
            connection.close()


def _signal_one(server: Pyserver, number: int, chance: random.Random) -> None:
    instances = counters(server)["instances"]
    assert isinstance(instances, list)
    pids = [one["pid"] for one in instances if one["model"] == VICTIM and one["pid"]]
    if pids:
        try:
            os.kill(chance.choice(pids), number)
        except ProcessLookupError:
            pass  # it was ending already


def complaints(outcomes: list[Outcome], deeds: list[Deed]) -> list[str]:
    """What no client may see: errors of models that nothing was done to, errors without a reason,
    or with one that came late.
    """
    found = []
    for one in outcomes:
        if one.wrong:
            found.append(f"{one.model} gave a wrong answer")
        if one.status == 200:
            continue
        if one.model != VICTIM:
            found.append(f"{one.model}: {one.status} {one.error}")
        elif one.status not in (500, 503) or len(one.error) < 10:
            found.append(f"without a reason: {one.status} {one.error!r}")
        elif not any(
            deed.begin_s <= one.end_s <= deed.end_s + EXECUTE_LIMIT_S + REASON_WITHIN_S
            for deed in deeds
        ):
            found.append(f"too late, {one.end_s - one.begin_s:.2f} s: {one.error}")
    return found


def survivors(server: Pyserver) -> dict[int, Holdings]:
    """What all but the instances hold."""
    return {
        pid: holdings(pid)
        for role, pids in processes_by_role(server.pid).items()
        if role != "instance"
        for pid in pids
    }


def nothing_in_use(server: Pyserver) -> bool:
    now = counters(server)
    engine, frontends = now["engine"], now["frontends"]
    assert isinstance(engine, dict) and isinstance(frontends, dict)
    books = ("live_requests", "live_leases", "live_batches", "own_bytes", "queued_requests")
    return all(engine[name] == 0 for name in books) and all(
        one["region_live_blocks"] == 0 for one in frontends.values()
    )


def run(server: Pyserver, seconds: float, seed: int = 1) -> tuple[list[Outcome], list[Deed]]:
    """Chaos for so long; afterwards every model must serve, and nothing be left over."""
    assert server.ports is not None
    models = (VICTIM, *BYSTANDERS)
    shape = {role: len(pids) for role, pids in processes_by_role(server.pid).items()}
    before = survivors(server)
    with Load(server.ports.http, models, clients=12) as load:
        for model in models:
            wait_until(lambda m=model: load.good_since(0, m), what=f"first answers of {model}")
        chaos = Chaos(server, seed)
        chaos.run(seconds)
        over_s = time.monotonic()
        for model in models:
            wait_until(
                lambda m=model: load.good_since(over_s, m),
                timeout_s=30,
                what=f"{model} serving at the end",
            )
        wait_until(
            lambda: {r: len(p) for r, p in processes_by_role(server.pid).items()} == shape,
            timeout_s=30,
            what="all processes to be there again",
        )
    wait_until(lambda: nothing_in_use(server), what="nothing in use")
    for pid, held in before.items():
        wait_until(
            lambda p=pid, h=held: holdings(p).regions <= h.regions and holdings(p).fds <= h.fds + 2,
            what=f"process {pid} to hold no more than before ({held}), not {holdings(pid)}",
        )
    return load.outcomes, chaos.deeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder) / "models")
        server = Pyserver(Path(folder) / "server.log")
        server.start(Path(folder) / "models", extra=("--frontend-workers=2",))
        try:
            server.wait_ready()
            outcomes, deeds = run(server, given.seconds, given.seed)
        finally:
            code = server.stop()
    bad = complaints(outcomes, deeds)
    done = ", ".join(
        f"{count} {what}" for what, count in sorted(Counter(d.what for d in deeds).items())
    )
    print(f"done to {VICTIM}: {done}")
    for model in (VICTIM, *BYSTANDERS):
        mine = [one for one in outcomes if one.model == model]
        failed = [one for one in mine if one.status != 200]
        longest_s = max(one.end_s - one.begin_s for one in mine)
        print(f"{model}: {len(mine)} requests, {len(failed)} failed, longest {longest_s:.2f} s")
    for text, count in Counter(bad).most_common(20):
        print(f"COMPLAINT ({count}): {text}")
    print(f"exit code of the server {code}; {'PASSED' if not bad and code == 0 else 'FAILED'}")
    return 1 if bad or code else 0


if __name__ == "__main__":
    sys.exit(main())
