"""Carries out the steps of scenarios against a running server, and tells what could be seen: the
answers, how the batches were composed, and what else a step notes.

Order is made, not hoped for: a request that `hold`s keeps its instance busy until the gate is
opened, and between two sends a server has the time to queue the first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tritonclient.utils import InferenceServerException

from bench.targets.process import Ports
from tests.scheduling.requests import ANSWER_WITHIN_S, Call, StreamCall, connect, over_http
from tests.scheduling.steps import (
    Answered,
    Cancel,
    Held,
    Index,
    Load,
    Open,
    Scenario,
    Send,
    Sleep,
    Statistics,
    Step,
    Unload,
    Wait,
)
from tests.waiting import wait_until

SETTLE_S = 0.03  # a thousand times what either server needs to queue a request
HELD_WITHIN_S = 5.0


class Driver:
    """One for a server's life. `reports` is where its models write."""

    def __init__(self, ports: Ports, reports: Path) -> None:
        self._http = f"127.0.0.1:{ports.http}"
        self._grpc = f"127.0.0.1:{ports.grpc}"
        self._client = connect(ports.grpc)
        self._reports = reports
        self._loaded: set[str] = set()

    def close(self) -> None:
        self._client.close()

    def load_early(self, models: Iterable[str]) -> None:
        """Load these side by side, which takes less time than one by one. Who is refused will be
        asked for again, by the scenario that needs it.
        """
        wanted = tuple(models)
        with ThreadPoolExecutor(max_workers=8) as threads:
            for model, said in zip(wanted, threads.map(self.load, wanted), strict=True):
                if not said:
                    self._loaded.add(model)

    def run(self, scenario: Scenario) -> dict[str, Any]:
        """What was seen: `answers` by id, `batches` by model, `notes` in the order of the steps."""
        refused = self._make_ready(scenario)
        if refused:
            return {"not loaded": refused}
        self._clear()
        run = _Run(scenario, self)
        try:
            for step in scenario.steps:
                run.carry_out(step)
            run.wait(())
        finally:
            run.open_all()
        if any(isinstance(step, Load | Unload) for step in scenario.steps):
            self._loaded.clear()  # whatever they left: the next scenario loads what it needs
        return run.seen()

    def _make_ready(self, scenario: Scenario) -> dict[str, str]:
        """Load what is not there; what could not be loaded, with the reasons."""
        refused: dict[str, str] = {}
        for model in reversed(scenario.models):  # what an ensemble needs comes after it
            if model in self._loaded:
                if not scenario.fresh:
                    continue
                self.unload(model)
            said = self.load(model)
            if said:
                refused[model] = said
            else:
                self._loaded.add(model)
        return refused

    def load(self, model: str) -> str:
        return _said(lambda: self._client.load_model(model))

    def unload(self, model: str) -> str:
        said = _said(lambda: self._client.unload_model(model))
        self._loaded.discard(model)
        wait_until(
            lambda: not any(each.get("state") == "UNLOADING" for each in self.index(model)),
            timeout_s=ANSWER_WITHIN_S,
            what=f"the end of {model}",
        )
        return said

    def index(self, model: str) -> list[dict[str, str]]:
        found = self._client.get_model_repository_index(as_json=True).get("models", [])
        return [
            {key: value for key, value in each.items() if key != "name"}
            for each in found
            if each["name"] == model
        ]

    def statistics(self, model: str) -> Any:
        try:
            found = self._client.get_inference_statistics(model, as_json=True)
        except InferenceServerException as error:
            return error.message()
        return [_counts(each) for each in found.get("model_stats", [])]

    def start(self, send: Send, model: str) -> Call:
        call = StreamCall(send, self._grpc) if send.stream else Call(send)
        if send.over_http:
            call.answers.append(over_http(self._http, send, model))
            call.end()
        else:
            call.start(self._client, model)
        return call

    def gate(self, model: str, name: str) -> Path:
        return self._reports / f"{model}.{name}"

    def reported(self) -> dict[str, list[dict[str, Any]]]:
        """The batches that the models have written down, by model."""
        return {
            path.stem: [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(self._reports.glob("*.jsonl"))
        }

    def _clear(self) -> None:
        for path in self._reports.iterdir():
            path.unlink()


class _Run:
    """One scenario on its way."""

    def __init__(self, scenario: Scenario, driver: Driver) -> None:
        self._scenario = scenario
        self._driver = driver
        self._calls: dict[str, Call] = {}
        self._notes: list[Any] = []
        self._steps: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            Held: self._held,
            Open: self._open,
            Sleep: lambda step: time.sleep(step.milliseconds / 1000),
            Wait: lambda step: self.wait(step.ids),
            Cancel: lambda step: self._calls[step.id].cancel(),
            Answered: self._answered,
            Load: lambda step: self._note("load", step.model, driver.load(step.model)),
            Unload: lambda step: self._note("unload", step.model, driver.unload(step.model)),
            Index: lambda step: self._note("index", step.model, driver.index(step.model)),
            Statistics: lambda step: self._note(
                "statistics", step.model, driver.statistics(step.model)
            ),
        }

    def carry_out(self, step: Step) -> None:
        self._steps[type(step)](step)

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._calls:
            found["answers"] = {
                name: call.answers if call.send.stream else call.answers[0]
                for name, call in self._calls.items()
            }
        batches = {
            model: self._composed(reports) for model, reports in self._driver.reported().items()
        }
        if batches:
            found["batches"] = batches
        if self._notes:
            found["notes"] = self._notes
        return found

    def wait(self, ids: tuple[str, ...]) -> None:
        end = time.monotonic() + ANSWER_WITHIN_S
        for name in ids or tuple(self._calls):
            self._calls[name].wait(max(0.0, end - time.monotonic()))

    def open_all(self) -> None:
        for path in self._driver.gate("x", "y").parent.glob("*.held"):
            path.with_suffix(".open").touch()

    def _model(self, named: str | None) -> str:
        return named or self._scenario.models[0]

    def _send(self, step: Send) -> None:
        call = self._driver.start(step, self._model(step.model))
        assert step.id not in self._calls, f"{step.id!r} twice"
        self._calls[step.id] = call
        if step.wait:
            call.wait(ANSWER_WITHIN_S)
        else:
            time.sleep(SETTLE_S)

    def _held(self, step: Held) -> None:
        held = self._driver.gate(self._model(step.model), "held")
        try:
            wait_until(held.exists, timeout_s=HELD_WITHIN_S)
        except AssertionError:
            self._notes.append({"not held": held.stem})

    def _open(self, step: Open) -> None:
        self._driver.gate(self._model(step.model), "open").touch()

    def _answered(self, step: Answered) -> None:
        self._notes.append({"answered": [name for name, call in self._calls.items() if call.over]})

    def _note(self, what: str, model: str, value: Any) -> None:
        self._notes.append({what: model, "said": value})

    def _composed(self, reports: list[dict[str, Any]]) -> list[Any]:
        """Each batch as the list of its requests; with what else the scenario wants to know.
        Instances are numbered as they come: which of equal ones is first is chance.
        """
        numbers: dict[str, int] = {}
        batches: list[Any] = []
        for report in reports:
            batch: Any = report["seen"]
            if self._scenario.instances:
                number = numbers.setdefault(report["instance"], len(numbers))
                batch = {"instance": number, "seen": batch}
            batches.append(batch)
        return sorted(batches, key=json.dumps) if self._scenario.sorted_batches else batches


def _said(ask: Callable[[], None]) -> str:
    try:
        ask()
    except InferenceServerException as error:
        status = (error.status() or "").removeprefix("StatusCode.")
        return f"{status}: {error.message()}"
    return ""


def _counts(value: Any) -> Any:
    """Statistics without what differs from run to run: durations and times."""
    if isinstance(value, dict):
        kept = {key: _counts(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if key not in ("ns", "last_inference")}
    return [_counts(each) for each in value] if isinstance(value, list) else value
