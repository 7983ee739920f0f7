"""Requests to every method of the inference service, and what becomes of them.

The texts are those that the real Triton (2.51) gave to the same requests, but for what the
description in the project's spec says of newer ones: clients' shared memory is off, and trace
settings of an unknown model are an empty answer.
"""

from __future__ import annotations

from typing import Any

Members = dict[str, Any]

UNKNOWN_VERSION = (
    "failed to get model version from specified version string '{}' (details: stol),"
    " version should be an integral value > 0"
)
NEGATIVE_VERSION = "invalid model version specified '{}' , version should be an integral value > 0"
NOT_EXPLICIT = "explicit model load / unload is not allowed if polling is enabled"
NO_REPOSITORY = "'repository_name' specification is not supported"
SHM_OFF = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)
TRACE_FILE_FIXED = "trace file location can not be updated through network protocol"
LOG_FILE_FIXED = "log file location can not be updated through network protocol"
NO_TRACE_FILE = "Attempting to set invalid trace setting :trace file name is not given"
OUT_OF_RANGE = "Unable to parse '{}', value is out of range [ 0, 4294967295 ], got: {}"
ONLY_OFF = "Expect only one trace level 'OFF' is specified"


def trace(**settings: list[str]) -> Members:
    return {"settings": {name: {"value": values} for name, values in settings.items()}}


def log_settings(**settings: dict[str, Any]) -> Members:
    return {"settings": settings}


def parameters(**values: Any) -> Members:
    return {"model_name": "m", "parameters": values}


ANSWERED: list[tuple[str, Members, Members]] = [
    ("ServerLive", {}, {"live": True}),
    ("ServerReady", {}, {"ready": True}),
    ("ModelReady", {"name": "m"}, {"ready": True}),
    ("ModelReady", {"name": "m", "version": "1"}, {"ready": True}),
    ("ModelReady", {"name": "m", "version": "+03"}, {"ready": True}),
    ("ModelReady", {"name": "m", "version": " 1.5"}, {"ready": True}),
    ("ModelReady", {"name": "m", "version": "1abc"}, {"ready": True}),
    ("ModelReady", {"name": "m", "version": "0x1"}, {}),
    ("ModelReady", {"name": "m", "version": "4"}, {}),
    ("ModelReady", {"name": "broken"}, {}),
    ("ModelReady", {"name": "nope"}, {}),
    ("ModelReady", {}, {}),
    ("SystemSharedMemoryStatus", {}, {}),
    ("CudaSharedMemoryStatus", {}, {}),
    ("TraceSetting", {"model_name": "nope"}, {}),
    ("TraceSetting", {"model_name": "nope"} | trace(trace_rate=["1"]), {}),
]  # fmt: skip

NO_MODEL = ("NOT_FOUND", "Request for unknown model: 'nope' is not found")
REFUSED: list[tuple[str, Members, tuple[str, str]]] = [
    *(
        (method, {"name": "m", "version": text}, ("INVALID_ARGUMENT", why.format(text)))
        for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
        for text, why in {
            "abc": UNKNOWN_VERSION,
            "  ": UNKNOWN_VERSION,
            "9" * 20: UNKNOWN_VERSION,
            "-1": NEGATIVE_VERSION,
            "-5": NEGATIVE_VERSION,
        }.items()
    ),
    *(
        (method, {"name": name, "version": version}, answer)
        for method in ("ModelMetadata", "ModelConfig")
        for name, version, answer in (
            ("nope", "", NO_MODEL),
            ("nope", "1", NO_MODEL),
            ("", "", ("NOT_FOUND", "Request for unknown model: '' is not found")),
            ("m", "2", ("NOT_FOUND", "Request for unknown model: 'm' version 2 is not found")),
            ("m", "0", ("NOT_FOUND", "Request for unknown model: 'm' version 0 is not found")),
            (
                "m", "4",
                ("UNAVAILABLE", "Request for unknown model: 'm' version 4 is not at ready state"),
            ),
            (
                "broken", "",
                ("NOT_FOUND", "Request for unknown model: 'broken' has no available versions"),
            ),
        )
    ),
    (
        "ModelStatistics", {"name": "nope"},
        ("INVALID_ARGUMENT", "requested model 'nope' is not available"),
    ),
    (
        "ModelStatistics", {"name": "m", "version": "2"},
        ("INVALID_ARGUMENT", "requested model version is not available for model 'm'"),
    ),
    ("ModelStatistics", {"version": "x"}, ("INVALID_ARGUMENT", UNKNOWN_VERSION.format("x"))),
    ("RepositoryIndex", {"repository_name": "x"}, ("UNIMPLEMENTED", NO_REPOSITORY)),
    ("RepositoryModelLoad", {"repository_name": "x"}, ("UNIMPLEMENTED", NO_REPOSITORY)),
    ("RepositoryModelUnload", {"repository_name": "x"}, ("UNIMPLEMENTED", NO_REPOSITORY)),
    ("RepositoryModelLoad", {"model_name": "m"}, ("UNAVAILABLE", NOT_EXPLICIT)),
    ("RepositoryModelUnload", {"model_name": "m"}, ("UNAVAILABLE", NOT_EXPLICIT)),
    (
        "SystemSharedMemoryStatus", {"name": "q"},
        ("NOT_FOUND", "Unable to find system shared memory region: 'q'"),
    ),
    (
        "CudaSharedMemoryStatus", {"name": "q"},
        ("NOT_FOUND", "Unable to find cuda shared memory region: 'q'"),
    ),
    *(
        (f"{kind}SharedMemory{verb}", {"name": name}, ("UNIMPLEMENTED", SHM_OFF))
        for kind in ("System", "Cuda")
        for verb in ("Register", "Unregister")
        for name in ("", "q")
    ),
    (
        "TraceSetting", {"model_name": "broken"},
        ("INVALID_ARGUMENT", "Request for unknown model : broken"),
    ),
    ("TraceSetting", trace(trace_file=["x"]), ("UNIMPLEMENTED", TRACE_FILE_FIXED)),
    ("TraceSetting", trace(trace_file=[]), ("UNIMPLEMENTED", TRACE_FILE_FIXED)),
    ("TraceSetting", trace(trace_level=["OFF", "OFF"]), ("INVALID_ARGUMENT", ONLY_OFF)),
    ("TraceSetting", trace(trace_level=["OFF", "TENSORS"]), ("INVALID_ARGUMENT", ONLY_OFF)),
    ("TraceSetting", trace(trace_level=["x", "TENSORS"]), ("INVALID_ARGUMENT", NO_TRACE_FILE)),
    *(
        ("TraceSetting", trace(**{name: [text]}), ("INVALID_ARGUMENT", why.format(name, text)))
        for name in ("trace_rate", "log_frequency")
        for text, why in {
            "x": "Unable to parse '{}', got: {}",
            "": "Unable to parse '{}', got: {}",
            "3000000000": OUT_OF_RANGE,
        }.items()
    ),
    (
        "TraceSetting", trace(trace_rate=["1", "2"]),
        ("INVALID_ARGUMENT", "expect only 1 value for 'trace_rate'"),
    ),
    (
        "TraceSetting", trace(trace_count=["-3"]),
        ("INVALID_ARGUMENT", "Unable to parse 'trace_count'. Expecting value >= -1, got: -3"),
    ),
    (
        "TraceSetting", trace(trace_count=["99999999999"]),
        (
            "INVALID_ARGUMENT",
            "Unable to parse 'trace_count', value is out of range [ -1, 2147483647 ],"
            " got: 99999999999",
        ),
    ),
    *(
        ("LogSettings", log_settings(**{name: value}), ("INVALID_ARGUMENT", text))
        for name, value, text in (
            ("log_info", {"string_param": "x"}, "expect boolean for 'log_info'"),
            ("log_info", {}, "expect boolean for 'log_info'"),
            ("log_warning", {"uint32_param": 1}, "expect boolean for 'log_warning'"),
            ("log_error", {"uint32_param": 1}, "expect boolean for 'log_error'"),
            ("log_verbose_level", {"bool_param": True}, "expect int32 for 'log_verbose_level'"),
            ("log_format", {"bool_param": True}, "expect string for 'log_format'"),
            ("log_format", {"string_param": "x"}, "invalid argument for log_format, got: x"),
        )
    ),
    ("LogSettings", log_settings(log_file={}), ("UNIMPLEMENTED", LOG_FILE_FIXED)),
    (
        "LogSettings", log_settings(log_file={"string_param": "x"}, log_info={}),
        ("UNIMPLEMENTED", LOG_FILE_FIXED),
    ),
]  # fmt: skip


LOAD_REFUSED: list[tuple[str, Members, tuple[str, str]]] = [
    (
        "RepositoryModelLoad", {"model_name": "bad"},
        ("INTERNAL", "failed to load 'bad', failed to poll from model repository"),
    ),
    (
        "RepositoryModelLoad", parameters(a={"int64_param": "1"}),
        ("INVALID_ARGUMENT", "unrecognized load parameter 'a'."),
    ),
    (
        "RepositoryModelLoad", parameters(config={"bytes_param": "eA=="}),
        (
            "INVALID_ARGUMENT",
            "invalid value type for load parameter 'config', expected string_param.",
        ),
    ),
    (
        "RepositoryModelLoad", parameters(**{"file:1/a": {"string_param": "x"}}),
        (
            "INVALID_ARGUMENT",
            "invalid value type for load parameter 'file:1/a', expected bytes_param.",
        ),
    ),
    (
        "RepositoryModelLoad", parameters(**{"file:1/a": {"bytes_param": "eA=="}}),
        ("INVALID_ARGUMENT", "Load parameter 'config' must be specified for model file override"),
    ),
    (
        "RepositoryModelUnload", parameters(unload_dependents={"string_param": "x"}),
        (
            "INVALID_ARGUMENT",
            "invalid value type for 'unload_dependents' parameter, expected bool_param.",
        ),
    ),
]  # fmt: skip
