"""Tensor.empty: what a model writes there is the response, without a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.backends.python_models import floats, model
from tests.instance.serving import served

# Where in a memfd an address lies.
OFFSET = """
def offset_of(address):
    for line in open("/proc/self/maps"):
        span, _, at, *_ = line.split()
        first, last = (int(one, 16) for one in span.split("-"))
        if first <= address < last:
            assert "memfd:pyserver" in line, line
            return address - first + int(at, 16)
"""


def test_the_array_lies_where_the_response_says(tmp_path: Path) -> None:
    execute = f"""
{OFFSET.replace("def offset_of(", "def offset_of(self, ")}
def execute(self, requests):
    responses = []
    for request in requests:
        tensor = pb_utils.Tensor.empty("OUT", np.float32, [100_000])
        array = tensor.as_numpy()
        array[:] = get(request).as_numpy()[0]
        self.last = array
        place = self.offset_of(array.ctypes.data)
        responses.append(pb_utils.InferenceResponse([tensor], parameters={{"place": place}}))
    return responses
"""
    with served(model(tmp_path / "m", execute)) as one:
        for value in (1.0, 2.0):
            response = one.infer(floats(value))
            np.testing.assert_array_equal(
                response.outputs["OUT"], np.full(100_000, value, np.float32)
            )
            assert response.places["OUT"] == (one.peers[0], response.parameters["place"])


def test_it_is_read_only_once_it_is_sent(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    if hasattr(self, "sent"):
        return [answer(np.array([float(self.sent.as_numpy().flags.writeable)], np.float32))]
    self.sent = pb_utils.Tensor.empty("OUT", np.float32, [1])
    self.sent.as_numpy()[0] = float(self.sent.as_numpy().flags.writeable)
    return [pb_utils.InferenceResponse([self.sent])]
def finalize(self):
    del self.sent
"""
    with served(model(tmp_path / "m", execute)) as one:
        assert one.infer(floats(0)).outputs["OUT"].tolist() == [1.0]
        assert one.infer(floats(0)).outputs["OUT"].tolist() == [0.0]


def test_what_does_not_fit_and_what_nobody_wants(tmp_path: Path) -> None:
    execute = """
def execute(self, requests):
    size = int(get(requests[0]).as_numpy()[0])
    tensor = pb_utils.Tensor.empty("OUT", np.float32, [size])
    other = pb_utils.Tensor.empty("NOBODYS", np.float32, [size])
    tensor.as_numpy()[:] = 1
    return [pb_utils.InferenceResponse([tensor, other])]
"""
    with served(model(tmp_path / "m", execute), region_bytes=4 << 20) as one:
        refused = one.infer(floats(2_000_000))
        assert "Tensor 'OUT' of 8000000 bytes does not fit" in refused.message
        for _ in range(50):  # each gives its memory back
            assert one.infer(floats(300_000)).outputs["OUT"].sum() == 300_000
        assert one.infer(floats(0)).outputs["OUT"].size == 0
