"""The models of bench.targets.mosec, run by the interpreter of mosec's home: what its first
argument, a deployment.json, says.

Each model has a worker for JSON and one for bytes, at /NAME/json and /NAME/binary, because a
worker cannot tell by which path a request came. JSON is msgspec's, which mosec brings along.
"""

import json
import sys
from pathlib import Path

import msgspec
import numpy
from mosec import Server, Worker

TOKENS = ("input_ids", "attention_mask", "token_type_ids")
STATES = "last_hidden_state"


class JsonWorker(Worker):
    def deserialize(self, data):
        return msgspec.json.decode(data)

    def serialize(self, data):
        return msgspec.json.encode(data)


class BinaryWorker(Worker):
    resp_mime_type = "application/octet-stream"

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data


class IdentityJson(JsonWorker):
    def forward(self, data):
        return {"OUTPUT0": data["INPUT0"]}


class IdentityBinary(BinaryWorker):
    def forward(self, data):
        return data


class IdentitiesJson(JsonWorker):
    def forward(self, data):
        return [{"OUTPUT0": one["INPUT0"]} for one in data]


class AddJson(JsonWorker):
    def forward(self, data):
        first, second = (
            numpy.array([one[name] for one in data], numpy.float32) for name in ("INPUT0", "INPUT1")
        )
        return [{"OUTPUT0": total} for total in (first + second).tolist()]


class AddBinary(BinaryWorker):
    def forward(self, data):
        pairs = (numpy.frombuffer(one, numpy.float32).reshape(2, -1) for one in data)
        return [(first + second).tobytes() for first, second in pairs]


class MiniLM:
    """Runs a batch; its sentences must be of one length."""

    def __init__(self):
        super().__init__()
        import onnxruntime  # not in the processes of the other models

        described = json.loads(Path(sys.argv[1]).read_text())
        self.session = onnxruntime.InferenceSession(
            described["weights"], providers=["CPUExecutionProvider"]
        )

    def states(self, feed):
        return self.session.run([STATES], feed)[0]


class MiniLMJson(MiniLM, JsonWorker):
    def forward(self, data):
        feed = {name: numpy.array([one[name] for one in data], numpy.int64) for name in TOKENS}
        return [{STATES: one.ravel().tolist()} for one in self.states(feed)]


class MiniLMBinary(MiniLM, BinaryWorker):
    def forward(self, data):
        rows = [numpy.frombuffer(one, numpy.int64).reshape(len(TOKENS), -1) for one in data]
        feed = dict(zip(TOKENS, numpy.stack(rows, axis=1), strict=True))
        return [one.tobytes() for one in self.states(feed)]


WORKERS = {
    "identity": (IdentityJson, IdentityBinary),
    "identity_any": (IdentityJson, IdentityBinary),
    "python_identity": (IdentitiesJson, IdentityBinary),
    "python_add": (AddJson, AddBinary),
    "minilm": (MiniLMJson, MiniLMBinary),
}
# Those that bench/models/ batches too. A lone request waits the 1 ms, and there is no shorter wait.
BATCHING = {
    "python_identity": {"max_batch_size": 64, "max_wait_time": 1},
    "python_add": {"max_batch_size": 64, "max_wait_time": 1},
    "minilm": {"max_batch_size": 16, "max_wait_time": 1},
}


def main():
    described = json.loads(Path(sys.argv[1]).read_text())
    server = Server()  # reads the other flags itself
    for name, model in described["models"].items():
        for worker, wire in zip(WORKERS[model], ("json", "binary"), strict=True):
            server.append_worker(
                worker,
                num=described["instances"],
                route=f"/{name}/{wire}",
                **BATCHING.get(model, {}),
            )
    server.run()


if __name__ == "__main__":
    main()
