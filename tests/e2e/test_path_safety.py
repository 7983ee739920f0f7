"""Whatever names, configs, uploads and links say: nothing outside of the repository is opened, the
answer says what is refused and why, and the server goes on serving.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench.targets.pyserver import Pyserver
from tests.serving import serving

SECRET = "TOP-SECRET-0123456789"
TENSORS = {
    "input": [{"name": "INPUT0", "data_type": "TYPE_UINT8", "dims": [-1]}],
    "output": [{"name": "OUTPUT0", "data_type": "TYPE_UINT8", "dims": [-1]}],
}
IDENTITY = {"backend": "identity", **TENSORS}
PYTHON = {"backend": "python", **TENSORS}
ONNX = {"backend": "onnxruntime", **TENSORS}
CONFIG = 'backend: "identity"\n' + "\n".join(
    f'{kind} [ {{ name: "{name}" data_type: TYPE_UINT8 dims: [ -1 ] }} ]'
    for kind, name in (("input", "INPUT0"), ("output", "OUTPUT0"))
)
MODEL = """
import pathlib
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`repository` with a good model, and things outside that somebody might want to reach."""
    place = tmp_path_factory.mktemp("paths")
    for name in ("repository/good", "outside/evil"):
        (place / name / "1").mkdir(parents=True)
        (place / name / "config.pbtxt").write_text(CONFIG)
        (place / name / "1" / "model.py").write_text(MODEL)
    (place / "outside" / "secret").write_text(SECRET)
    (place / "outside" / "stolen.py").write_text(f"{MODEL}\nraise RuntimeError('{SECRET}')")
    good = place / "repository" / "good"
    for folder in ("warmup", "1"):
        (good / folder).mkdir(exist_ok=True)
        (good / folder / "link").symlink_to(place / "outside" / "secret")
    (good / "link").symlink_to("../../outside/secret")
    (good / "folder").symlink_to(place / "outside")
    os.mkfifo(good / "pipe")
    os.mkfifo(good / "warmup" / "pipe")
    return place


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Pyserver]:
    log = place / "log"
    flags = ("--model-control-mode=explicit", "--load-model=good")
    with serving(log, place / "repository", *flags) as running:
        yield running
        assert SECRET not in log.read_text()


def by_http(server: Pyserver, path: str, body: object = None) -> tuple[int, str]:
    """`path` goes out as it is."""
    assert server.ports is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=60)
    try:
        connection.putrequest("POST", path, skip_accept_encoding=True)
        content = json.dumps(body or {}).encode()
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def by_grpc(server: Pyserver, name: str, parameters: dict[str, Any]) -> str:
    """What it is refused with; "" if it is not."""
    assert server.ports is not None
    request = service_pb2.RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        if isinstance(value, bytes):
            request.parameters[key].bytes_param = value
        else:
            request.parameters[key].string_param = value
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.RepositoryModelLoad(request, timeout=60)
        except grpc.RpcError as error:
            return str(error.details())  # type: ignore[attr-defined]
    return ""


def still_serves(server: Pyserver) -> None:
    tensor = {"name": "INPUT0", "shape": [2], "datatype": "UINT8", "data": [1, 2]}
    status, text = by_http(server, "/v2/models/good/infer", {"inputs": [tensor]})
    assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [1, 2])
    ready = json.loads(by_http(server, "/v2/repository/index", {"ready": True})[1])
    assert [one["name"] for one in ready] == ["good"]


def check(text: str, why: str) -> None:
    assert why in text
    assert SECRET not in text


TRAVERSAL = "model name must not contain path traversal characters"
NOT_THERE = "failed to poll from model repository"
NAMES = {
    "..": TRAVERSAL,
    "../outside/evil": TRAVERSAL,
    "../../etc": TRAVERSAL,
    "good/../../outside/evil": TRAVERSAL,
    "good/1": TRAVERSAL,
    "/etc": TRAVERSAL,
    "{outside}/evil": TRAVERSAL,
    "good/": TRAVERSAL,
    "good\0": TRAVERSAL,
    "..\\outside\\evil": TRAVERSAL,
    ".": NOT_THERE,
    "good\n": NOT_THERE,
    "%2e%2e%2foutside": NOT_THERE,
    "..%2foutside": TRAVERSAL,
    "~": NOT_THERE,
    "$HOME": NOT_THERE,
    "x" * 500: NOT_THERE,
    " ": "Model name cannot be empty",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:40])
def test_names_of_models_lead_nowhere(server: Pyserver, place: Path, name: str) -> None:
    why = NAMES[name]
    name = name.replace("{outside}", str(place / "outside"))
    check(by_grpc(server, name, {}), why)
    encoded = quote(name, safe="")
    every = encoded.replace(".", "%2E").replace("%2F", "%2f")
    for form in (encoded, every, quote(name)):
        status, text = by_http(server, f"/v2/repository/models/{form}/load")
        assert 400 <= status <= 500
        assert SECRET not in text
        for other in ("config", "ready", "infer", "versions/1/infer"):
            assert by_http(server, f"/v2/models/{form}/{other}")[0] >= 400
    still_serves(server)


# Triton's text, which says no more.
INSIDE = "must remain inside the model directory"
FILES = {
    "../evil": INSIDE,
    "1/../../evil": INSIDE,
    "..": INSIDE,
    "/etc/cron.d/evil": INSIDE,
    "{outside}/evil/1/model.py": INSIDE,
    "//etc/evil": INSIDE,
    "": INSIDE,
    ".": INSIDE,
    "./": INSIDE,
    "1/a\0b": INSIDE,
    "1/a\nb": INSIDE,
    "1/\x1b[2Jevil": INSIDE,
    "1/model.py/deeper": None,
    "1": None,
    "1/" + "x" * 300: None,
    "a/" * 150 + "x": INSIDE,
}


@pytest.mark.parametrize("name", FILES, ids=lambda name: repr(name)[:40])
def test_uploaded_files_stay_in_their_folder(server: Pyserver, place: Path, name: str) -> None:
    why = FILES[name] or "failed to load 'new', failed to poll from model repository"
    name = name.replace("{outside}", str(place / "outside"))
    files = {"1/model.py": MODEL.encode(), name: b"evil"}
    parameters = {"config": json.dumps(PYTHON)} | {f"file:{one}": files[one] for one in files}
    text = by_grpc(server, "new", parameters)
    check(text, why)
    encoded = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in parameters.items()
    }
    status, text = by_http(server, "/v2/repository/models/new/load", {"parameters": encoded})
    assert 400 <= status <= 500
    check(json.loads(text)["error"], why)
    assert sorted(one.name for one in (place / "outside").iterdir()) == [
        *("evil", "secret", "stolen.py")
    ]
    still_serves(server)


def labelled(name: str) -> dict[str, Any]:
    output = TENSORS["output"][0] | {"label_filename": name}
    return IDENTITY | {"output": [output]}


def warmed_up(name: str) -> dict[str, Any]:
    tensor = {"data_type": "TYPE_UINT8", "dims": [4], "input_data_file": name}
    return IDENTITY | {
        "model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"INPUT0": tensor}}]
    }


def with_operations(name: str) -> dict[str, Any]:
    return ONNX | {"model_operations": {"op_library_filename": [name]}}


INSIDE = "must be inside"
CONFIGS = {
    "label ..": (labelled("../../outside/secret"), INSIDE),
    "label absolute": (labelled("{outside}/secret"), INSIDE),
    "label link": (labelled("link"), INSIDE),
    "label through a link": (labelled("folder/secret"), INSIDE),
    "label pipe": (labelled("pipe"), "is not a regular file"),
    "label folder": (labelled("1"), "Is a directory"),
    "label newline": (labelled("a\nb"), INSIDE),
    "label of the system": (labelled("/proc/self/environ"), INSIDE),
    "label magic link": (labelled("/proc/self/root/etc/passwd"), INSIDE),
    "warm-up ..": (warmed_up("../config.pbtxt"), INSIDE),
    "warm-up absolute": (warmed_up("{outside}/secret"), INSIDE),
    "warm-up link": (warmed_up("link"), INSIDE),
    "warm-up pipe": (warmed_up("pipe"), "is not a regular file"),
    "model file .. (Python)": (PYTHON | {"default_model_filename": "../../x.py"}, INSIDE),
    "model file absolute (Python)": (
        PYTHON | {"default_model_filename": "{outside}/stolen.py"},
        INSIDE,
    ),
    "model file .. (ONNX)": (
        ONNX | {"default_model_filename": "../../../outside/secret"},
        INSIDE,
    ),
    "model file absolute (ONNX)": (ONNX | {"default_model_filename": "/etc/passwd"}, INSIDE),
    "agent climbs": (
        IDENTITY | {"model_repository_agents": {"agents": [{"name": "../../outside"}]}},
        NOT_THERE,
    ),
    "checksum climbs": (
        IDENTITY
        | {
            "model_repository_agents": {
                "agents": [
                    {"name": "checksum", "parameters": {"MD5:../../outside/secret": "0" * 32}}
                ]
            }
        },
        NOT_THERE,
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_a_config_names_stays_in_the_model(server: Pyserver, place: Path, case: str) -> None:
    config, why = CONFIGS[case]
    text = json.dumps(config).replace("{outside}", str(place / "outside"))
    check(by_grpc(server, "good", {"config": text}), why)
    still_serves(server)


def test_weights_of_an_uploaded_model_name_nothing_outside(server: Pyserver, place: Path) -> None:
    onnx = pytest.importorskip("onnx")
    names = ("../../../../../../../../.." + str(place / "outside" / "secret"), "/etc/passwd")
    for name in names:
        weights = onnx.TensorProto(name="W", data_type=onnx.TensorProto.UINT8, dims=[8])
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=name)
        weights.external_data.add(key="length", value="8")
        node = onnx.helper.make_node("Identity", ["W"], ["Y"])
        out = onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.UINT8, [8])
        graph = onnx.helper.make_graph([node], "g", [], [out], [weights])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
        model.ir_version = 8
        config = {"backend": "onnxruntime"}
        uploaded = {"config": json.dumps(config), "file:1/model.onnx": model.SerializeToString()}
        text = by_grpc(server, "new", uploaded)
        check(text, "load failed for model 'new'")
        assert "external data" in text.lower() or "external_data" in text.lower()
    still_serves(server)


def test_the_owner_s_links_are_followed(server: Pyserver, place: Path) -> None:
    blobs = place / "blobs"
    (blobs / "linked" / "1").mkdir(parents=True)
    (blobs / "weights").write_text(MODEL)
    (blobs / "linked" / "config.pbtxt").write_text(CONFIG.replace("identity", "python"))
    (blobs / "linked" / "1" / "model.py").symlink_to(blobs / "weights")
    (place / "repository" / "linked").symlink_to(blobs / "linked")
    assert by_grpc(server, "linked", {}) == ""
    assert by_http(server, "/v2/repository/models/linked/unload") == (200, "")
    still_serves(server)
