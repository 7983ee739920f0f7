"""Starts pyserver with this repository, runs every model in it on real input through the stock
tritonclient, checks each answer against the same model run directly in onnxruntime, and stops it.

    make demo          (installs, builds, and runs this)
"""

from __future__ import annotations

import asyncio
import sys

# The server takes every folder here for a model, so there must be no __pycache__.
sys.dont_write_bytecode = True

from collections.abc import Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import tritonclient.http as triton  # noqa: E402
import tritonclient.http.aio as triton_aio  # noqa: E402
from demo_direct import (  # noqa: E402
    RATE,
    RECORDING,
    Array,
    Direct,
    file_features,
    file_labels,
    make_tokenizer,
    sentence_vector,
    speech_chunks,
    tokens,
)
from demo_server import DemoFailed, DemoServer  # noqa: E402
from make_models import HERE, PackageMissing, make_all  # noqa: E402
from tritonclient.utils import np_to_triton_dtype  # noqa: E402

TOLERANCE = 1e-5
SENTENCES = (
    "How do I bake sourdough bread?",
    "A recipe for a crusty loaf with a natural starter.",
    "The scheduler batches requests before they reach the model.",
    "Requests are grouped by the server's queue and run together.",
)


def request_inputs(arrays: Mapping[str, Array]) -> list[triton.InferInput]:
    made = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def infer(
    client: triton.InferenceServerClient, model: str, arrays: Mapping[str, Array]
) -> dict[str, Array]:
    result = client.infer(model, request_inputs(arrays))
    names = [output["name"] for output in result.get_response()["outputs"]]
    return {name: result.as_numpy(name) for name in names}


def check(what: str, got: Array, wanted: Array, tolerance: float = TOLERANCE) -> float:
    """The largest difference. Raises DemoFailed when it is too large."""
    if got.shape != wanted.shape:
        raise DemoFailed(
            f"{what}: the server's answer is {got.shape}, onnxruntime's {wanted.shape}"
        )
    difference = float(np.abs(got - wanted).max()) if got.size else 0.0
    if not difference <= tolerance:
        raise DemoFailed(f"{what}: differs from onnxruntime by {difference}")
    return difference


def heading(text: str) -> None:
    print(f"\n--- {text}", flush=True)


def show_arithmetic(client: triton.InferenceServerClient) -> None:
    heading("add_sub (ONNX) and python_add_sub (a TritonPythonModel)")
    inputs = {
        "INPUT0": np.arange(32, dtype=np.float32).reshape(2, 16),
        "INPUT1": np.full((2, 16), 0.5, np.float32),
    }
    wanted = Direct("add_sub").run(inputs)
    for model in ("add_sub", "python_add_sub"):
        answer = infer(client, model, inputs)
        for name, array in wanted.items():
            check(f"{model} {name}", answer[name], array)
        total, difference = answer["OUTPUT0"][1, 15], answer["OUTPUT1"][1, 15]
        print(f"{model:15} 31 + 0.5 = {total}, 31 - 0.5 = {difference}")


def show_identity(client: triton.InferenceServerClient) -> None:
    heading("identity: 8 MB there and back, and some strings")
    big = np.random.default_rng(0).random((1, 2 << 20), np.float32)
    if not np.array_equal(infer(client, "identity", {"INPUT0": big})["OUTPUT0"], big):
        raise DemoFailed("identity changed the data")
    words = np.array([[b"as", b"they", b"came", "grüße".encode()]], dtype=object)
    same = infer(client, "identity_bytes", {"INPUT0": words})["OUTPUT0"]
    if same.tolist() != words.tolist():
        raise DemoFailed("identity_bytes changed the data")
    print(f"{big.nbytes:,} bytes are equal; strings: {b' '.join(same[0]).decode()}")


async def show_file_types(url: str) -> None:
    heading("magika: what kind of files these are (tritonclient.http.aio, all at once)")
    root = HERE.parent
    files = [
        Path(__file__),
        root / "pyproject.toml",
        root / "csrc" / "instance" / "executor.cc",
        root / "README.md",
        Path(sys.executable).resolve(),
        RECORDING,
    ]
    files = [path for path in files if path.exists()]
    features = [file_features(path.read_bytes()) for path in files]
    labels, direct = file_labels(), Direct("magika")
    async with triton_aio.InferenceServerClient(url) as client:
        best = triton.InferRequestedOutput("target_label", binary_data=False, class_count=1)
        scored = [client.infer("magika", request_inputs({"bytes": one})) for one in features]
        named = [
            client.infer("magika", request_inputs({"bytes": one}), outputs=[best])
            for one in features
        ]
        answers = await asyncio.gather(*scored, *named)
    for path, one, scores, label in zip(
        files, features, answers, answers[len(files) :], strict=False
    ):
        wanted = direct.run({"bytes": one})["target_label"]
        difference = check(f"magika on {path}", scores.as_numpy("target_label"), wanted, 1e-4)
        told = str(label.as_numpy("target_label").ravel()[0])
        if told.split(":")[2] != labels[int(wanted.argmax())]:
            raise DemoFailed(f"magika calls {path} {told}, onnxruntime {labels[wanted.argmax()]}")
        name = labels[int(wanted.argmax())]
        print(f"{path.name:18} {name:10} {wanted.max():.3f}   max diff {difference:.1e}")


async def embed_together(url: str, inputs: Sequence[Mapping[str, Array]]) -> list[Array]:
    async with triton_aio.InferenceServerClient(url) as client:
        answers = await asyncio.gather(
            *(client.infer("minilm", request_inputs(one)) for one in inputs)
        )
    return [answer.as_numpy("last_hidden_state") for answer in answers]


def show_sentences(client: triton.InferenceServerClient, url: str) -> None:
    heading("minilm: how near sentences are in meaning")
    tokenizer, direct = make_tokenizer(), Direct("minilm")
    inputs = [tokens(tokenizer, sentence) for sentence in SENTENCES]
    vectors = []
    for sentence, one in zip(SENTENCES, inputs, strict=True):
        hidden = infer(client, "minilm", one)["last_hidden_state"]
        wanted = direct.run(one)["last_hidden_state"]
        difference = check(f"minilm on '{sentence}'", hidden, wanted, 1e-3)
        vectors.append(sentence_vector(hidden, one["attention_mask"]))
        print(
            f"  {len(vectors)}. {sentence}   ({hidden.shape[1]} tokens, max diff {difference:.1e})"
        )
    cosines = np.array(vectors) @ np.array(vectors).T
    print("  cosine   " + "  ".join(f"{a + 1}-{b + 1} {cosines[a, b]:+.3f}" for a, b in _pairs()))
    if not (cosines[0, 1] > 0.4 and cosines[2, 3] > 0.4 and cosines[0, 2] < 0.2):
        raise DemoFailed("the sentences that mean the same are not near each other")
    for vector, hidden, one in zip(
        vectors, asyncio.run(embed_together(url, inputs)), inputs, strict=True
    ):
        if vector @ sentence_vector(hidden, one["attention_mask"]) < 0.99:
            raise DemoFailed("minilm: asked all at once, the answers are others")
    print("  asked all at once (tritonclient.http.aio): the same vectors")


def _pairs() -> list[tuple[int, int]]:
    return [(a, b) for a in range(len(SENTENCES)) for b in range(a + 1, len(SENTENCES))]


def show_speech(client: triton.InferenceServerClient) -> None:
    heading(f"silero_vad: when somebody speaks in {RECORDING}")
    if not RECORDING.exists():
        print("skipped: there is no such recording (Debian package alsa-utils)")
        return
    direct = Direct("silero_vad")
    state = own_state = np.zeros((2, 1, 128), np.float32)
    probabilities, worst = [], 0.0
    for chunk in speech_chunks():
        answer = infer(
            client,
            "silero_vad",
            {"input": chunk, "state": state, "sr": np.array([RATE], np.int64)},
        )
        state = answer["stateN"]
        wanted = direct.run({"input": chunk, "state": own_state, "sr": np.array(RATE, np.int64)})
        own_state = wanted["stateN"]
        worst = max(worst, check("silero_vad", answer["output"], wanted["output"], 1e-4))
        probabilities.append(float(answer["output"][0, 0]))
    marks = "".join("#" if one > 0.5 else "." for one in probabilities)
    print(f"32 ms each: {marks}   max diff {worst:.1e}")
    if not 0.2 < marks.count("#") / len(marks) < 0.98:
        raise DemoFailed("there is speech in the recording, and silence too")


def show_statistics(client: triton.InferenceServerClient) -> None:
    heading("what the server counted")
    for one in client.get_inference_statistics()["model_stats"]:
        success = one["inference_stats"]["success"]
        mean_us = success["ns"] / max(1, success["count"]) / 1000
        print(
            f"{one['name']:15} {success['count']:3} requests in {one['execution_count']:3}"
            f" executions, {mean_us:,.0f} µs each"
        )


def show_everything(server: DemoServer) -> None:
    print(f"ready after {server.wait_until_ready():.2f} s")
    with triton.InferenceServerClient(server.url) as client:
        show_arithmetic(client)
        show_identity(client)
        asyncio.run(show_file_types(server.url))
        show_sentences(client, server.url)
        show_speech(client)
        show_statistics(client)


def main() -> int:
    heading("models")
    try:
        for path in make_all():
            print(f"{path.relative_to(HERE)}  {path.stat().st_size:,} bytes")
        heading("server")
        server = DemoServer(HERE)
        try:
            show_everything(server)
            heading("stop")
            server.stop()
        finally:
            server.kill()
    except (DemoFailed, PackageMissing) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    print("\nAll answers are right.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
