"""The model of bench.targets.litserve, run by the interpreter of LitServe's home: the first that
the deployment.json named by its first argument has, at the port that its second one is.
"""

import json
import sys
from pathlib import Path

import litserve
import numpy

TOKENS = ("input_ids", "attention_mask", "token_type_ids")
STATES = "last_hidden_state"


class Identity(litserve.LitAPI):
    def predict(self, request):
        return {"OUTPUT0": request["INPUT0"]}


class Add(litserve.LitAPI):
    def decode_request(self, request):
        return [numpy.array(request[name], numpy.float32) for name in ("INPUT0", "INPUT1")]

    def predict(self, inputs):
        first, second = inputs
        return first + second

    def encode_response(self, total):
        return {"OUTPUT0": total.tolist()}


class MiniLM(litserve.LitAPI):
    """Its batches' sentences must be of one length."""

    def setup(self, device):
        import onnxruntime

        described = json.loads(Path(sys.argv[1]).read_text())
        self.session = onnxruntime.InferenceSession(
            described["weights"], providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request):
        return numpy.array([request[name] for name in TOKENS], numpy.int64)

    def batch(self, rows):
        return dict(zip(TOKENS, numpy.stack(rows, axis=1), strict=True))

    def predict(self, feed):
        return self.session.run([STATES], feed)[0]

    def encode_response(self, states):
        return {STATES: states.ravel().tolist()}


MODELS = {
    "identity": Identity,
    "identity_any": Identity,
    "python_identity": Identity,
    "python_add": Add,
    "minilm": MiniLM,
}
# Seconds; with a timeout of 0 the worker would spin where it has nothing to do.
BATCHING = {"minilm": {"max_batch_size": 16, "batch_timeout": 0.001}}


def main():
    described = json.loads(Path(sys.argv[1]).read_text())
    name, model = next(iter(described["models"].items()))
    api = MODELS[model](api_path=f"/{name}", **BATCHING.get(model, {}))
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=described["instances"],
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
