"""Calls of decoupled models: iterators, awaited ones, and those that are broken off."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


def ask(count, model_name="repeat"):
    return pb_utils.InferenceRequest(
        model_name=model_name,
        inputs=[pb_utils.Tensor("COUNT", np.array([count], np.int32))],
        requested_output_names=["NUMBER"],
    )


def told_of(response):
    if response.has_error():
        return f"error {response.error().code()}: {response.error().message()}"
    if len(response.output_tensors()) == 0:
        return "empty"
    number = pb_utils.get_output_tensor_by_name(response, "NUMBER")
    return str(number.as_numpy().tolist())


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            kind = pb_utils.get_input_tensor_by_name(request, "KIND").as_numpy()[0].decode()
            texts = getattr(self, kind)()
            tensor = pb_utils.Tensor("TEXT", np.array(texts, dtype=object))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses

    def none(self):
        return [told_of(one) for one in ask(0).exec(decoupled=True)]

    def three(self):
        return [told_of(one) for one in ask(3).exec(decoupled=True)]

    def threads(self):
        return [told_of(one) for one in ask(4, "threads").exec(decoupled=True)]

    def breaks_off(self):
        return [told_of(one) for one in ask(2, "breaks_off").exec(decoupled=True)]

    def raises(self):
        return [told_of(one) for one in ask(0, "raises_decoupled").exec(decoupled=True)]

    def awaited(self):
        async def all_of(count):
            found = await ask(count).async_exec(decoupled=True)
            return [told_of(one) for one in found]

        async def several():
            return await asyncio.gather(*[all_of(count) for count in (1, 2, 3)])

        return [str(one) for one in asyncio.run(several())]

    def in_steps(self):
        answers = ask(1).exec(decoupled=True)
        texts = [type(answers).__name__, told_of(next(answers)), told_of(next(answers))]
        try:
            next(answers)
        except StopIteration:
            texts.append("StopIteration")
        return texts

    def again(self):
        answers = ask(2).exec(decoupled=True)
        first = [told_of(one) for one in answers]
        return [*first, "again", *[told_of(one) for one in answers]]

    def cancelled(self):
        answers = ask(500, "until_cancelled").exec(decoupled=True)
        texts = []
        for one in answers:
            if one.has_error():
                texts.append(told_of(one))
                break
            if not texts:
                texts.append(told_of(one))
                answers.cancel()
        return texts

    def one_answer_of_many(self):
        request = pb_utils.InferenceRequest(
            model_name="plus_one",
            inputs=[pb_utils.Tensor("X", np.array([1], np.float32))],
            requested_output_names=["Z"],
        )
        # A model that is not decoupled has an iterator as well.
        return [
            "empty" if not one.output_tensors() else str(one.output_tensors()[0].as_numpy())
            for one in request.exec(decoupled=True)
        ]

    def nowhere(self):
        return [told_of(one) for one in ask(1, "nowhere").exec(decoupled=True)]
