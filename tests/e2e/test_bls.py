"""Business logic scripting: models that call other models, over the real server."""

from __future__ import annotations

import http.client
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.e2e.bls_models import fill
from tests.serving import serving
from tests.waiting import wait_until

Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calls")
    fill(made)
    return made


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serving(
        log, repository, "--model-control-mode=explicit", "--load-model=lab", "--load-model=add"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def address(server: Pyserver) -> str:
    assert server.ports is not None
    return f"127.0.0.1:{server.ports.http}"


@pytest.fixture(scope="module")
def triton(address: str) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(address, network_timeout=60) as made:
        for name in ("other_lab", "lab_of_two", "alab", "stream_lab", "add_batching", "count"):
            made.load_model(name)
        for name in ("sum_uint64", "sum_string", "mirror", "mirror_texts", "pair", "round"):
            made.load_model(name)
        for name in ("reflect", "die"):
            made.load_model(name)
        yield made


def engine_counters(address: str) -> dict[str, int]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        counters: dict[str, int] = json.loads(connection.getresponse().read())["engine"]
    finally:
        connection.close()
    return counters


@pytest.fixture
def run(triton: client.InferenceServerClient) -> Run:
    def made(code: str, *values: float, model: str = "lab", **more: object) -> np.ndarray:
        array = np.array(values or [1], np.float32)
        given = client.InferInput("X", list(array.shape), "FP32")
        given.set_data_from_numpy(array)
        parameters = {"code": textwrap.dedent(code)}
        result = triton.infer(model, [given], parameters=parameters, **more)
        return result.as_numpy("Z")

    return made


def test_a_model_asks_another_one(run: Run) -> None:
    code = """
    def run(request):
        response = ask("add", [given(request)], request_id="mine", timeout=12).exec()
        assert response.parameters() == '{"id":"mine","timeout":12}', response.parameters()
        assert len(response.output_tensors()) == 1
        return out(response)
    """
    assert run(code, 1, 2).tolist() == [2, 3]


def test_a_chain_of_calls_hands_tensors_on_without_a_copy(run: Run) -> None:
    code = """
    def run(request):
        x = given(request)
        first = ask("mirror", [pb_utils.Tensor.from_dlpack("INPUT0", x)], ["OUTPUT0"]).exec()
        second = ask("add", [tensor(out(first, "OUTPUT0").as_numpy())]).exec()
        third = ask("add", [tensor(out(second).as_numpy())]).exec()
        return out(third)
    """
    assert run(code, 1, 2).tolist() == [3, 4]


def test_what_lies_in_shared_memory_goes_by_reference(run: Run) -> None:
    code = """
    def run(request):
        answered = ask("add", [given(request)]).exec()
        view = out(answered).as_numpy()
        by_reference = [
            given(request),
            pb_utils.Tensor("X", given(request).as_numpy()),
            pb_utils.Tensor("X", view),
            pb_utils.Tensor("X", view.reshape(10, 5)[4:8].ravel()),
            pb_utils.Tensor.from_dlpack("X", out(answered)),
        ]
        del answered, view
        before = books()["call_copied_bytes"]
        answers = [ask("add", [one]).exec() for one in by_reference]
        assert [out(one).as_numpy()[0] for one in answers] == [101, 101, 102, 122, 102]
        assert books()["call_copied_bytes"] == before
        for copied in (out(answers[0]).as_numpy() + 0, out(answers[0]).as_numpy()[::2]):
            ask("add", [pb_utils.Tensor("X", copied)]).exec()
        return [books()["call_copied_bytes"] - before]
    """
    assert run(code, *range(100, 150)).tolist() == [200 + 100]


def test_a_hundred_calls_at_once_from_a_coroutine(run: Run) -> None:
    code = """
    async def run(request):
        calls = [ask("add", [tensor([n])]).async_exec() for n in range(100, 200)]
        answers = await asyncio.gather(*calls)
        assert threading.active_count() < 10
        return [out(one).as_numpy()[0] for one in answers]
    """
    assert run(code, model="alab").tolist() == [n + 1 for n in range(100, 200)]


def test_coroutines_run_in_a_loop_of_the_models_own(run: Run) -> None:
    code = """
    def run(request):
        async def several():
            calls = [ask("add_batching", [tensor([[n]])]).async_exec() for n in range(30, 50)]
            return await asyncio.gather(*calls)

        for _ in range(3):
            answers = asyncio.run(several())
        return [out(one).as_numpy().flat[0] for one in answers]
    """
    assert run(code).tolist() == [n + 1 for n in range(30, 50)]


def test_threads_of_a_model_wait_at_once(run: Run) -> None:
    code = """
    def run(request):
        def one(n):
            return out(ask("add", [tensor([n])]).exec()).as_numpy()[0]

        with ThreadPoolExecutor(16) as threads:
            return list(threads.map(one, range(100, 300)))
    """
    assert run(code).tolist() == [n + 1 for n in range(100, 300)]


@pytest.mark.parametrize("responses", [0, 1, 1000])
def test_an_iterator_gives_what_a_decoupled_model_sends(run: Run, responses: int) -> None:
    code = """
    def run(request):
        found = [one for one in ask("count", [given(request)]).exec(decoupled=True)]
        last = found.pop()
        assert not last.has_error() and not last.output_tensors()
        return [out(one).as_numpy()[0] for one in found]
    """
    assert run(code, responses).tolist() == list(range(responses))


def test_an_iterator_is_awaited_and_cancelled_in_the_middle(run: Run) -> None:
    code = """
    async def run(request):
        answers = await ask("count", [tensor([1e6])]).async_exec(decoupled=True)
        assert isinstance(answers, pb_utils.ResponseIterator)
        count = 0
        for one in answers:
            if one.has_error():
                assert one.error().code() == pb_utils.TritonError.CANCELLED
                assert one.error().message() == "stopped"
                return [1]
            count += bool(one.output_tensors())
            if count == 5:
                answers.cancel()
        return [0]
    """
    assert run(code, model="alab").tolist() == [1]


def test_a_stream_of_answers_is_made_of_others_answers(
    triton: client.InferenceServerClient, run: Run
) -> None:
    code = """
    def run(request):
        inner = "def run(request):\\n for n in range(3): yield [n]"
        answers = ask("stream_lab", [tensor([1])], parameters={"code": inner})
        answers = [one for one in answers.exec(decoupled=True) if one.output_tensors()]
        return [out(one).as_numpy()[0] for one in answers]
    """
    assert run(code).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            'ask("nowhere", [given(request)]).exec()',
            "Failed for execute the inference request. Model 'nowhere' is not ready.",
        ),
        (
            'ask("add", [given(request)], model_version=7).exec()',
            "Failed for execute the inference request. Model 'add' is not ready.",
        ),
        (
            'ask("add", [tensor([[1.0]])]).exec()',
            "[request id: <id_unknown>] unexpected shape for input 'X' for model 'add'."
            " Expected [-1], got [1,1]. ",
        ),
        (
            'ask("add", [given(request)], ["W"]).exec()',
            "unexpected inference output 'W' for model 'add'",
        ),
        ('ask("add", [tensor([13.0])]).exec()', "thirteen is refused"),
        (
            'ask("count", [given(request)]).exec()',
            "Model count is using the decoupled. The current BLS request call doesn't support"
            " models using the decoupled transaction policy. Please use 'decoupled=True' argument"
            " to the 'exec' or 'async_exec' calls for decoupled models.'",
        ),
        (
            'next(ask("nowhere", [given(request)]).exec(decoupled=True))',
            "Failed for execute the inference request. Model 'nowhere' is not ready.",
        ),
        (
            'asyncio.run(one(ask("nowhere", [given(request)])))',
            "Failed for execute the inference request. Model 'nowhere' is not ready.",
        ),
    ],
)
def test_an_error_is_a_response(run: Run, call: str, text: str) -> None:
    code = f"""
    async def one(request):
        return await request.async_exec()

    def run(request):
        response = {call}
        assert response.has_error() and response.output_tensors() == []
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(response.error().message()))
    """
    with pytest.raises(InferenceServerException) as caught:
        run(code)
    assert caught.value.message() == text


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("correlation_id=1.5", "Correlation ID must be integer or string"),
        (
            'parameters={"a": 1.5}',
            "Expect parameters values to have type bool/int/str, found type <class 'float'>",
        ),
        (
            "parameters={1: 1}",
            "Expect parameters keys to have type str, found type <class 'int'>",
        ),
    ],
)
def test_a_request_that_cannot_be_made_raises(run: Run, made: str, text: str) -> None:
    code = f"""
    def run(request):
        try:
            ask("add", [given(request)], {made})
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
    """
    with pytest.raises(InferenceServerException) as caught:
        run(code)
    assert caught.value.message() == text


def test_what_a_request_says_of_itself(run: Run) -> None:
    code = """
    def run(request):
        made = pb_utils.InferenceRequest(
            "id", "sequence", inputs=[given(request)], requested_output_names=["Z", "Z"],
            model_name="add", model_version=1, flags=1, timeout=9, trace=request.trace(),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
            parameters={"a": True, "b": 2, "c": "x"},
        )
        assert isinstance(request, pb_utils.InferenceRequest)
        assert isinstance(made, pb_utils.InferenceRequest)
        assert (made.request_id(), made.correlation_id(), made.timeout()) == ("id", "sequence", 9)
        assert json.loads(made.parameters()) == {"a": True, "b": 2, "c": "x"}
        assert [one.name() for one in made.inputs()] == ["X"]
        assert list(made.requested_output_names()) == ["Z"]
        assert made.flags() == 1 and made.trace().get_context() is None
        made.set_flags(2)
        assert made.flags() == 2 and not made.is_cancelled()
        for wrong in (request.exec, made.get_response_sender):
            try:
                wrong()
            except pb_utils.TritonModelException:
                continue
            raise AssertionError(wrong)
        return out(made.exec())
    """
    assert run(code, 1).tolist() == [2]


def test_calls_are_for_execute_only(triton: client.InferenceServerClient) -> None:
    with pytest.raises(
        InferenceServerException, match="BLS is only supported during the 'execute' function"
    ):
        triton.load_model("early")


@pytest.mark.parametrize(
    ("model", "correlation", "text"), [("sum_uint64", "7", "int:7"), ("sum_string", "'s'", "str:s")]
)
def test_steps_of_a_sequence_are_called(run: Run, model: str, correlation: str, text: str) -> None:
    code = f"""
    def run(request):
        answers = []
        for flags in (pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, 0, 2):
            call = ask("{model}", [tensor([[3]])], correlation_id={correlation}, flags=flags)
            response = call.exec()
            answers.append(out(response).as_numpy().flat[0])
            assert json.loads(response.parameters()) == {{"correlation": "{text}"}}
        return answers
    """
    assert run(code).tolist() == [3, 6, 9]


def test_texts_go_there_and_back(run: Run) -> None:
    code = """
    def run(request):
        texts = np.array([b"a", "\\u00e4", b""], object)
        first = ask("mirror_texts", [pb_utils.Tensor("INPUT0", texts)], ["OUTPUT0"]).exec()
        assert out(first, "OUTPUT0").as_numpy().tolist() == [b"a", "\\u00e4".encode(), b""]
        return [1]
    """
    assert run(code).tolist() == [1]


def test_an_ensemble_is_called(run: Run) -> None:
    code = 'def run(request):\n return out(ask("{}", [given(request)]).exec())'
    assert run(code.format("pair"), 1, 2).tolist() == [3, 4]
    # Its first step gives back the request's own bytes.
    assert run(code.format("reflect"), 1, 2).tolist() == [2, 3]


def test_an_onnx_model_is_called(
    run: Run, triton: client.InferenceServerClient, repository: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "X"], ["Z"])],
        "double",
        [helper.make_tensor_value_info("X", kind, ["n"])],
        [helper.make_tensor_value_info("Z", kind, ["n"])],
    )
    opset = [helper.make_opsetid("", 17)]
    version = repository / "double/1"
    version.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), version / "model.onnx")
    inputs, outputs = (f'[ {{ name: "{n}" data_type: TYPE_FP32 dims: [ -1 ] }} ]' for n in "XZ")
    text = f'backend: "onnxruntime"\ninput {inputs}\noutput {outputs}\n'
    (repository / "double/config.pbtxt").write_text(text)
    triton.load_model("double")
    code = """
    def run(request):
        first = out(ask("double", [given(request)]).exec())
        return out(ask("double", [pb_utils.Tensor("X", first.as_numpy())]).exec())
    """
    assert run(code, 1, 2).tolist() == [4, 8]


def test_a_request_that_was_itself_a_call_is_handed_on(run: Run) -> None:
    """The innermost model reads what the outermost has written."""
    inner = 'def run(request):\n return out(ask("add", [given(request)]).exec())'
    code = f"""
    def run(request):
        call = ask("other_lab", [tensor([5, 6])], parameters={{"code": {inner!r}}})
        return out(call.exec())
    """
    assert run(code).tolist() == [6, 7]


def test_a_model_calls_itself_while_another_instance_is_free(run: Run) -> None:
    inner = 'def run(request):\n return out(ask("add", [given(request)]).exec())'
    code = f"""
    def run(request):
        call = ask("lab_of_two", [given(request)], parameters={{"code": {inner!r}}})
        return out(call.exec())
    """
    assert run(code, 1, model="lab_of_two").tolist() == [2]


def test_a_circle_is_refused_and_named(run: Run) -> None:
    inner = 'def run(request):\n return out(ask("lab", [given(request)]).exec())'
    code = f"""
    def run(request):
        return out(ask("other_lab", [given(request)], parameters={{"code": {inner!r}}}).exec())
    """
    with pytest.raises(InferenceServerException) as caught:
        run(code, 1)
    assert "would wait for itself: other_lab -> lab -> other_lab" in caught.value.message()
    with pytest.raises(InferenceServerException) as caught:
        run('def run(request):\n return out(ask("lab", [given(request)]).exec())', 1)
    assert "model 'lab' calls model 'lab' in a circle" in caught.value.message()
    with pytest.raises(InferenceServerException) as caught:
        run('def run(request):\n return out(ask("round", [given(request)]).exec())', 1)
    assert "would wait for itself: lab -> round -> lab" in caught.value.message()


def test_a_model_that_dies_while_it_is_called(run: Run) -> None:
    code = """
    def run(request):
        response = ask("die", [given(request)]).exec()
        assert response.error().code() == pb_utils.TritonError.UNAVAILABLE
        assert "exited with code 3" in response.error().message(), response.error().message()
        return out(ask("add", [given(request)]).exec())
    """
    assert run(code, 1).tolist() == [2]


def test_a_model_that_dies_while_it_calls(run: Run, address: str) -> None:
    code = """
    def run(request):
        answers = ask("count", [tensor([1e6])]).exec(decoupled=True)
        next(answers)
        os._exit(4)
    """
    with pytest.raises(InferenceServerException, match="exited with code 4"):
        run(code, 1, model="other_lab")
    wait_until(lambda: engine_counters(address)["live_requests"] == 0, what="a cancelled call")
    wait_until(lambda: engine_counters(address)["live_leases"] == 0, what="returned memory")


def test_a_model_that_is_loaded_anew_is_met_again(
    run: Run, triton: client.InferenceServerClient
) -> None:
    code = 'def run(request):\n return out(ask("add", [given(request)]).exec())'
    for _ in range(2):
        assert run(code, 1).tolist() == [2]
        triton.load_model("add")
    triton.unload_model("add")
    wait_until(lambda: not triton.is_model_ready("add"), what="an unloaded model")
    with pytest.raises(InferenceServerException, match="Model 'add' is not ready"):
        run(code, 1)
    triton.load_model("add")
    assert run(code, 1).tolist() == [2]
    for name in ("pair", "reflect", "round"):
        triton.load_model(name)


def test_two_thousand_calls_leak_nothing(run: Run, address: str) -> None:
    code = """
    def run(request):
        out(ask("add", [tensor(np.zeros(1000))]).exec())
        before = books()
        for n in range(1000):
            out(ask("add", [tensor(np.zeros(1000))]).exec())

        async def several(count):
            calls = [ask("add", [given(request)]).async_exec() for _ in range(count)]
            return [out(one) for one in await asyncio.gather(*calls)]

        for _ in range(10):
            asyncio.run(several(95))
        for n in range(50):
            ask("count", [tensor([3])]).exec(decoupled=True)  # nobody takes the answers
        list(ask("count", [tensor([1])]).exec(decoupled=True))
        request.is_cancelled()  # takes in what core has said
        after = books()
        assert after["calls"] == before["calls"], (before, after)
        return [after[one] - before[one] for one in ("used_bytes", "live_blocks")]
    """
    assert run(code).tolist() == [0, 0]
    counters = engine_counters(address)
    wait_until(lambda: engine_counters(address)["live_leases"] == 0, what="returned memory")
    counters = engine_counters(address)
    assert counters["live_requests"] == 0 and counters["violations"] == 0
