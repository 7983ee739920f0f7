"""Carries out the steps of a scenario against a running server, and notes what could be seen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from bench.targets.process import ServerProcess
from tests.lifecycle_surface.clients import PATIENCE_S, Clients
from tests.lifecycle_surface.folders import Folder
from tests.lifecycle_surface.steps import (
    BOTH,
    GRPC,
    HTTP,
    Call,
    Ended,
    Finish,
    Followed,
    Held,
    Index,
    Infer,
    Load,
    Logged,
    Meanwhile,
    Open,
    Post,
    Ready,
    Remove,
    Scenario,
    Told,
    Unload,
    Write,
)
from tests.waiting import wait_until

# So long must a polling server have said the same when it is recorded.
_QUIET_S: Final = 3.5
_MOVING: Final = ("LOADING", "UNLOADING")


class Site:
    """A running server, and the folder in which its repositories, gates and log are."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.gates = folder / "gates"
        self.log = folder / "server.log"

    def repository(self, name: str) -> Path:
        return self.folder / name


class Run:
    """One scenario on its way. `wanted` are the notes that it should make, if they are known."""

    def __init__(
        self,
        site: Site,
        scenario: Scenario,
        protocol: str,
        wanted: Sequence[Any] | None = None,
    ) -> None:
        assert site.server.ports is not None
        self._site = site
        self._scenario = scenario
        self._protocol = protocol
        self._wanted = wanted
        self._clients = Clients(site.server.ports)
        self._notes: list[Any] = []
        self._threads = ThreadPoolExecutor(max_workers=8)
        self._begun: dict[str, tuple[str, str, Future[Any]]] = {}
        self._folders = {one.name: one for one in self._all_folders()}
        self._steps: dict[type[Any], Callable[[Any], None]] = {
            Load: self._load,
            Unload: self._unload,
            Infer: self._infer,
            Meanwhile: self._meanwhile,
            Finish: self._finish,
            Held: self._held,
            Open: self._open,
            Index: self._index,
            Followed: self._followed,
            Ready: self._ready,
            Told: self._told,
            Write: self._write,
            Remove: self._remove,
            Post: lambda step: self._note(f"post {step.path}", self._clients.post(step)),
            Call: lambda step: self._note(f"call {step.method}", self._clients.call(step)),
            Ended: self._ended,
            Logged: self._logged,
        }

    def notes(self) -> list[Any]:
        """Carries out all steps."""
        try:
            for step in self._scenario.steps:
                self._steps[type(step)](step)
            return self._notes
        finally:
            for held in self._site.gates.glob("*.held"):
                held.with_suffix(".open").touch()
            self._threads.shutdown()

    def _all_folders(self) -> list[Folder]:
        found = list(self._scenario.folders)
        if self._scenario.setup is not None:
            for folders in self._scenario.setup.repositories.values():
                found += folders
        for step in self._scenario.steps:
            if isinstance(step, Write):
                found += step.folders
        return found

    def _note(self, what: str, said: Any) -> None:
        self._notes.append({what: self._stable(said)})

    def _stable(self, said: Any) -> Any:
        """Without what differs between two right servers: folders of this run."""
        if isinstance(said, str):
            return said.replace(str(self._site.gates), "<gates>").replace(
                str(self._site.folder), "<folder>"
            )
        if isinstance(said, dict):
            return {key: self._stable(value) for key, value in said.items()}
        return [self._stable(one) for one in said] if isinstance(said, list) else said

    def _of_both(self, ask: Callable[[str], Any]) -> Any:
        """What both protocols say; by protocol, where they differ."""
        over = {protocol: ask(protocol) for protocol in BOTH}
        return over[HTTP] if over[HTTP] == over[GRPC] else over

    # --- one method for each step ---

    def _do(self, step: Load | Unload | Infer) -> tuple[str, Callable[[], Any]]:
        if isinstance(step, Load):
            # A gate in an override.
            config = step.config and step.config.replace("@GATES@", str(self._site.gates))
            given = Load(step.model, config, step.files)
            return f"load {step.model}", lambda: self._clients.load(self._protocol, given)
        if isinstance(step, Unload):
            return f"unload {step.model}", lambda: self._clients.unload(self._protocol, step)
        folder = self._folders.get(step.model)
        plain = step.plain or (
            folder is not None and folder.config is not None and "INPUT0" in folder.config
        )
        name = f"infer {step.model}" + (f" {step.version}" if step.version else "")
        return name, lambda: self._clients.infer(self._protocol, step, plain)

    def _load(self, step: Load) -> None:
        name, work = self._do(step)
        self._note(name, work())

    def _unload(self, step: Unload) -> None:
        name, work = self._do(step)
        self._note(name, work())
        self._settle()

    def _infer(self, step: Infer) -> None:
        name, work = self._do(step)
        self._note(name, work())

    def _settle(self, named: tuple[str, ...] = ()) -> None:
        # Who loads meanwhile is waited for by its own name.
        names = (self._folders.keys() | set(named)) - {
            model for model, _, _ in self._begun.values()
        }

        def still() -> bool:
            lines = self._clients.index(GRPC)
            return isinstance(lines, str) or not any(
                line.get("state") in _MOVING for line in lines if line["name"] in names
            )

        wait_until(still, timeout_s=PATIENCE_S, what="the end of loads and unloads")

    def _meanwhile(self, step: Meanwhile) -> None:
        name, work = self._do(step.step)
        self._begun[step.name] = step.step.model, name, self._threads.submit(work)

    def _finish(self, step: Finish) -> None:
        _, name, future = self._begun.pop(step.name)
        self._note(f"{step.name}: {name}", future.result(PATIENCE_S))

    def _held(self, step: Held) -> None:
        held = self._site.gates / f"{step.gate}.held"
        wait_until(held.exists, timeout_s=PATIENCE_S, what=f"somebody at {held}")

    def _open(self, step: Open) -> None:
        (self._site.gates / f"{step.gate}.open").touch()

    def _index(self, step: Index) -> None:
        names = step.models or tuple(self._folders)
        self._settle(names)

        def ask(protocol: str) -> Any:
            lines = self._clients.index(protocol, ready=step.ready)
            if isinstance(lines, str):
                return lines
            return [line for line in lines if line["name"] in names]

        self._note("index of ready" if step.ready else "index", self._of_both(ask))

    def _followed(self, step: Followed) -> None:
        if self._wanted is None:
            self._note("index", self._quiet_index())
            return
        self._note("index", self._once_as_wanted("index", self._clients.index))

    def _once_as_wanted(self, what: str, look: Callable[[str], Any]) -> Any:
        """What is told when it is what is wanted, or at the end of all patience: nobody says when a
        change on disk has been taken up.
        """
        place = len(self._notes)
        wanted = self._wanted or []
        last: Any = wanted[place].get(what) if place < len(wanted) else None
        found: Any = None

        def same() -> bool:
            nonlocal found
            found = self._stable(self._of_both(look))
            return bool(found == last)

        try:
            wait_until(same, timeout_s=PATIENCE_S)
        except AssertionError:
            pass  # told by the comparison of the notes
        return found

    def _quiet_index(self) -> Any:
        last, since = None, time.monotonic()
        while time.monotonic() - since < _QUIET_S:
            found = self._of_both(self._clients.index)
            if found != last:
                last, since = found, time.monotonic()
            time.sleep(0.05)
        return last

    def _ready(self, step: Ready) -> None:
        name = " ".join(["ready", step.model or "server", step.version]).strip()
        self._note(
            name, self._of_both(lambda one: self._clients.ready(one, step.model, step.version))
        )

    def _told(self, step: Told) -> None:
        name = " ".join(["told of", step.model, step.version]).strip()

        def look(one: str) -> Any:
            return self._clients.told(one, step.model, step.version)

        said = self._of_both(look) if self._wanted is None else self._once_as_wanted(name, look)
        self._note(name, said)

    def _write(self, step: Write) -> None:
        for folder in step.folders:
            folder.write(self._site.repository(step.repository), self._site.gates)

    def _remove(self, step: Remove) -> None:
        path = self._site.repository(step.repository) / step.path
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _ended(self, step: Ended) -> None:
        wait_until(
            lambda: not self._site.server.running(), timeout_s=PATIENCE_S, what="the server's end"
        )
        self._note("exit code", self._site.server.stop())

    def _logged(self, step: Logged) -> None:
        log = self._site.log.read_text(encoding="utf-8", errors="replace")
        self._note(f"logged {step.text!r}", step.text in log)
