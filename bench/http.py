"""What one small inference costs over HTTP, on pyserver and on the real Triton, measured in turns.

    python -m bench.http                      both servers, all scenarios
    python -m bench.http --target triton --rounds 1 --seconds 3
    python -m bench.http --json /tmp/http.json    keeps every round

Both servers serve bench/models/; bench/rounds.py measures them.
"""

from __future__ import annotations

import http.client
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bench import rounds
from bench.loads import wrk
from bench.targets.process import Ports

_FLOATS = struct.pack("<16f", *range(16))
_JSON = (
    b'{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":64}}],'
    b'"outputs":[{"name":"OUTPUT0","parameters":{"binary_data":true}}]}'
)


@dataclass(frozen=True, slots=True)
class WrkScenario:
    """One model of bench/models/ asked over so many connections."""

    model: str
    connections: int

    @property
    def load(self) -> str:
        return f"wrk, {self.connections} connection{'s' if self.connections > 1 else ''}"

    @property
    def request(self) -> wrk.HttpLoad:
        return wrk.HttpLoad(
            path=f"/v2/models/{self.model}/infer",
            headers={
                "Content-Type": "application/octet-stream",
                "Inference-Header-Content-Length": str(len(_JSON)),
            },
            body=_JSON + _FLOATS,
        )

    def check(self, ports: Ports) -> None:
        request = self.request
        connection = http.client.HTTPConnection("127.0.0.1", ports.http, timeout=10)
        try:
            connection.request("POST", request.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or not body.endswith(_FLOATS):
                raise RuntimeError(f"{request.path} is answered with {answer.status}: {body!r}")
        finally:
            connection.close()

    def prepare(self, ports: Ports, seconds: int) -> Callable[[], rounds.Seen]:
        self._run(ports, 1)
        return lambda: self._run(ports, seconds)

    def _run(self, ports: Ports, seconds: int) -> rounds.Seen:
        seen = wrk.run(self.request, ports.http, connections=self.connections, seconds=seconds)
        return rounds.Seen(
            requests=seen.requests,
            per_second=seen.per_second,
            p50_us=seen.p50_us,
            p99_us=seen.p99_us,
            bad=seen.refused + seen.failed + seen.timed_out,
        )


def main() -> None:
    parser = rounds.command_line("Cost of a small HTTP inference")
    parser.add_argument("--connections", type=int, action="append")
    arguments = parser.parse_args()
    if not wrk.available():
        raise SystemExit("wrk is missing: apt-get install wrk")
    scenarios = [
        WrkScenario(model, connections)
        for model in arguments.model or rounds.MODEL_NAMES
        for connections in arguments.connections or (1, 64)
    ]
    rounds.compare(arguments, scenarios)


if __name__ == "__main__":
    main()
