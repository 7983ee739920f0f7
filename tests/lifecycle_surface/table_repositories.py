"""More than one repository, equal names in them, and what else lies there."""

from __future__ import annotations

from collections.abc import Mapping

from tests.lifecycle_surface.folders import Folder, ensemble, plain, python
from tests.lifecycle_surface.steps import (
    GRPC,
    REPOSITORY,
    Ended,
    Index,
    Infer,
    Load,
    Ready,
    Remove,
    Scenario,
    Setup,
    Step,
    Told,
    Unload,
    Write,
)

_EXPLICIT = "--model-control-mode=explicit"
_GO_ON = "--exit-on-error=false"
_NAMESPACED = "--model-namespacing=true"


def _several(
    name: str,
    flags: tuple[str, ...],
    repositories: Mapping[str, tuple[Folder, ...]],
    *steps: Step,
    listed: tuple[str, ...] = (),
    starts: bool = True,
    protocols: tuple[str, ...] = (GRPC,),
) -> Scenario:
    setup = Setup(flags, repositories, listed, starts)
    return Scenario(name, steps, setup=setup, protocols=protocols)


def _twice(name: str) -> dict[str, tuple[Folder, ...]]:
    return {
        "one": (python(name, mark="one"), plain("a")),
        "two": (python(name, mark="two"), plain("b")),
    }


_PLAIN = (
    _several(
        "repositories: different models",
        (),
        {"one": (plain("a"),), "two": (plain("b"),)},
        Index(),
        Infer("a"),
        Infer("b"),
        Ready(),
    ),
    _several(
        "repositories: the same one twice",
        (_GO_ON,),
        {"one": (plain("a"),)},
        Index(),
        Infer("a"),
        Ready(),
        listed=("one", "one"),
    ),
    _several("repositories: equal names end the start", (), _twice("m"), Ended(), starts=False),
    _several(
        "repositories: equal names",
        (_GO_ON,),
        _twice("m"),
        Index(),
        Index(ready=True),
        Infer("m"),
        Infer("a"),
        Ready(),
        Ready("m"),
        Told("m"),
    ),
    _several(
        "repositories: equal names, explicit",
        (_EXPLICIT,),
        _twice("m"),
        Index(),
        Load("m"),
        Index(),
        Ready(),
        Infer("m"),
        Load("a"),
        Index(),
        Unload("m"),
        Index(),
    ),
    _several(
        "repositories: equal names, star",
        (_EXPLICIT, "--load-model=*", _GO_ON),
        _twice("m"),
        Index(),
        Ready(),
    ),
    _several(
        "repositories: an equal name comes later",
        (_EXPLICIT,),
        {"one": (python("m", mark="one"),), "two": ()},
        Load("m"),
        Infer("m"),
        Write((python("m", mark="two"),), "two"),
        Index(),
        Infer("m"),
        Load("m"),
        Index(),
        Infer("m"),
        Remove("m", "one"),
        Index(),
        Load("m"),
        Index(),
        Infer("m"),
        Unload("m"),
        Index(),
    ),
    _several(
        "repositories: what is no model",
        (_GO_ON,),
        {
            REPOSITORY: (
                plain("a"),
                Folder(".hidden", plain("x").config, {1: False}),
                Folder("empty", None, {}),
            )
        },
        Index(("a", ".hidden", "empty", "notes.txt")),
        Ready(),
    ),
    _several("repositories: empty", (), {REPOSITORY: ()}, Index(), Ready()),
)

_SPACES: dict[str, tuple[Folder, ...]] = {
    "one": (python("m", mark="one"), ensemble("e", "p"), plain("p", versions=(1,)), plain("a")),
    "two": (python("m", mark="two"), ensemble("f", "p"), plain("p", versions=(2,)), plain("b")),
}
_NAMESPACES = (
    _several(
        "namespaces: equal names at the start",
        (_NAMESPACED,),
        _SPACES,
        Index(),
        Index(ready=True),
        Infer("m"),
        Infer("m", "1"),
        Infer("a"),
        Infer("e"),
        Infer("f"),
        Ready(),
        Ready("m"),
        Ready("a"),
        Told("m"),
        Told("a"),
    ),
    _several(
        "namespaces: equal names, explicit",
        (_NAMESPACED, _EXPLICIT),
        _SPACES,
        Index(),
        Load("m"),
        Index(),
        Infer("m"),
        Load("a"),
        Infer("a"),
        Load("e"),
        Index(),
        Infer("e"),
        Infer("p"),
        Load("f"),
        Index(),
        Infer("f"),
        Infer("p"),
        Unload("p"),
        Unload("m"),
        Index(),
        Unload("e", dependents=True),
        Index(),
        Infer("p"),
        Unload("a"),
        Index(),
        protocols=("http", "grpc"),
    ),
    _several(
        "namespaces: load-model of an equal name",
        (_NAMESPACED, _EXPLICIT, "--load-model=m", _GO_ON),
        _SPACES,
        Index(),
        Ready(),
        Infer("m"),
    ),
    _several(
        "namespaces: star",
        (_NAMESPACED, _EXPLICIT, "--load-model=*"),
        _SPACES,
        Index(),
        Ready(),
        Infer("m"),
        Infer("e"),
        Unload("m"),
        Index(),
    ),
    _several(
        "namespaces: unique names",
        (_NAMESPACED,),
        {"one": (plain("a"),), "two": (plain("b"), ensemble("e", "a", "b"))},
        Index(),
        Infer("a"),
        Infer("e"),
        Ready(),
    ),
    _several(
        "namespaces: an ensemble's step elsewhere is ambiguous",
        (_NAMESPACED, _GO_ON),
        {"one": (plain("p"),), "two": (plain("p"),), "three": (ensemble("e", "p"),)},
        Index(),
        Infer("e"),
        Ready(),
    ),
    _several(
        "namespaces: an equal name comes later",
        (_NAMESPACED, _EXPLICIT),
        {"one": (python("m", mark="one"),), "two": ()},
        Load("m"),
        Infer("m"),
        Write((python("m", mark="two"),), "two"),
        Index(),
        Infer("m"),
        Load("m"),
        Index(),
        Infer("m"),
        Remove("m", "one"),
        Index(),
        Load("m"),
        Index(),
        Infer("m"),
        Unload("m"),
        Index(),
    ),
    _several(
        "namespaces: one of two fails",
        (_NAMESPACED, _GO_ON),
        {"one": (python("m", mark="one"),), "two": (python("m", mark="two", raises="1"),)},
        Index(),
        Infer("m"),
        Ready(),
    ),
    _several(
        "namespaces: overrides",
        (_NAMESPACED, _EXPLICIT),
        {"one": (python("m", mark="one"),), "two": (plain("b"),)},
        Load("m", '{"backend": "python", "parameters": {"mark": {"string_value": "sent"}}}'),
        Index(),
        Infer("m"),
        Load("m"),
        Infer("m"),
    ),
)

SCENARIOS = (*_PLAIN, *_NAMESPACES)
