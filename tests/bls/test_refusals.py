"""Calls that fail: errors are responses, what cannot be made raises."""

from __future__ import annotations

import pytest
import tritonclient.http as client
from tritonclient.utils import InferenceServerException

from tests.bls.conftest import Run

RUN = "Error when running inference: "


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            'ask("nowhere", [given(request)]).exec()',
            f"Model nowhere - {RUN}Failed for execute the inference"
            " request. Model 'nowhere' is not ready.",
        ),
        (
            'ask("add", [given(request)], model_version=7).exec()',
            f"Model add - {RUN}Failed for execute the inference request. Model 'add' is not ready.",
        ),
        (
            'ask("add", [tensor([[1.0]])]).exec()',
            f"Model add - {RUN}[request id: <id_unknown>] unexpected shape for input 'X' for model"
            " 'add'."
            " Expected [-1], got [1,1]. ",
        ),
        (
            'ask("add", [given(request)], ["W"]).exec()',
            f"Model add - {RUN}unexpected inference output 'W' for model 'add'",
        ),
        ('ask("add", [tensor([13.0])]).exec()', "thirteen is refused"),
        (
            'ask("count", [given(request)]).exec()',
            f"Model count - {RUN}Model count is using the decoupled. The current BLS request call"
            " doesn't support"
            " models using the decoupled transaction policy. Please use 'decoupled=True' argument"
            " to the 'exec' or 'async_exec' calls for decoupled models.'",
        ),
        (
            'next(ask("nowhere", [given(request)]).exec(decoupled=True))',
            f"Model nowhere - {RUN}Failed for execute the inference"
            " request. Model 'nowhere' is not ready.",
        ),
        (
            'asyncio.run(one(ask("nowhere", [given(request)])))',
            f"Model nowhere - {RUN}Failed for execute the inference"
            " request. Model 'nowhere' is not ready.",
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
