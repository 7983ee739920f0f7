"""Business logic scripting: models that call other models, over the real server."""

from __future__ import annotations

from pathlib import Path

import pytest
import tritonclient.http as client

from tests.bls.conftest import Run


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
