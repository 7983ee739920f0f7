"""What a scenario is made of: steps that a driver carries out one after the other, first with
Triton's HTTP client, then, against another server, with its gRPC client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lifecycle_surface.folders import Folder

HTTP: Final = "http"
GRPC: Final = "grpc"
BOTH: Final = (HTTP, GRPC)
REPOSITORY: Final = "models"


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model. `config` is JSON; `files` are contents by the whole name of the parameter."""

    model: str
    config: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload a model; what is noted later comes after it is gone."""

    model: str
    dependents: bool = False


@dataclass(frozen=True, slots=True)
class Infer:
    """Ask a model for an answer. One that `holds` is answered when its gate is opened. `plain`: the
    model is one of folders.plain, if the scenario does not say.
    """

    model: str
    version: str = ""
    holds: bool = False
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Begin a step under a name, and go on."""

    name: str
    step: Load | Unload | Infer


@dataclass(frozen=True, slots=True)
class Finish:
    """Wait for the end of what was begun."""

    name: str


@dataclass(frozen=True, slots=True)
class Held:
    """Wait until a model stands at its gate: in initialize, or in execute."""

    gate: str


@dataclass(frozen=True, slots=True)
class Open:
    """Let it through, and who comes later."""

    gate: str


@dataclass(frozen=True, slots=True)
class Index:
    """Note the index: of the models named, or of the scenario's own, when none of them is loading
    or unloading any more, but for those of which the scenario keeps something running. It is asked
    for over both protocols, as is all that is noted below.
    """

    models: tuple[str, ...] = ()
    ready: bool = False


@dataclass(frozen=True, slots=True)
class Followed:
    """With polling: note the index, of all models, when it has become what it stays."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Note whether a model is ready; without a name, whether the server is."""

    model: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """Note what is told of a model: its metadata's versions, of its config name, version policy,
    largest batch and parameters, and whose statistics there are.
    """

    model: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Put model folders on disk, in the place of those that are there."""

    folders: tuple[Folder, ...]
    repository: str = REPOSITORY


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a folder or file, by its path below a repository."""

    path: str
    repository: str = REPOSITORY


@dataclass(frozen=True, slots=True)
class Post:
    """POST over HTTP, as the client cannot; note status and body."""

    path: str
    body: Any = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A gRPC call of the repository's, as the client cannot; note what comes.

    `request` are the fields of the message; parameters are given by kind and value.
    """

    method: str
    request: Mapping[str, Any]
    parameters: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """Wait for the end of a server that cannot start; note its exit code."""


@dataclass(frozen=True, slots=True)
class Logged:
    """Note whether the server's log has this text."""

    text: str


Step = (
    Load | Unload | Infer | Meanwhile | Finish | Held | Open | Index | Followed | Ready | Told
    | Write | Remove | Post | Call | Ended | Logged
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setup:
    """A server of its own: flags, and what lies in its repositories, by their names. `listed` are
    the repositories in the order in which they are named to the server; all of them, if empty.
    """

    flags: tuple[str, ...] = ("--model-control-mode=explicit",)
    repositories: Mapping[str, tuple[Folder, ...]] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    starts: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps, and the models that they need. Without a `setup` the server, in explicit mode, is
    shared with other scenarios, and `folders` lie in its repository.
    """

    name: str
    steps: tuple[Step, ...]
    folders: tuple[Folder, ...] = ()
    setup: Setup | None = None
    protocols: tuple[str, ...] = BOTH
