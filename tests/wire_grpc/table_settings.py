"""Trace and log settings. Those that change something are sent in order, the last undoing it."""

from __future__ import annotations

from tests.wire_grpc.protobuf_bytes import block, number
from tests.wire_grpc.requests import GrpcRequest

_LOG_MEMBERS = {
    "bool": number(1, 1),
    "uint32": number(2, 0),
    "string": block(3, "default"),
    "unset": b"",
}


def _log(name: str, *settings: tuple[str, bytes], together: str = "") -> GrpcRequest:
    entries = [block(1, block(1, key) + block(2, value)) for key, value in settings]
    return GrpcRequest(
        name=name,
        method="LogSettings",
        messages=(b"".join(entries),),
        together=together,
        masked=("log_file",),
    )


LOG = (
    _log("log settings"),
    *(
        _log(f"log {key} as {member}", (key, value))
        for key in ("log_info", "log_warning", "log_error", "log_verbose_level", "log_format")
        for member, value in _LOG_MEMBERS.items()
    ),
    _log("log file", ("log_file", block(3, "/tmp/no"))),
    _log("log file as a number", ("log_file", number(2, 1))),
    _log("log unknown setting", ("log_colour", block(3, "red"))),
    _log(
        "log unknown beside a known one", ("log_colour", number(1, 1)), ("log_info", number(1, 1))
    ),
    _log("log format unknown", ("log_format", block(3, "xml"))),
    _log("log format ISO8601", ("log_format", block(3, "ISO8601")), together="log"),
    _log("log verbose level two", ("log_verbose_level", number(2, 2)), together="log"),
    _log("log info off", ("log_info", number(1, 0)), together="log"),
    _log(
        "log all as they were",
        ("log_format", block(3, "default")),
        ("log_verbose_level", number(2, 0)),
        ("log_info", number(1, 1)),
        together="log",
    ),
)


def _trace(
    name: str, *settings: tuple[str, tuple[str, ...]], model: str = "", together: str = ""
) -> GrpcRequest:
    entries = [
        block(1, block(1, key) + block(2, b"".join(block(1, text) for text in values)))
        for key, values in settings
    ]
    named = block(2, model) if model else b""
    return GrpcRequest(
        name=name,
        method="TraceSetting",
        messages=(b"".join(entries) + named,),
        together=together,
    )


TRACE = (
    _trace("trace settings"),
    _trace("trace settings of a model", model="add_sub"),
    _trace("trace settings of an unknown model", model="no_such_model"),
    _trace("trace change of an unknown model", ("trace_rate", ("5",)), model="no_such_model"),
    _trace("trace unknown setting", ("trace_colour", ("red",))),
    _trace("trace level unknown", ("trace_level", ("SOME",))),
    _trace("trace level off and on", ("trace_level", ("OFF", "TIMESTAMPS"))),
    *(
        _trace(f"trace {key} {text!r}", (key, (text,)))
        for key in ("trace_rate", "trace_count", "log_frequency")
        for text in ("x", "", "-5", "5x", "99999999999999999999", "1.5")
    ),
    *(
        _trace(f"trace {key} twice", (key, ("1", "2")))
        for key in ("trace_rate", "trace_count", "log_frequency", "trace_file")
    ),
    _trace("trace file", ("trace_file", ("/tmp/no",))),
    _trace("trace mode", ("trace_mode", ("opentelemetry",))),
    _trace("trace rate 7", ("trace_rate", ("7",)), together="trace"),
    _trace("trace rate 9 of a model", ("trace_rate", ("9",)), model="add_sub", together="trace"),
    _trace("trace rate of a model cleared", ("trace_rate", ()), model="add_sub", together="trace"),
    _trace("trace rate as it was", ("trace_rate", ("1000",)), together="trace"),
)

SETTINGS: tuple[GrpcRequest, ...] = (*LOG, *TRACE)
