"""Everything that is not inference, as far as the HTTP table has it not."""

from __future__ import annotations

from typing import Any

from tests.wire_grpc.protobuf_bytes import block, number
from tests.wire_grpc.requests import GrpcRequest, contents, given, message

HEALTH = "/grpc.health.v1.Health/"


def _call(name: str, method: str, *fields: bytes, **more: Any) -> GrpcRequest:
    return GrpcRequest(name=name, method=method, messages=(b"".join(fields),), **more)


def _named(name: str, method: str, model: str, version: str = "", **more: Any) -> GrpcRequest:
    return _call(name, method, block(1, model), block(2, version), **more)


MODELS = (
    _call("health check", HEALTH + "Check"),
    _call(
        "health check of a service", HEALTH + "Check", block(1, "inference.GRPCInferenceService")
    ),
    _call("health check of an unknown service", HEALTH + "Check", block(1, "none")),
    _call("health method unknown", HEALTH + "Other"),
    *(
        row
        for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
        for row in (
            _named(f"{method} of a known one", method, "add_sub", "1", masked=("inference_count",)),
            _named(f"{method} of no name", method, "", "", masked=()),
            _named(f"{method} of no name with a version", method, "", "1"),
            _named(f"{method} of an unknown one", method, "no_such_model"),
            *(
                _named(f"{method} of version {version!r}", method, "versions", version)
                for version in ("x", "2", "-1", "1x", "01", "9223372036854775808")
            ),
        )
        if not (method == "ModelStatistics" and row.name.endswith(("known one", "'1x'", "'01'")))
        and not (method == "ModelStatistics" and "no name" in row.name)
    ),
)

REPOSITORY = (
    _call("index of a repository", "RepositoryIndex", block(1, "here")),
    _call("load from a repository", "RepositoryModelLoad", block(1, "here"), block(2, "add_sub")),
    _call(
        "unload from a repository", "RepositoryModelUnload", block(1, "here"), block(2, "add_sub")
    ),
)

_MEMBERS = {
    "bool": number(1, 1),
    "int64": number(2, 1),
    "string": block(3, "{}"),
    "bytes": block(4, b"{}"),
    "unset": b"",
}


def _entry(key: str, value: bytes) -> bytes:
    return block(3, block(1, key) + block(2, value))


def _change(
    name: str, kind: str, model: str, *parameters: bytes, server: str = "explicit", **more: Any
) -> GrpcRequest:
    return _call(
        name,
        f"RepositoryModel{kind}",
        block(2, model) if model else b"",
        *parameters,
        server=server,
        **more,
    )


EXPLICIT = (
    GrpcRequest(
        name="explicit good",
        messages=(message("works", given("INPUT0", "INT32", [1], contents(int=[1]))),),
        server="explicit",
    ),
    _call("explicit index at first", "RepositoryIndex", server="explicit", together="explicit"),
    _change("explicit load again", "Load", "works", together="explicit"),
    _change("explicit load that fails", "Load", "raises", together="explicit"),
    _change("explicit load without a version", "Load", "no_version", together="explicit"),
    _change("explicit load with a bad config", "Load", "bad_config", together="explicit"),
    _change("explicit load of an unknown one", "Load", "no_such_model", together="explicit"),
    _change("explicit load of no name", "Load", "", together="explicit"),
    _change("explicit load of dots", "Load", "../works", together="explicit"),
    *(
        _change(
            f"explicit load, {key} as {member}",
            "Load",
            "works",
            _entry(key, value),
            together="explicit",
        )
        for key in ("config", "file:1/model.py", "other")
        for member, value in _MEMBERS.items()
        if (key, member) not in (("config", "string"), ("file:1/model.py", "bytes"))
    ),
    _change(
        "explicit load, config no json",
        "Load",
        "works",
        _entry("config", block(3, "{")),
        together="explicit",
    ),
    _change(
        "explicit load, config empty",
        "Load",
        "works",
        _entry("config", block(3, "")),
        together="explicit",
    ),
    _change(
        "explicit load, file without config",
        "Load",
        "works",
        _entry("file:1/model.py", block(4, b"x")),
        together="explicit",
    ),
    *(
        _change(
            f"explicit unload, dependents as {member}",
            "Unload",
            "no_such_model",
            _entry("unload_dependents", value),
            together="explicit",
        )
        for member, value in _MEMBERS.items()
    ),
    _change(
        "explicit unload, other parameter",
        "Unload",
        "no_such_model",
        _entry("other", block(3, "x")),
        together="explicit",
    ),
    _change("explicit unload of an unknown one", "Unload", "no_such_model", together="explicit"),
    _change("explicit unload of no name", "Unload", "", together="explicit"),
    _call("explicit index after all", "RepositoryIndex", server="explicit", together="explicit"),
)

NOT_EXPLICIT = tuple(
    _change(
        f"load not allowed, {key} as {member}", "Load", "add_sub", _entry(key, value), server="main"
    )
    for key in ("config", "file:1/model.py", "other")
    for member, value in _MEMBERS.items()
) + tuple(
    _change(
        f"unload not allowed, dependents as {member}",
        "Unload",
        "add_sub",
        _entry("unload_dependents", value),
        server="main",
    )
    for member, value in _MEMBERS.items()
)


def _region(name: str, kind: str, method: str, *fields: bytes) -> GrpcRequest:
    return _call(name, f"{kind}SharedMemory{method}", *fields)


REGIONS = tuple(
    row
    for kind in ("System", "Cuda")
    for row in (
        _region(f"{kind} regions", kind, "Status"),
        _region(f"{kind} region unknown", kind, "Status", block(1, "no")),
        _region(f"{kind} register nothing", kind, "Register"),
        _region(
            f"{kind} register without an object",
            kind,
            "Register",
            *(block(1, "r"), block(2, "/pyserver_no_such"), number(4, 64)),
        ),
        _region(f"{kind} unregister unknown", kind, "Unregister", block(1, "no")),
        _region(f"{kind} unregister all", kind, "Unregister"),
    )
)

CONTROL: tuple[GrpcRequest, ...] = (*MODELS, *REPOSITORY, *EXPLICIT, *NOT_EXPLICIT, *REGIONS)
