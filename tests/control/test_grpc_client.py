"""The whole surface of stock tritonclient.grpc but inference, over the gRPC server alone."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.control.grpc_bench import GrpcBench, grpc_bench

tritonclient_grpc = pytest.importorskip("tritonclient.grpc")
tritonclient_aio = pytest.importorskip("tritonclient.grpc.aio")
from tritonclient.utils import InferenceServerException  # noqa: E402

# Client's method, its arguments, what must be true of the answer.
Check = Callable[[Any], bool]
SURFACE: list[tuple[str, dict[str, Any], Check]] = [
    ("is_server_live", {}, lambda a: a is True),
    ("is_server_ready", {}, lambda a: a is True),
    ("is_model_ready", {"model_name": "m"}, lambda a: a is True),
    ("is_model_ready", {"model_name": "m", "model_version": "2"}, lambda a: a is False),
    ("get_server_metadata", {}, lambda a: a.name == "triton" and "statistics" in a.extensions),
    ("get_server_metadata", {"as_json": True}, lambda a: a["name"] == "triton"),
    ("get_model_metadata", {"model_name": "m"}, lambda a: list(a.versions) == ["1", "3"]),
    ("get_model_metadata", {"model_name": "m", "as_json": True}, lambda a: a["name"] == "m"),
    ("get_model_config", {"model_name": "m"}, lambda a: a.config.max_batch_size == 4),
    ("get_model_repository_index", {}, lambda a: "fresh" in [one.name for one in a.models]),
    ("load_model", {"model_name": "m"}, lambda a: a is None),
    (
        "load_model",
        {"model_name": "m", "config": "{}", "files": {"file:1/model.py": b"\x00"}},
        lambda a: a is None,
    ),
    ("unload_model", {"model_name": "m"}, lambda a: a is None),
    ("unload_model", {"model_name": "m", "unload_dependents": True}, lambda a: a is None),
    ("get_inference_statistics", {}, lambda a: len(a.model_stats) == 2),
    (
        "get_inference_statistics",
        {"model_name": "m", "model_version": "3"},
        lambda a: a.model_stats[0].inference_stats.success.count == 3,
    ),
    (
        "update_trace_settings",
        {"model_name": "m", "settings": {"trace_rate": "7", "trace_level": ["OFF"]}},
        lambda a: list(a.settings["trace_rate"].value) == ["7"],
    ),
    (
        "get_trace_settings",
        {"model_name": "m", "as_json": True},
        lambda a: a["settings"]["trace_rate"] == {"value": ["7"]},
    ),
    (
        "update_trace_settings",
        {"model_name": "m", "settings": {"trace_rate": None}},
        lambda a: list(a.settings["trace_rate"].value) == ["1000"],
    ),
    (
        "update_log_settings",
        {"settings": {"log_info": False, "log_verbose_level": 1, "log_format": "ISO8601"}},
        lambda a: a.settings["log_verbose_level"].uint32_param == 1,
    ),
    ("get_log_settings", {}, lambda a: a.settings["log_format"].string_param == "ISO8601"),
    ("get_system_shared_memory_status", {}, lambda a: len(a.regions) == 0),
    ("get_cuda_shared_memory_status", {}, lambda a: len(a.regions) == 0),
]
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "get_model_config",
        {"model_name": "nope"},
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'nope' is not found",
    ),
    (
        "get_model_metadata",
        {"model_name": "m", "model_version": "x"},
        "StatusCode.INVALID_ARGUMENT",
        "failed to get model version from specified version string 'x' (details: stol),"
        " version should be an integral value > 0",
    ),
    (
        "load_model",
        {"model_name": "bad"},
        "StatusCode.INTERNAL",
        "failed to load 'bad', failed to poll from model repository",
    ),
    *(
        (
            method,
            arguments,
            "StatusCode.UNIMPLEMENTED",
            "Client shared memory is disabled. Start the server with '--allow-client-shm=true'"
            " to enable.",
        )
        for method, arguments in (
            ("register_system_shared_memory", {"name": "r", "key": "/k", "byte_size": 8}),
            ("unregister_system_shared_memory", {"name": "r"}),
            ("unregister_system_shared_memory", {}),
            (
                "register_cuda_shared_memory",
                {"name": "r", "raw_handle": b"AA==", "device_id": 0, "byte_size": 8},
            ),
            ("unregister_cuda_shared_memory", {}),
        )
    ),
]


async def _blocking(bench: GrpcBench) -> list[str]:
    def ask_everything() -> list[str]:
        with tritonclient_grpc.InferenceServerClient(bench.target) as client:
            faults = [
                f"{method}{arguments}"
                for method, arguments, check in SURFACE
                if not check(getattr(client, method)(**arguments))
            ]
            for method, arguments, code, text in REFUSED:
                try:
                    getattr(client, method)(**arguments)
                    faults.append(f"{method}{arguments} was not refused")
                except InferenceServerException as error:
                    if (error.status(), error.message()) != (code, text):
                        faults.append(f"{method}{arguments}: {error}")
            return faults

    return await asyncio.to_thread(ask_everything)


async def _asynchronous(bench: GrpcBench) -> list[str]:
    faults = []
    async with tritonclient_aio.InferenceServerClient(bench.target) as client:
        for method, arguments, check in SURFACE:
            if not check(await getattr(client, method)(**arguments)):
                faults.append(f"{method}{arguments}")
        for method, arguments, code, text in REFUSED:
            try:
                await getattr(client, method)(**arguments)
                faults.append(f"{method}{arguments} was not refused")
            except InferenceServerException as error:
                if (error.status(), error.message()) != (code, text):
                    faults.append(f"{method}{arguments}: {error}")
    return faults


@pytest.mark.parametrize("client", [_blocking, _asynchronous])
async def test_stock_clients_get_what_they_expect(client: Any) -> None:
    async with grpc_bench(model_control_mode="explicit") as bench:
        assert await client(bench) == []


def test_the_tables_name_every_method_of_the_client_but_inference() -> None:
    elsewhere = {"infer", "async_infer", "start_stream", "stop_stream", "async_stream_infer"}
    of_the_client_alone = {"close", "register_plugin", "unregister_plugin", "plugin"}
    public = {
        name
        for name, _ in inspect.getmembers(
            tritonclient_grpc.InferenceServerClient, inspect.isfunction
        )
        if not name.startswith("_")
    }
    asked = {row[0] for row in SURFACE} | {row[0] for row in REFUSED}
    assert public - elsewhere - of_the_client_alone == asked


async def test_a_large_override_file_is_taken() -> None:
    async with grpc_bench(model_control_mode="explicit") as bench:
        content = bytes(20 << 20)  # far beyond grpcio's own limit
        async with tritonclient_aio.InferenceServerClient(bench.target) as client:
            await client.load_model("m", config="{}", files={"file:1/weights": content})
        override = bench.loader.calls[0][2]
        assert override is not None
        assert override.files["1/weights"] == content
