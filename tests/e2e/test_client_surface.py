"""The stock client's whole HTTP surface, sync and aio, against the real server."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as client
import tritonclient.http.aio as aio_client
from tritonclient.utils import InferenceServerException

DATATYPES = {
    "BOOL": np.array([True, False, True, True]),
    "UINT8": np.array([0, 1, 254, 255], np.uint8),
    "UINT16": np.array([0, 1, 2, 65535], np.uint16),
    "UINT32": np.array([0, 1, 2, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 1, 2, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, -1, 0, 127], np.int8),
    "INT16": np.array([-32768, -1, 0, 32767], np.int16),
    "INT32": np.array([-(2**31), -1, 0, 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), -1, 0, 2**63 - 1], np.int64),
    "FP16": np.array([0.5, -2.0, 1.0, 65504.0], np.float16),
    "FP32": np.array([0.1, -2.5, 1e30, 3.0], np.float32),
    "FP64": np.array([0.1, -2.5, 1e300, 3.0], np.float64),
    "BYTES": np.array([b"", b"text", "größe".encode(), b"\x00\xff"], object),
}
# FP16 has no form in JSON; bytes that are no UTF-8 have none either.
WAYS = [(name, True) for name in DATATYPES] + [
    (name, False) for name in DATATYPES if name != "FP16"
]


@pytest.fixture()
def stock(address: str):
    with client.InferenceServerClient(address, concurrency=4) as server:
        yield server


def identity_request(datatype: str, data: np.ndarray, *, binary: bool):
    shaped = data.reshape(1, -1)
    tensor = client.InferInput("INPUT0", list(shaped.shape), datatype)
    tensor.set_data_from_numpy(shaped, binary_data=binary)
    wish = client.InferRequestedOutput("OUTPUT0", binary_data=binary)
    return [tensor], [wish], shaped


def add_sub_inputs(batch: int = 1):
    first = np.arange(16 * batch, dtype=np.float32).reshape(batch, 16)
    second = np.full((batch, 16), 2, np.float32)
    inputs = []
    for name, data in (("INPUT0", first), ("INPUT1", second)):
        tensor = client.InferInput(name, list(data.shape), "FP32")
        tensor.set_data_from_numpy(data)
        inputs.append(tensor)
    return inputs, first, second


@pytest.mark.parametrize(("datatype", "binary"), WAYS)
def test_every_datatype_comes_back_as_it_was_sent(stock, datatype: str, binary: bool) -> None:
    data = DATATYPES[datatype]
    if datatype == "BYTES" and not binary:
        data = data[:3]
    inputs, outputs, expected = identity_request(datatype, data, binary=binary)
    answer = stock.infer(f"identity_{datatype.lower()}", inputs, outputs=outputs).as_numpy(
        "OUTPUT0"
    )
    if datatype == "BYTES":
        sent = [bytes(item) for item in expected.ravel()]
        got = [item if isinstance(item, bytes) else str(item).encode() for item in answer.ravel()]
        assert got == sent
    else:
        assert np.array_equal(answer, expected)


def test_health(stock) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready("add_sub")
    assert stock.is_model_ready("add_sub", "1")
    assert not stock.is_model_ready("add_sub", "7")
    assert not stock.is_model_ready("nobody")


def test_server_metadata(stock) -> None:
    metadata = stock.get_server_metadata()
    assert metadata["name"] == "triton"
    assert "binary_tensor_data" in metadata["extensions"]


def test_model_metadata_and_config(stock) -> None:
    metadata = stock.get_model_metadata("add_sub")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "FP32", "shape": [-1, 16]}
    config = stock.get_model_config("add_sub")
    assert config["max_batch_size"] == 8
    assert config["backend"] == "python"


def test_two_inputs_and_all_outputs(stock) -> None:
    inputs, first, second = add_sub_inputs(batch=3)
    result = stock.infer("add_sub", inputs, request_id="mine")
    assert result.get_response()["id"] == "mine"
    assert np.array_equal(result.as_numpy("OUTPUT0"), first + second)
    assert np.array_equal(result.as_numpy("OUTPUT1"), first - second)


def test_only_the_outputs_that_were_asked_for(stock) -> None:
    inputs, first, second = add_sub_inputs()
    result = stock.infer("add_sub", inputs, outputs=[client.InferRequestedOutput("OUTPUT1")])
    assert result.as_numpy("OUTPUT0") is None
    assert np.array_equal(result.as_numpy("OUTPUT1"), first - second)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_both_ways(stock, algorithm: str) -> None:
    inputs, first, second = add_sub_inputs()
    result = stock.infer(
        "add_sub",
        inputs,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert np.array_equal(result.as_numpy("OUTPUT0"), first + second)


def test_asynchronous_inference(stock) -> None:
    inputs, first, second = add_sub_inputs()
    waiting = [stock.async_infer("add_sub", inputs) for _ in range(20)]
    for one in waiting:
        assert np.array_equal(one.get_result().as_numpy("OUTPUT0"), first + second)


def test_a_named_version(stock) -> None:
    assert stock.get_model_metadata("versions")["versions"] == ["1", "3"]
    assert stock.get_model_metadata("versions", "1")["versions"] == ["1"]


def test_request_parameters_reach_the_model(stock) -> None:
    metadata = stock.get_model_metadata("parameters")
    assert metadata["name"] == "parameters"


def test_an_error_is_triton_s(stock) -> None:
    inputs, _, _ = add_sub_inputs()
    with pytest.raises(InferenceServerException) as raised:
        stock.infer("nobody", inputs)
    assert raised.value.message() == "Request for unknown model: 'nobody' is not found"
    assert raised.value.status() == "404"


def test_statistics_count(stock) -> None:
    inputs, _, _ = add_sub_inputs()
    before = stock.get_inference_statistics("add_sub")["model_stats"][0]
    stock.infer("add_sub", inputs)
    after = stock.get_inference_statistics("add_sub")["model_stats"][0]
    assert after["inference_stats"]["success"]["count"] == (
        before["inference_stats"]["success"]["count"] + 1
    )
    assert after["inference_count"] == before["inference_count"] + 1
    assert after["inference_stats"]["compute_infer"]["ns"] > 0
    assert after["last_inference"] >= before["last_inference"]
    assert len(stock.get_inference_statistics()["model_stats"]) > 10


def test_repository_index_load_and_unload(stock) -> None:
    entries = {entry["name"]: entry for entry in stock.get_model_repository_index()}
    assert entries["add_sub"] == {"name": "add_sub", "version": "1", "state": "READY"}
    stock.unload_model("identity_int16")
    inputs, outputs, _ = identity_request("INT16", DATATYPES["INT16"], binary=True)
    with pytest.raises(InferenceServerException):
        for _ in range(1000):  # unloading is asynchronous, as in Triton
            stock.infer("identity_int16", inputs, outputs=outputs)
    stock.load_model("identity_int16")
    assert stock.is_model_ready("identity_int16")
    stock.infer("identity_int16", inputs, outputs=outputs)
    with pytest.raises(InferenceServerException, match="failed to poll from model repository"):
        stock.load_model("nobody")


def test_log_settings(stock) -> None:
    settings = stock.get_log_settings()
    assert settings["log_verbose_level"] == 0
    assert stock.update_log_settings({"log_verbose_level": 1})["log_verbose_level"] == 1
    stock.update_log_settings({"log_verbose_level": 0})


def test_shared_memory_is_off_as_triton_says(stock) -> None:
    assert stock.get_system_shared_memory_status() == []
    assert stock.get_cuda_shared_memory_status() == []
    with pytest.raises(InferenceServerException, match="--allow-client-shm=true"):
        stock.register_system_shared_memory("mine", "/mine", 64)


async def test_the_aio_client(address: str) -> None:
    server = aio_client.InferenceServerClient(address)
    try:
        assert await server.is_server_ready()
        assert await server.is_model_ready("add_sub")
        assert (await server.get_model_metadata("add_sub"))["name"] == "add_sub"
        assert (await server.get_model_config("add_sub"))["max_batch_size"] == 8
        assert len(await server.get_model_repository_index()) > 10
        inputs, first, second = add_sub_inputs()
        result = await server.infer("add_sub", inputs)
        assert np.array_equal(result.as_numpy("OUTPUT0"), first + second)
    finally:
        await server.close()
