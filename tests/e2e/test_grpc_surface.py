"""The stock client's gRPC surface on the real server: unary, streams, and all other methods."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as client
import tritonclient.http as http_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver


@pytest.fixture()
def grpc_address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.grpc}"


@pytest.fixture()
def stock(grpc_address: str) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(grpc_address) as server:
        yield server


def tensor(name: str, data: np.ndarray, datatype: str) -> client.InferInput:
    made = client.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data)
    return made


def add_sub_inputs(batch: int = 1) -> tuple[list[client.InferInput], np.ndarray]:
    first = np.arange(16 * batch, dtype=np.float32).reshape(batch, 16)
    second = np.full((batch, 16), 2, np.float32)
    return [tensor("INPUT0", first, "FP32"), tensor("INPUT1", second, "FP32")], first + second


class Answers:
    """Collects what a stream brings."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[client.InferResult | None, Exception | None]] = queue.Queue()

    def __call__(self, result: client.InferResult | None, error: Exception | None) -> None:
        self.queue.put((result, error))

    def result(self) -> client.InferResult:
        result, error = self.queue.get(timeout=20)
        assert error is None and result is not None
        return result

    def error(self) -> InferenceServerException:
        result, error = self.queue.get(timeout=20)
        assert isinstance(error, InferenceServerException) and result is None
        return error


def is_final(result: client.InferResult) -> bool:
    return result.get_response().parameters["triton_final_response"].bool_param


def test_a_request_is_answered(stock) -> None:
    inputs, total = add_sub_inputs()
    wishes = [client.InferRequestedOutput("OUTPUT0")]
    result = stock.infer("add_sub", inputs, outputs=wishes, request_id="7")
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)
    assert result.as_numpy("OUTPUT1") is None
    assert result.get_response().id == "7"
    assert result.get_response().model_version == "1"


def test_a_large_tensor_comes_back_as_it_was_sent(stock) -> None:
    data = np.arange(4_000_000, dtype=np.float32).reshape(1, -1)
    result = stock.infer("identity_fp32", [tensor("INPUT0", data, "FP32")])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)


def test_texts_come_back_as_they_were_sent(stock) -> None:
    data = np.array([[b"", b"text", "größe".encode(), b"\x00\xff"]], object)
    result = stock.infer("identity_bytes", [tensor("INPUT0", data, "BYTES")])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), data)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_requests_are_understood(stock, encoding: str) -> None:
    inputs, total = add_sub_inputs()
    result = stock.infer("add_sub", inputs, compression_algorithm=encoding)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)


def test_typed_contents_are_understood(grpc_address: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="identity_fp32")
    given = request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 3])
    given.contents.fp32_contents.extend([1, 2, 3])
    with grpc.insecure_channel(grpc_address) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [1, 2, 3]


ERRORS = [
    ("absent", "", "StatusCode.NOT_FOUND", "Request for unknown model: 'absent' is not found"),
    ("add_sub", "x", "StatusCode.INVALID_ARGUMENT", ""),
    (
        "decoupled",
        "",
        "StatusCode.UNIMPLEMENTED",
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
    ),
]


@pytest.mark.parametrize(("model", "version", "code", "text"), ERRORS)
def test_a_refusal_has_tritons_status_and_text(
    stock, model: str, version: str, code: str, text: str
) -> None:
    inputs, _ = add_sub_inputs()
    with pytest.raises(InferenceServerException) as raised:
        stock.infer(model, inputs, model_version=version)
    assert raised.value.status() == code
    assert text in raised.value.message()


def test_an_error_of_the_model_is_the_calls_status(stock) -> None:
    code = np.array([[3]], np.int32)
    with pytest.raises(InferenceServerException, match="asked for NOT_FOUND") as raised:
        stock.infer("failing", [tensor("CODE", code, "INT32")])
    assert raised.value.status() == "StatusCode.NOT_FOUND"


def test_asynchronous_requests_are_all_answered(stock) -> None:
    answers = Answers()
    inputs, total = add_sub_inputs()
    for _ in range(200):
        stock.async_infer("add_sub", inputs, answers)
    for _ in range(200):
        np.testing.assert_array_equal(answers.result().as_numpy("OUTPUT0"), total)


def test_a_stream_keeps_the_order_of_requests(stock) -> None:
    answers = Answers()
    stock.start_stream(answers)
    inputs, total = add_sub_inputs()
    for index in range(100):
        stock.async_stream_infer("add_sub", inputs, request_id=str(index))
    for index in range(100):
        result = answers.result()
        assert result.get_response().id == str(index)
        assert is_final(result)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)
    stock.stop_stream()


def test_an_error_within_a_stream_does_not_end_it(stock) -> None:
    answers = Answers()
    stock.start_stream(answers)
    inputs, _ = add_sub_inputs()
    stock.async_stream_infer("absent", inputs)
    stock.async_stream_infer("add_sub", inputs)
    assert "unknown model" in answers.error().message()
    answers.result()
    stock.stop_stream()


def test_a_strict_stream_ends_with_the_first_error(stock) -> None:
    answers = Answers()
    stock.start_stream(answers, headers={"triton_grpc_error": "true"})
    inputs, _ = add_sub_inputs()
    stock.async_stream_infer("absent", inputs)
    assert answers.error().status() == "StatusCode.NOT_FOUND"
    stock.stop_stream()


@pytest.mark.parametrize("empty_final", [False, True])
def test_a_decoupled_model_answers_as_often_as_it_likes(stock, empty_final: bool) -> None:
    answers = Answers()
    stock.start_stream(answers)
    data = np.array([5], np.int32)
    stock.async_stream_infer(
        "decoupled",
        [tensor("INPUT0", data, "INT32")],
        request_id="d",
        enable_empty_final_response=empty_final,
    )
    for index in range(5):
        result = answers.result()
        assert result.as_numpy("OUTPUT0").tolist() == [index]
        assert not is_final(result)
    if empty_final:
        result = answers.result()
        assert is_final(result)
        assert result.get_response().id == "d"
        assert not result.get_response().outputs
    stock.stop_stream()
    assert answers.queue.empty()


def test_everything_but_inference_is_answered_by_the_control_plane(stock) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready("add_sub")
    assert not stock.is_model_ready("absent")
    assert stock.get_server_metadata().name
    assert stock.get_model_metadata("add_sub").inputs[0].name == "INPUT0"
    assert stock.get_model_config("add_sub").config.max_batch_size == 8
    assert any(one.name == "add_sub" for one in stock.get_model_repository_index().models)
    assert stock.get_inference_statistics("add_sub").model_stats[0].name == "add_sub"
    assert stock.get_log_settings().settings["log_info"].bool_param in (True, False)
    with pytest.raises(InferenceServerException) as raised:
        stock.get_model_metadata("absent")
    assert raised.value.status() == "StatusCode.NOT_FOUND"


def test_an_unknown_method_is_unimplemented(grpc_address: str) -> None:
    with grpc.insecure_channel(grpc_address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_both_ports_speak_both_protocols(server: Pyserver, grpc_address: str) -> None:
    assert server.ports is not None
    with client.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as one:
        assert one.is_server_live()
    with http_client.InferenceServerClient(grpc_address) as other:
        assert other.is_server_live()
