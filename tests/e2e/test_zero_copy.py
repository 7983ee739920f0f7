"""No copy of a tensor in user space on the way through the server: 8 MB in, 8 MB out, counted."""

from __future__ import annotations

import http.client
import json

import numpy as np
import tritonclient.http as client

ELEMENTS = 2 * 1024 * 1024  # of FP32: 8 MiB
# What may arrive in one piece together with the head is copied into the region: one first read.
FIRST_READ_BYTES = 64 * 1024


def counters(address: str) -> dict[str, int]:
    """Summed over all frontends."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        fronts = json.loads(connection.getresponse().read())["frontends"]
    finally:
        connection.close()
    return {name: sum(front[name] for front in fronts.values()) for name in fronts["0"]}


def infer(address: str, model: str, data: np.ndarray, output: str) -> np.ndarray:
    tensor = client.InferInput("INPUT0", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data, binary_data=True)
    with client.InferenceServerClient(address) as server:
        result = server.infer(
            model, [tensor], outputs=[client.InferRequestedOutput(output, binary_data=True)]
        )
        return result.as_numpy(output)


def test_eight_megabytes_through_identity_are_not_copied(address: str) -> None:
    data = np.random.default_rng(1).random(ELEMENTS, dtype=np.float32)
    before = counters(address)
    answer = infer(address, "big_identity", data, "OUTPUT0")
    after = counters(address)
    assert np.array_equal(answer, data)
    received = after["region_bytes"] - before["region_bytes"]
    copied = after["copied_bytes"] - before["copied_bytes"]
    sent = after["response_bytes"] - before["response_bytes"]
    assert copied <= FIRST_READ_BYTES
    assert received >= data.nbytes - FIRST_READ_BYTES
    assert sent >= data.nbytes
    # The instance answered by reference: nothing was ever allocated or written in its region.
    instance = _region_bytes_touched(address, "big_identity")
    assert instance < 1024 * 1024, f"the instance's region holds {instance} bytes"


def test_a_python_models_array_is_a_read_only_view_of_shared_memory(address: str) -> None:
    facts = infer(address, "views", np.ones(16, np.float32), "FACTS")
    view, writeable, shared = (bool(fact) for fact in facts)
    assert view
    assert not writeable
    assert shared


def _region_bytes_touched(address: str, model: str) -> int:
    """Memory that the region of the model's instance takes, by the file's own blocks."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/pyserver/counters")
        instances = json.loads(connection.getresponse().read())["instances"]
    finally:
        connection.close()
    pids = [one["pid"] for one in instances if one["model"] == model]
    assert len(pids) == 1, instances
    return _own_region_bytes(pids[0])


def _own_region_bytes(pid: int) -> int:
    """Of the only region that the process maps writable."""
    with open(f"/proc/{pid}/smaps") as maps:
        touched = 0
        ours = False
        for line in maps:
            words = line.split()
            if "-" in words[0] and len(words) > 4:
                ours = "memfd:pyserver-region" in line and "w" in words[1]
            elif ours and words[0] == "Rss:":
                touched += int(words[1]) * 1024
    return touched
