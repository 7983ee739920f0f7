"""Repository agents: what a model's config asks to be done with its folder before it is loaded.

    model_repository_agents { agents [ { name: "checksum" parameters { ... } } ] }

`checksum` is built in. Others are the owner's: DIR/<name>/agent.py of --repoagent-directory=DIR,
run in a process of its own (agent_process), never here. They are asked in order when a model is
loaded, in reverse order when it is unloaded or its load fails; one may give another folder, which
the next ones see and the model is loaded from.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyserver.beneath import LeadsOut, path_beneath
from pyserver.errors import InvalidArgumentError, ServerError
from pyserver.repository.agent_checksum import check_sums
from pyserver.repository.agent_runner import run_hook
from pyserver.repository.environment_cache import cache_folder
from pyserver.repository.load_folders import LoadFolders

log = logging.getLogger(__name__)

CHECKSUM: Final = "checksum"
AGENT_FILE: Final = "agent.py"
_TIMEOUT: Final = "timeout_s"
_DEFAULT_TIMEOUT_S: Final = 300.0
_MOST_AGENTS: Final = 16


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent of a config. Order counts."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """An agent whose `load` has returned."""

    name: str
    program: Path
    timeout_s: float
    model: Mapping[str, Any]


@dataclass(slots=True)
class AgentRun:
    """What the agents of one load have done. `folder` is where the model is to be loaded from."""

    name: str
    folder: Path
    forget: Callable[[Path], None]
    asked: list[_Asked] = field(default_factory=list)
    scratches: list[Path] = field(default_factory=list)

    def loaded(self) -> None:
        """Tells them that the model serves. What they have against it is logged."""
        for one in self.asked:
            self._tell(one, "loaded")

    def unload(self) -> None:
        """Tells them that nobody uses the folder any more, and removes what was theirs."""
        for one in reversed(self.asked):
            self._tell(one, "unload")
        for scratch in self.scratches:
            self.forget(scratch)

    def _tell(self, one: _Asked, hook: str) -> None:
        try:
            run_hook(one.name, one.program, hook, one.model, one.timeout_s)
        except ServerError as error:
            log.error("model '%s': %s", self.name, error)


class Agents:
    """Those of one folder. May be used in threads."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._folders = LoadFolders("pyserver-agents-")

    def run(
        self, name: str, folder: Path, config: Mapping[str, Any], specs: Sequence[AgentSpec]
    ) -> AgentRun:
        """Raises InvalidArgumentError when an agent is not to be had or refuses the model; those
        that were asked before it have been told then.
        """
        run = AgentRun(name, folder, self._folders.remove)
        try:
            if len(specs) > _MOST_AGENTS:
                raise InvalidArgumentError(
                    f"model '{name}' has {len(specs)} repository agents, more than {_MOST_AGENTS}"
                )
            for spec in specs:
                program = self._program(name, spec)
                if program is None:
                    check_sums(name, run.folder, spec.parameters)
                else:
                    self._ask(run, spec, program, config)
        except BaseException:
            run.unload()
            raise
        return run

    def _ask(
        self, run: AgentRun, spec: AgentSpec, program: Path, config: Mapping[str, Any]
    ) -> None:
        try:
            scratch = self._folders.make(cache_folder() / "loads")
        except OSError as error:
            raise InvalidArgumentError(
                f"there is no place for repository agent '{spec.name}': {error}"
            ) from error
        run.scratches.append(scratch)
        model = {
            "name": run.name,
            "folder": str(run.folder),
            "scratch": str(scratch),
            "parameters": dict(spec.parameters),
            "config": config,
        }
        asked = _Asked(spec.name, program, _timeout_s(run.name, spec), model)
        given = run_hook(spec.name, program, "load", model, asked.timeout_s)
        run.asked.append(asked)
        if given is None:
            return
        replaced = scratch / given
        if not replaced.is_dir():
            raise InvalidArgumentError(
                f"repository agent '{spec.name}' gives the folder '{replaced}' for model"
                f" '{run.name}', which is not there"
            )
        run.folder = replaced

    def _program(self, model: str, spec: AgentSpec) -> Path | None:
        """The agent's own file; None for the one that is built in."""
        place = self._directory / spec.name / AGENT_FILE
        try:
            if "/" in spec.name:
                raise LeadsOut("has a '/' in it")
            place = path_beneath(self._directory, f"{spec.name}/{AGENT_FILE}")
        except LeadsOut as error:
            raise InvalidArgumentError(
                f"model '{model}' asks for a repository agent named '{spec.name}', which {error}"
            ) from error
        if place.is_file():
            return place
        if spec.name == CHECKSUM:
            return None
        library = f"libtritonrepoagent_{spec.name}.so"
        compiled = os.path.exists(place.parent / library)
        raise InvalidArgumentError(
            f"unable to find '{spec.name}/{AGENT_FILE}' for repo agent '{spec.name}', searched:"
            f" {self._directory}"
            + (f" ('{library}' is there, but agents are Python here)" if compiled else "")
        )


def _timeout_s(model: str, spec: AgentSpec) -> float:
    text = spec.parameters.get(_TIMEOUT, "")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86400:
        raise InvalidArgumentError(
            f"repository agent '{spec.name}' of model '{model}': {_TIMEOUT} should be seconds, at"
            f" most 86400, and is '{text}'"
        )
    return seconds
