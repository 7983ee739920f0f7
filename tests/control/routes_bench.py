"""The dispatcher over fakes of the server's other parts, for tests of the routes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyserver.config.parse import parse_text
from pyserver.control.http_call import HttpAnswer, HttpCall
from pyserver.control.log_settings import LogSettings
from pyserver.control.operations import Operations, Sources
from pyserver.control.routes import Dispatcher
from pyserver.control.services import Services
from pyserver.control.trace_settings import TraceSettings
from pyserver.errors import InternalError
from pyserver.repository.lifecycle import Loaded
from pyserver.repository.override import LoadOverride
from pyserver.repository.registry import Registry
from pyserver.repository.scan import ModelEntry, Scan
from pyserver.settings import Settings

CONFIG = b"""
name: "m" backend: "identity" max_batch_size: 4
input [ { name: "IN" data_type: TYPE_STRING dims: [ 2, -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
ZERO = {"count": 0, "ns": 0}
FIGURES = {
    "last_inference": 1795451609571,
    "inference_count": 6,
    "execution_count": 2,
    "success": {"count": 3, "ns": 30},
    "fail": {"count": 1, "ns": 5},
    "queue": {"count": 3, "ns": 4},
    "compute_input": {"count": 3, "ns": 3},
    "compute_infer": {"count": 3, "ns": 2},
    "compute_output": {"count": 3, "ns": 1},
    "queued": 9,
    "batch_stats": [
        {"batch_size": 3, "compute_input": ZERO, "compute_infer": ZERO, "compute_output": ZERO}
    ],
}


class FakeServer:
    exiting = False
    ready = True

    def reason_not_ready(self) -> str:
        return "" if self.ready else "model 'broken' version 1 is UNAVAILABLE: Internal: no"


class FakeLoader:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, LoadOverride | str | None]] = []

    async def load(self, name: str, override: LoadOverride | None = None) -> None:
        if name == "bad":
            raise InternalError("failed to load 'bad', failed to poll from model repository")
        if name == "bug":
            raise ZeroDivisionError
        self.calls.append(("load", name, override))

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        self.calls.append(("unload", name, "dependents" if dependents else None))


class Bench:
    def __init__(self, **settings: Any) -> None:
        made = Settings(**settings)
        self.server, self.loader, self.registry = FakeServer(), FakeLoader(), Registry()
        self.applied: list[Settings] = []
        for number in (1, 3):
            version = self.registry.version("m", number)
            version.begin_load()
            version.become_ready(Loaded(number, parse_text(CONFIG, source="test"), {}))
        self.registry.version("m", 4).begin_load()
        failed = self.registry.version("broken", 1)
        failed.begin_load()
        failed.fail("Internal: no")
        names = ("m", "broken", "fresh")
        found = Scan({n: ModelEntry(n, Path(n), Path()) for n in names}, frozenset({"twice"}))
        operations = Operations(
            made,
            self.server,
            self.registry,
            self.loader,
            Sources(scan=lambda: found, statistics=lambda handle: FIGURES),
        )
        logs, traces = LogSettings(made, self.applied.append), TraceSettings(self.registry)
        self.services = Services(operations, logs, traces, made)
        self.dispatcher = Dispatcher(self.services)

    async def ask(
        self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.dispatcher.answer(HttpCall(method, path, headers or {}, data))


def text_of(answer: HttpAnswer) -> Any:
    if not answer.body:
        return ""
    assert answer.content_type == "application/json"
    value = json.loads(answer.body)
    return value["error"] if isinstance(value, dict) and set(value) == {"error"} else value
