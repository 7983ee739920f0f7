"""One HTTP request sent again and again by Debian's `wrk`, and what wrk saw."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """\
wrk.method = "POST"
wrk.path = "{path}"
{headers}
wrk.body = "{body}"
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format(
    '\\nRESULT {{"requests":%d,"duration_us":%d,"refused":%d,"failed":%d,"timed_out":%d,' ..
    '"p50_us":%.1f,"p99_us":%.1f,"max_us":%.1f}}\\n',
    summary.requests, summary.duration, summary.errors.status, failed, summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """The request, byte for byte but for the headers that wrk adds (Host, Content-Length)."""

    path: str
    headers: Mapping[str, str]
    body: bytes


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
    max_us: float

    @property
    def per_second(self) -> float:
        return self.requests * 1e6 / self.duration_us


def _lua(text: bytes) -> str:
    """A Lua string literal's inside: every byte that is not plain as a decimal escape."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text)


def available() -> bool:
    return shutil.which("wrk") is not None


def run(load: HttpLoad, port: int, *, connections: int, seconds: int) -> WrkResult:
    """Send `load` over `connections` kept-alive connections for `seconds`, from one thread.

    Raises:
        RuntimeError: wrk failed or printed no result.
    """
    headers = "\n".join(
        f'wrk.headers["{_lua(name.encode())}"] = "{_lua(value.encode())}"'
        for name, value in load.headers.items()
    )
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT.format(path=load.path, headers=headers, body=_lua(load.body)))
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
