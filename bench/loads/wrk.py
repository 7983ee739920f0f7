"""One HTTP request sent again and again by Debian's `wrk`, and what wrk saw."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.asking import http_request_of, ports_of
from bench.loads.load import Seen
from bench.targets.process import ServerProcess
from bench.workload import HttpRequest, Workload

INSTALL = "apt-get install wrk"
_WARM_S = 1

_SCRIPT = """\
wrk.method = "POST"
wrk.path = {path}
{headers}
local file = io.open({body}, "rb")
wrk.body = file:read("*a")
file:close()
{turns}
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format(
    '\\nRESULT {{"requests":%d,"duration_us":%d,"refused":%d,"failed":%d,"timed_out":%d,' ..
    '"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f}}\\n',
    summary.requests, summary.duration, summary.errors.status, failed, summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""
# With a function `request`, wrk enters Lua for each request: only where there is more than one.
_TURNS = """\
local paths, requests, at = {{ {paths} }}, {{}}, 0
function init(args)
  for i, path in ipairs(paths) do requests[i] = wrk.format(nil, path) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """One run. Latencies are microseconds as the client saw them."""

    requests: int
    duration_us: int
    refused: int
    failed: int
    timed_out: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float

    @property
    def per_second(self) -> float:
        return self.requests * 1e6 / self.duration_us

    @property
    def bad(self) -> int:
        return self.refused + self.failed + self.timed_out


@dataclass(frozen=True, slots=True)
class Wrk:
    """`connections` kept alive, one request at a time on each; with several `models` the
    requests go to NAME_0, of which the workload is, NAME_1 and so on in turn.
    """

    connections: int
    models: int = 1

    @property
    def text(self) -> str:
        return f"wrk, {self.connections:,} connection{'s' if self.connections > 1 else ''}"

    def prepare(
        self, target: ServerProcess, workload: Workload, seconds: float
    ) -> Callable[[], Seen]:
        request, port = http_request_of(target, workload), ports_of(target).http
        paths = [request.path.replace("_0/", f"_{number}/") for number in range(self.models)]

        def measured(for_s: int) -> Seen:
            seen = run(request, port, connections=self.connections, seconds=for_s, paths=paths)
            return Seen(
                requests=seen.requests,
                per_second=seen.per_second,
                p50_us=seen.p50_us,
                p99_us=seen.p99_us,
                p999_us=seen.p999_us,
                bad=seen.bad,
            )

        measured(_WARM_S)
        return lambda: measured(max(round(seconds), 1))  # wrk takes whole ones


def _lua(text: str) -> str:
    """As a Lua string literal: every byte that is not plain as a decimal escape."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    inside = "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode())
    return f'"{inside}"'


def available() -> bool:
    return shutil.which("wrk") is not None


def run(
    request: HttpRequest,
    port: int,
    *,
    connections: int,
    seconds: int,
    paths: Sequence[str] = (),
) -> WrkResult:
    """Send `request` over kept-alive connections for `seconds`, from one thread; to `paths` in
    turn, if there are any, instead of its own.

    Raises:
        RuntimeError: wrk failed or printed no result.
    """
    headers = "\n".join(
        f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items()
    )
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        script, body = Path(folder) / "load.lua", Path(folder) / "body"
        body.write_bytes(request.body)
        turns = ""
        if len(paths) > 1:
            turns = _TURNS.format(paths=", ".join(_lua(path) for path in paths))
        first = paths[0] if paths else request.path
        script.write_text(
            _SCRIPT.format(path=_lua(first), headers=headers, body=_lua(str(body)), turns=turns)
        )
        command = ["wrk", "--threads", "1", "--connections", str(connections)]
        command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return WrkResult(**json.loads(line.removeprefix("RESULT ")))
    raise RuntimeError(f"wrk gave no result: {done.stdout}{done.stderr}")
