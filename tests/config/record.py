"""Asks the real Triton about every case of cases.py and writes recorded.json: `python -m
tests.config.record`; with names of cases, about those only.

Needs the wheel that carries the original (bench/targets/triton.py says how it is installed;
PYSERVER_TRITON_HOME names its venv). Each model is loaded, looked at and unloaded, one after the
other, so that few processes run at a time.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.config.cases import CASES, Case

RECORDED = Path(__file__).with_name("recorded.json")

_MODEL = """
import json, pathlib
HERE = pathlib.Path(__file__).parent.parent
class TritonPythonModel:
{hook}
    def execute(self, requests):
        return []
"""
_HOOK = """
    @staticmethod
    def auto_complete_config(config):
        (HERE / "before.json").write_text(json.dumps(config.as_dict()))
{changes}
        (HERE / "after.json").write_text(json.dumps(config.as_dict()))
        return config
"""


def _write(case: Case, repository: Path) -> None:
    hook = ""
    if case.changes is not None:
        lines = "\n".join(f"        {line}" for line in case.changes.splitlines())
        hook = _HOOK.format(changes=lines)
    case.write(repository, _MODEL.format(hook=hook))


def _call(url: str, body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, data=body, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Triton:
    """One run of the real server."""

    def __init__(self, home: Path, work: Path, repository: Path) -> None:
        packages = home / "lib" / "python3.11" / "site-packages"
        triton = packages / "pytriton" / "tritonserver"
        backends = work / "backends"
        if not backends.exists():
            shutil.copytree(triton / "backends", backends)
            stub = triton / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
            shutil.copy(stub, backends / "python")
        port = _free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.log = work / f"log{port}"
        environment = dict(os.environ, LD_LIBRARY_PATH=str(packages / "nvidia_pytriton.libs"))
        environment["PATH"] = f"{home / 'bin'}:{environment['PATH']}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(triton / "bin" / "tritonserver"),
                    f"--model-repository={repository}",
                    f"--backend-directory={backends}",
                    f"--http-port={port}",
                    "--http-address=127.0.0.1",
                    "--allow-grpc=false",
                    "--allow-metrics=false",
                    "--model-control-mode=explicit",
                    "--cache-config=local,size=1048576",
                    f"--cache-directory={triton / 'caches'}",
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if _call(f"{self.base}/v2/health/ready")[0] == 200:
                    return
            except OSError:
                time.sleep(0.2)
        raise SystemExit(f"Triton did not start: {self.log}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _errors(log: str) -> list[str]:
    """The texts of the error lines of a piece of Triton's log, without time and place."""
    return [m.group(1) for m in re.finditer(r"^E\d{4} \S+ \d+ \S+\] (.*)$", log, re.MULTILINE)]


def _ask(case: Case, base: str, repository: Path, log: Path) -> dict[str, Any]:
    seen = log.stat().st_size
    status, text = _call(f"{base}/v2/repository/models/{case.name}/load", b"{}")
    answer: dict[str, Any] = {}
    for name in ("before", "after"):
        for file in (repository / case.name).glob(f"{name}.json"):
            answer[name] = json.loads(file.read_text())
    if status == 200:
        answer["config"] = _call(f"{base}/v2/models/{case.name}/config")[1]
        answer["metadata"] = _call(f"{base}/v2/models/{case.name}")[1]
        index = json.loads(_call(f"{base}/v2/repository/index", b"{}")[1])
        answer["versions"] = sorted(
            int(entry["version"])
            for entry in index
            if entry["name"] == case.name and entry.get("state") == "READY"
        )
    else:
        answer["error"] = json.loads(text)["error"]
        with log.open("rb") as file:
            file.seek(seen)
            answer["log"] = _errors(file.read().decode(errors="replace"))
    _call(
        f"{base}/v2/repository/models/{case.name}/unload",
        b'{"parameters":{"unload_dependents":true}}',
    )
    return answer


def main() -> int:
    home = Path(os.environ.get("PYSERVER_TRITON_HOME", "/tmp/triton-venv"))
    work = Path(tempfile.mkdtemp(prefix="record-"))
    repository = work / "models"
    repository.mkdir()
    for case in CASES:
        _write(case, repository)
    only = sys.argv[1:]
    answers: dict[str, Any] = {}
    triton: _Triton | None = None
    try:
        for case in CASES:
            if only and case.name not in only:
                continue
            triton = triton or _Triton(home, work, repository)
            try:
                answers[case.name] = _ask(case, triton.base, repository, triton.log)
            except (http.client.HTTPException, OSError):
                # The original does not survive every configuration.
                answers[case.name] = {"error": "the server crashed or hung", "log": []}
                triton.stop()
                triton = None
            print(case.name, answers[case.name].get("log", "loaded"), flush=True)
    finally:
        if triton:
            triton.stop()
    text = json.dumps(answers, indent=1, ensure_ascii=False).replace(str(work), "<work>")
    if only:
        answers = json.loads(RECORDED.read_text()) | json.loads(text)
        text = json.dumps(answers, indent=1, ensure_ascii=False)
    RECORDED.write_text(text + "\n")
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
