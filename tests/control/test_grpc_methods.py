"""Every method with its statuses and texts, asked by tritonclient's own stubs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from pyserver.errors import InternalError
from tests.control.grpc_bench import GrpcBench, grpc_bench
from tests.control.grpc_table import (
    ANSWERED,
    LOAD_REFUSED,
    REFUSED,
    log_settings,
    parameters,
    trace,
)

service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")

EXPLICIT = {"model_control_mode": "explicit"}


@pytest.fixture
async def bench() -> AsyncIterator[GrpcBench]:
    async with grpc_bench() as one:
        yield one


@pytest.fixture
async def explicit() -> AsyncIterator[GrpcBench]:
    async with grpc_bench(**EXPLICIT) as one:
        yield one


async def ask(bench: GrpcBench, method: str, metadata: Any = (), **members: Any) -> dict[str, Any]:
    """The answer as a dict, without defaults."""
    call = bench.channel.unary_unary(
        f"/inference.GRPCInferenceService/{method}",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=getattr(service_pb2, f"{method}Response").FromString,
    )
    request = ParseDict(members, getattr(service_pb2, f"{method}Request")())
    answer = await call(request, metadata=metadata, timeout=10)
    return MessageToDict(answer, preserving_proto_field_name=True)


async def refused(bench: GrpcBench, method: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(bench, method, **members)
    return error.value.code().name, error.value.details() or ""


@pytest.mark.parametrize(("method", "members", "answer"), ANSWERED, ids=str)
async def test_answers(
    bench: GrpcBench, method: str, members: dict[str, Any], answer: dict[str, Any]
) -> None:
    assert await ask(bench, method, **members) == answer


@pytest.mark.parametrize(("method", "members", "status"), REFUSED, ids=str)
async def test_refusals(
    bench: GrpcBench, method: str, members: dict[str, Any], status: tuple[str, str]
) -> None:
    assert await refused(bench, method, **members) == status


async def test_metadata_of_the_server_and_of_a_model(bench: GrpcBench) -> None:
    server = await ask(bench, "ServerMetadata")
    assert server["name"] == "triton"
    assert server["extensions"][:2] == ["classification", "sequence"]
    model = await ask(bench, "ModelMetadata", name="m")
    assert model == {
        "name": "m",
        "versions": ["1", "3"],
        "platform": "identity",
        "inputs": [{"name": "IN", "datatype": "BYTES", "shape": ["-1", "2", "-1"]}],
        "outputs": [{"name": "OUT", "datatype": "FP32", "shape": ["-1", "1"]}],
    }
    assert (await ask(bench, "ModelMetadata", name="m", version="3"))["versions"] == ["3"]


async def test_config_is_the_completed_one(bench: GrpcBench) -> None:
    answer = await ask(bench, "ModelConfig", name="m", version="1")
    config = answer["config"]
    assert (config["name"], config["max_batch_size"]) == ("m", 4)
    assert config["input"] == [{"name": "IN", "data_type": "TYPE_STRING", "dims": ["2", "-1"]}]


async def test_statistics_of_one_version_of_a_model_and_of_all(bench: GrpcBench) -> None:
    (one,) = (await ask(bench, "ModelStatistics", name="m", version="3"))["model_stats"]
    assert one["version"] == "3"
    assert one["last_inference"] == "1795451609571"
    assert one["inference_stats"]["success"] == {"count": "3", "ns": "30"}
    assert one["batch_stats"] == [
        {"batch_size": "3", "compute_input": {}, "compute_infer": {}, "compute_output": {}}
    ]
    for members in ({"name": "m"}, {}, {"version": "7"}):
        found = (await ask(bench, "ModelStatistics", **members))["model_stats"]
        assert [line["version"] for line in found] == ["1", "3"], members


async def test_the_index_has_every_state_and_reason(bench: GrpcBench) -> None:
    models = (await ask(bench, "RepositoryIndex"))["models"]
    assert {"name": "fresh"} in models
    assert {"name": "m", "version": "4", "state": "LOADING"} in models
    assert {
        "name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: no",
    } in models  # fmt: skip
    ready = (await ask(bench, "RepositoryIndex", ready=True))["models"]
    assert [(one["name"], one.get("version")) for one in ready if one["state"] == "READY"] == [
        ("m", "1"), ("m", "3"),
    ]  # fmt: skip


# --- load and unload ---


@pytest.mark.parametrize(("method", "members", "status"), LOAD_REFUSED, ids=str)
async def test_loads_that_are_refused(
    explicit: GrpcBench, method: str, members: dict[str, Any], status: tuple[str, str]
) -> None:
    assert await refused(explicit, method, **members) == status
    assert explicit.loader.calls == []


async def test_load_and_unload_reach_the_loader(explicit: GrpcBench) -> None:
    config, file = {"string_param": "{}"}, {"bytes_param": "AP8="}
    await ask(explicit, "RepositoryModelLoad", model_name="m")
    await ask(explicit, "RepositoryModelLoad", **parameters(**{"config": config, "file:1/f": file}))
    await ask(
        explicit, "RepositoryModelUnload", **parameters(unload_dependents={"bool_param": True})
    )
    await ask(explicit, "RepositoryModelUnload", **parameters(other={"string_param": "ignored"}))
    verbs = [(verb, name) for verb, name, _ in explicit.loader.calls]
    assert verbs == [("load", "m"), ("load", "m"), ("unload", "m"), ("unload", "m")]
    override = explicit.loader.calls[1][2]
    assert override is not None
    assert (override.config, dict(override.files)) == ("{}", {"1/f": b"\x00\xff"})


# --- settings ---


async def test_trace_settings_fall_back_from_model_to_server_to_start(bench: GrpcBench) -> None:
    async def numbers(model: str = "", **settings: list[str]) -> tuple[str, str]:
        answer = await ask(bench, "TraceSetting", model_name=model, **trace(**settings))
        values = {name: one.get("value") for name, one in answer["settings"].items()}
        assert values["trace_level"] == ["OFF"]
        assert values["trace_mode"] == ["triton"]
        return values["trace_rate"][0], values["trace_count"][0]

    assert await numbers() == ("1000", "-1")
    assert await numbers(trace_count=["2"]) == ("1000", "2")
    assert await numbers("m") == ("1000", "2")
    assert await numbers("m", trace_rate=["11"]) == ("11", "2")
    assert await numbers(trace_rate=["5x"], trace_count=[" 13"]) == ("5", "13")
    assert await numbers("m") == ("11", "13")
    assert (await refused(bench, "TraceSetting", **trace(trace_rate=["6"], trace_count=["x"])))[0]
    assert await numbers("m", trace_rate=[]) == ("5", "13")
    assert await numbers(trace_rate=[], trace_count=[], unknown=["x"]) == ("1000", "-1")
    assert await numbers(trace_rate=["-2"], trace_level=["MAX"]) == ("4294967294", "-1")


async def test_log_settings_change_together_or_not_at_all(bench: GrpcBench) -> None:
    off, level = {"bool_param": False}, {"uint32_param": 2}
    answer = await ask(
        bench, "LogSettings", **log_settings(log_info=off, log_verbose_level=level, other=off)
    )
    assert answer["settings"] == {
        "log_file": {"string_param": ""},
        "log_info": {"bool_param": False},
        "log_warning": {"bool_param": True},
        "log_error": {"bool_param": True},
        "log_verbose_level": {"uint32_param": 2},
        "log_format": {"string_param": "default"},
    }
    assert [(one.log_info, one.log_verbose) for one in bench.applied] == [(False, 2)]
    wrong = log_settings(log_warning=off, log_format={"string_param": "x"})
    assert (await refused(bench, "LogSettings", **wrong))[0] == "INVALID_ARGUMENT"
    assert await ask(bench, "LogSettings") == answer


# --- every call alike ---


async def test_when_the_server_exits_health_says_so_and_all_else_is_refused(
    bench: GrpcBench,
) -> None:
    bench.server.exiting = True
    for method in ("ServerLive", "ServerReady"):
        assert await refused(bench, method) == ("UNAVAILABLE", "Server exiting")
    for method in ("ServerMetadata", "ModelStatistics", "LogSettings", "RepositoryIndex"):
        assert await refused(bench, method) == (
            "UNAVAILABLE",
            "GRPC server is shutting down and has stopped accepting new requests.",
        )


async def test_what_is_no_message_is_refused(bench: GrpcBench) -> None:
    for method in ("inference.GRPCInferenceService/ModelReady", "grpc.health.v1.Health/Check"):
        call = bench.channel.unary_unary(f"/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"\xff\xff")
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert error.value.details() == "Unable to parse request"


async def test_what_is_in_no_table_is_not_served(bench: GrpcBench) -> None:
    for method in ("ModelInfer", "Nope"):
        call = bench.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_of_ours_is_an_internal_error_and_the_next_call_works(
    explicit: GrpcBench, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await refused(explicit, "RepositoryModelLoad", model_name="bug")
    assert answer == ("INTERNAL", "internal error; the server's log has the details")
    assert "ZeroDivisionError" in caplog.text
    assert await ask(explicit, "ServerLive") == {"live": True}


@pytest.mark.parametrize("letter", ["x", "ü", "\n", "\udc80"])
async def test_the_longest_error_reaches_the_client(
    explicit: GrpcBench, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    async def load(name: str, override: object = None) -> None:
        raise InternalError("because " + letter * 100_000)

    monkeypatch.setattr(explicit.loader, "load", load)
    code, text = await refused(explicit, "RepositoryModelLoad", model_name="m")
    assert code == "INTERNAL"
    assert text.startswith("because ")
    assert text.endswith(" …")
    assert len(text) > 1000
