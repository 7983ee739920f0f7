"""Servers that follow what happens in their repository."""

from __future__ import annotations

from tests.lifecycle_surface.folders import TENSORS, Folder, ensemble, plain, python
from tests.lifecycle_surface.steps import (
    GRPC,
    REPOSITORY,
    Followed,
    Infer,
    Ready,
    Remove,
    Scenario,
    Setup,
    Step,
    Told,
    Write,
)

_FLAGS = ("--model-control-mode=poll", "--repository-poll-secs=1", "--exit-on-error=false")


def _polled(name: str, folders: tuple[Folder, ...], *steps: Step) -> Scenario:
    setup = Setup(_FLAGS, {REPOSITORY: folders})
    return Scenario(f"poll: {name}", steps, setup=setup, protocols=(GRPC,))


_A = plain("a")
_ALL = "version_policy { all { } }"
SCENARIOS = (
    _polled(
        "a model is added", (_A,), Followed(), Write((plain("b"),)), Followed(), Infer("b"), Ready()
    ),
    _polled("a model is removed", (_A, plain("b")), Remove("b"), Followed(), Infer("b"), Ready()),
    _polled(
        "a removed model comes back",
        (_A, plain("b")),
        Remove("b"),
        Followed(),
        Write((plain("b"),)),
        Followed(),
        Infer("b"),
    ),
    _polled(
        "a config is changed",
        (_A, plain("b")),
        Write((plain("b", _ALL, batch=8, versions=(1, 2)),)),
        Followed(),
        Told("b"),
        Infer("b", "1"),
    ),
    _polled(
        "a version is added",
        (_A, plain("b", _ALL)),
        Write((plain("b", _ALL, versions=(1, 2)),)),
        Followed(),
        Infer("b"),
        Infer("b", "1"),
    ),
    _polled(
        "a version is removed",
        (_A, plain("b", _ALL, versions=(1, 2))),
        Remove("b/2"),
        Followed(),
        Infer("b"),
        Infer("b", "2"),
        Ready(),
    ),
    _polled(
        "a newer version takes the place of the latest",
        (_A, plain("b")),
        Write((plain("b", versions=(1, 2)),)),
        Followed(),
        Infer("b"),
        Infer("b", "1"),
        Ready(),
    ),
    _polled(
        "a config is broken and mended",
        (_A, plain("b")),
        Write((Folder("b", "nonsense {", {1: False}),)),
        Followed(),
        Infer("b"),
        Ready(),
        Write((plain("b", batch=8),)),
        Followed(),
        Infer("a"),
        Told("b"),
        Ready(),
    ),
    _polled(
        "a program is broken and mended",
        (_A, python("b", mark="one")),
        Infer("b"),
        Write((python("b", mark="two", raises="1"),)),
        Followed(),
        Infer("b"),
        Ready(),
        Write((python("b", mark="three"),)),
        Followed(),
        Ready(),
    ),
    _polled(
        "a model that fails is added",
        (_A,),
        Write((Folder("b", 'backend: "nowhere"\n' + TENSORS), Folder("c", "nonsense {"))),
        Followed(),
        Ready(),
        Infer("a"),
        Remove("b"),
        Remove("c"),
        Followed(),
        Ready(),
    ),
    _polled(
        "a step of an ensemble is removed and comes back",
        (_A, plain("b"), ensemble("e", "a", "b")),
        Remove("b"),
        Followed(),
        Infer("e"),
        Write((plain("b"),)),
        Followed(),
        Infer("e"),
    ),
    _polled(
        "an ensemble and its step are added",
        (_A,),
        Write((plain("b"),)),
        Write((ensemble("e", "a", "b"),)),
        Followed(),
        Infer("e"),
    ),
)
