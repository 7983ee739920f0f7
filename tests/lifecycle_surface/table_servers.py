"""Servers with flags of their own: control modes, loads at the start, readiness, configs."""

from __future__ import annotations

from tests.lifecycle_surface.folders import TENSORS, Folder, ensemble, plain, python
from tests.lifecycle_surface.steps import (
    GRPC,
    REPOSITORY,
    Ended,
    Finish,
    Held,
    Index,
    Infer,
    Load,
    Logged,
    Meanwhile,
    Open,
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


def _server(
    name: str,
    flags: tuple[str, ...],
    folders: tuple[Folder, ...],
    *steps: Step,
    starts: bool = True,
    protocols: tuple[str, ...] = (GRPC,),
) -> Scenario:
    setup = Setup(flags, {REPOSITORY: folders}, starts=starts)
    return Scenario(name, steps, setup=setup, protocols=protocols)


_TWO = (plain("a"), plain("b"))
_FAILING = python("f", raises="1")
_BROKEN = Folder("x", "nonsense {")

_MODES = (
    _server(
        "mode none",
        ("--model-control-mode=none",),
        _TWO,
        Index(),
        Ready(),
        Load("a"),
        Load("nobody"),
        Load("a", "nonsense"),
        Unload("a"),
        Unload("nobody"),
        Index(),
        Infer("a"),
        protocols=("http", "grpc"),
    ),
    _server(
        "mode poll refuses loads",
        ("--model-control-mode=poll", "--repository-poll-secs=60"),
        _TWO,
        Index(),
        Load("a"),
        Unload("a"),
        Unload("nobody"),
        Index(),
        Infer("a"),
        protocols=("http", "grpc"),
    ),
    _server(
        "mode explicit starts with nothing", (_EXPLICIT,), _TWO, Index(), Index(ready=True), Ready()
    ),
    _server(
        "load-model: one",
        (_EXPLICIT, "--load-model=a"),
        _TWO,
        Index(),
        Ready(),
        Infer("a"),
        Infer("b"),
    ),
    _server(
        "load-model: two", (_EXPLICIT, "--load-model=a", "--load-model=b"), _TWO, Index(), Ready()
    ),
    _server("load-model: star", (_EXPLICIT, "--load-model=*"), _TWO, Index(), Ready()),
    _server(
        "load-model: unknown name",
        (_EXPLICIT, "--load-model=a", "--load-model=nobody"),
        _TWO,
        Ended(),
        Logged("failed to load all models"),
        Logged("nobody"),
        starts=False,
    ),
    _server(
        "load-model: unknown name, and on",
        (_EXPLICIT, _GO_ON, "--load-model=a", "--load-model=nobody"),
        _TWO,
        Index(("a", "b", "nobody")),
        Ready(),
        Infer("a"),
        Load("b"),
        Index(("a", "b", "nobody")),
        Ready(),
    ),
    _server(
        "load-model: an ensemble",
        (_EXPLICIT, "--load-model=e"),
        (*_TWO, ensemble("e", "a", "b")),
        Index(),
        Infer("e"),
        Unload("e", dependents=True),
        Index(),
    ),
    _server(
        "load-model: star and a name",
        (_EXPLICIT, "--load-model=*", "--load-model=a"),
        _TWO,
        Ended(),
        starts=False,
    ),
    _server("load-model: not explicit", ("--load-model=a",), _TWO, Ended(), starts=False),
)

_ERRORS = (
    _server(
        "exit on error",
        (),
        (*_TWO, _FAILING),
        Ended(),
        Logged("creating server: Internal - failed to load all models"),
        Logged("failed to load 'f' version 1: Internal: ValueError: cannot start"),
        Logged("successfully loaded 'a'"),
        starts=False,
    ),
    _server(
        "exit on error: a broken config",
        (),
        (*_TWO, _BROKEN),
        Ended(),
        Logged("creating server: Internal - failed to load all models"),
        starts=False,
    ),
    _server(
        "exit on error: explicit",
        (_EXPLICIT, "--load-model=f"),
        (*_TWO, _FAILING),
        Ended(),
        Logged("creating server: Internal - failed to load all models"),
        Logged("creating server: Invalid argument - load failed for model 'f': version 1 is at"),
        starts=False,
    ),
    _server(
        "exit on error: no such repository",
        ("--model-repository=/nowhere/at/all",),
        _TWO,
        Ended(),
        Logged("/nowhere/at/all"),
        starts=False,
    ),
    _server(
        "no exit on error",
        (_GO_ON,),
        (*_TWO, _FAILING, _BROKEN, plain("v", versions=())),
        Index(),
        Index(ready=True),
        Ready(),
        Ready("a"),
        Ready("f"),
        Ready("x"),
        Infer("a"),
        Infer("f"),
        Infer("x"),
        Told("f"),
        Told("x"),
    ),
    _server(
        "no exit on error: a broken config alone",
        (_GO_ON,),
        (*_TWO, _BROKEN),
        Index(),
        Ready(),
        Infer("a"),
    ),
    _server(
        "no exit on error: a model without versions alone",
        (_GO_ON,),
        (*_TWO, plain("v", versions=())),
        Index(),
        Ready(),
        Ready("v"),
    ),
    _server(
        "no exit on error: ensembles",
        (_GO_ON,),
        (
            *_TWO,
            _FAILING,
            ensemble("good", "a", "b"),
            ensemble("lame", "a", "f"),
            ensemble("gap", "a", "nobody"),
        ),
        Index(),
        Ready(),
        Infer("good"),
        Infer("lame"),
    ),
)


def _strictness(name: str, flag: str) -> Scenario:
    return _server(
        name,
        (_EXPLICIT, flag),
        (*_TWO, _FAILING, _BROKEN, python("s", gate="@GATES@/s")),
        Ready(),
        Load("a"),
        Ready(),
        Load("nobody"),
        Ready(),
        Load("x"),
        Ready(),
        Meanwhile("slow", Load("s")),
        Held("s"),
        Ready(),
        Open("s"),
        Finish("slow"),
        Ready(),
        Load("f"),
        Ready(),
        Ready("f"),
        Load("b"),
        Ready(),
        Unload("f"),
        Ready(),
        Unload("a"),
        Ready(),
        Index(),
    )


_READINESS = (
    _strictness("strict readiness", "--strict-readiness=true"),
    _strictness("lenient readiness", "--strict-readiness=false"),
    _server(
        "lenient readiness, and on",
        ("--strict-readiness=false", _GO_ON),
        (*_TWO, _FAILING, _BROKEN),
        Ready(),
        Index(),
    ),
    _server(
        "strict readiness: a reload fails",
        (_EXPLICIT,),
        (python("r", mark="one"),),
        Load("r"),
        Ready(),
        Write((python("r", mark="two", raises="1"),)),
        Load("r"),
        Ready(),
        Ready("r"),
        Infer("r"),
    ),
    _server(
        "strict readiness: an ensemble loses its step",
        (_EXPLICIT,),
        (*_TWO, ensemble("e", "a", "b")),
        Load("e"),
        Ready(),
        Unload("b"),
        Ready(),
        Index(),
    ),
)

_CONFIGURED = (
    _server(
        "model-config-name",
        ("--model-config-name=alt", _GO_ON),
        (
            python(
                "c", mark="file", files={"configs/alt.pbtxt": python("c", mark="alt").config or ""}
            ),
            python("d", mark="file"),
            python("e", mark="file", files={"configs/alt.pbtxt": "nonsense {"}),
            python("g", mark="file", files={"configs/other.pbtxt": "nonsense {"}),
            Folder(
                "h", None, {1: True}, {"configs/alt.pbtxt": python("h", mark="alt").config or ""}
            ),
        ),
        Index(),
        Infer("c"),
        Infer("d"),
        Infer("e"),
        Infer("g"),
        Infer("h"),
        Told("c"),
    ),
    _server(
        "model-config-name: between loads",
        (_EXPLICIT, "--model-config-name=alt"),
        (
            python(
                "c", mark="file", files={"configs/alt.pbtxt": python("c", mark="alt").config or ""}
            ),
        ),
        Load("c"),
        Infer("c"),
        Remove("c/configs"),
        Load("c"),
        Infer("c"),
    ),
    *(
        _server(
            f"no auto-complete: {flag}",
            (flag, _GO_ON),
            (
                Folder("n", None),
                Folder("o", 'backend: "python"\n'),
                Folder("p", 'name: "p"\nbackend: "python"\n' + TENSORS),
                plain("a"),
            ),
            Index(),
            Told("p"),
            Infer("p"),
            Ready(),
        )
        for flag in ("--disable-auto-complete-config", "--strict-model-config=true")
    ),
    _server(
        "auto-complete",
        ("--strict-model-config=false", _GO_ON),
        (Folder("n", None), Folder("o", 'backend: "python"\n'), Folder("q", None, {1: False})),
        Index(),
        Infer("n"),
        Infer("o"),
        Told("n"),
    ),
    _server(
        "loads are tried again",
        (_EXPLICIT, "--model-load-retry-count=2"),
        (_FAILING, *_TWO),
        Load("f"),
        Index(),
        Load("a"),
        Index(),
    ),
    _server(
        "one load at a time",
        (_EXPLICIT, "--model-load-thread-count=1"),
        (*_TWO, ensemble("e", "a", "b"), _FAILING),
        Load("e"),
        Load("f"),
        Index(),
    ),
)

SCENARIOS = (*_MODES, *_ERRORS, *_READINESS, *_CONFIGURED)
