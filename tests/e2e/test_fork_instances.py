"""`fork_instances`: a template loads the model once, and its instances share what it loaded."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cpu import pss_bytes
from bench.targets.pyserver import Pyserver
from tests.serving import serving
from tests.waiting import wait_until

SHARED_BYTES = 200_000_000
INSTANCES = 4

CONFIG = """
backend: "python"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {count} }} ]
parameters {{ key: "fork_instances" value {{ string_value: "{fork}" }} }}
"""

MODEL = """
import os
import threading
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    {preload}

    def initialize(self, args):
        self.name = args["model_instance_name"]
        print("initialized", self.name, os.environ.get("OMP_NUM_THREADS"))

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(
                "OUTPUT0",
                pb_utils.get_input_tensor_by_name(one, "INPUT0").as_numpy() + self.weights[:1],
            )])
            for one in requests
        ]
"""

PRELOADS = {
    "shared": f"""
    @classmethod
    def preload(cls, args):
        assert "model_instance_name" not in args
        cls.weights = np.ones({SHARED_BYTES // 4}, np.float32)
""",
    "without_hook": "weights = np.ones(4, np.float32)",
    "with_threads": """
    @staticmethod
    def preload(args):
        threading.Thread(target=threading.Event().wait, name="pool", daemon=True).start()
""",
    "raising": """
    @staticmethod
    def preload(args):
        raise ValueError("no weights for " + args["model_name"])
""",
    "no_static_method": """
    def preload(self, args):
        pass
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyserver]:
    folder = tmp_path_factory.mktemp("fork")
    for name, preload in PRELOADS.items():
        _write(folder / "models" / name, preload, "true", INSTANCES if name == "shared" else 2)
    _write(folder / "models" / "neither", PRELOADS["without_hook"], "maybe", 1)
    flags = ("--model-control-mode=explicit", "--load-model=shared")
    with serving(folder / "server.log", folder / "models", *flags) as running:
        yield running


def _write(folder: Path, preload: str, fork: str, count: int) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL.format(preload=preload))
    (folder / "config.pbtxt").write_text(CONFIG.format(fork=fork, count=count))


def ask(server: Pyserver, path: str, body: Any = None) -> tuple[int, Any]:
    assert server.ports is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=30)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}
    finally:
        connection.close()


def infer(server: Pyserver, model: str) -> tuple[int, Any]:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [41.0]}
    return ask(server, f"/v2/models/{model}/infer", {"inputs": [tensor]})


def processes(server: Pyserver, model: str) -> tuple[int, dict[str, int]]:
    """The template's pid (0: none), and that of each instance."""
    counters = ask(server, "/v2/pyserver/counters")[1]
    its = [one for one in counters["processes"] if one["model"] == model]
    template = [one["pid"] for one in its if one.get("template")]
    return sum(template), {name: one["pid"] for one in its for name in one["instances"]}


def parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[1])


def all_run(server: Pyserver, model: str) -> bool:
    return len(processes(server, model)[1]) == INSTANCES and infer(server, model)[0] == 200


def test_four_instances_hold_what_they_share_once(server: Pyserver) -> None:
    template, instances = processes(server, "shared")
    assert len(instances) == INSTANCES
    assert SHARED_BYTES < pss_bytes([template, *instances.values()]) < 1.6 * SHARED_BYTES
    assert infer(server, "shared")[1]["outputs"][0]["data"] == [42.0]


def test_each_instance_is_the_supervisors_child_in_a_session_of_its_own(server: Pyserver) -> None:
    _, instances = processes(server, "shared")
    assert {parent(pid) for pid in instances.values()} == {server.pid}
    assert [os.getpgid(pid) for pid in instances.values()] == list(instances.values())
    assert [os.getsid(pid) for pid in instances.values()] == list(instances.values())


def test_what_serves_has_its_own_priority_again(server: Pyserver) -> None:
    for pid in processes(server, "shared")[1].values():
        for thread in os.listdir(f"/proc/{pid}/task"):
            assert os.getpriority(os.PRIO_PROCESS, int(thread)) == os.getpriority(
                os.PRIO_PROCESS, server.pid
            )
        group = Path(f"/proc/{pid}/autogroup")
        assert not group.exists() or group.read_text().endswith("nice 0\n")


def test_instances_share_no_descriptor_with_their_template(server: Pyserver) -> None:
    template, instances = processes(server, "shared")
    held = [
        {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        for pid in (template, *instances.values())
    ]
    pipes = [{name for name in names if name.startswith(("pipe:", "socket:"))} for names in held]
    assert all(pipes)
    assert sum(len(one) for one in pipes) == len(set.union(*pipes))


def test_a_killed_instance_is_forked_again_from_the_same_template(server: Pyserver) -> None:
    template, before = processes(server, "shared")
    os.kill(before["shared_0_1"], signal.SIGKILL)

    def back() -> dict[str, int] | None:
        now = processes(server, "shared")[1]
        fresh = now.get("shared_0_1", before["shared_0_1"]) not in (0, before["shared_0_1"])
        return now if fresh and len(now) == INSTANCES else None

    after = wait_until(back, timeout_s=30, what="the instance")
    assert processes(server, "shared")[0] == template
    assert parent(after["shared_0_1"]) == server.pid
    counters = ask(server, "/v2/pyserver/counters")[1]["instances"]
    [killed] = [one for one in counters if one["name"] == "shared_0_1"]
    assert killed["last_end"] == "was killed by signal 9 (SIGKILL)"
    assert infer(server, "shared")[0] == 200


def test_a_killed_template_takes_no_instance_with_it_and_has_a_successor(server: Pyserver) -> None:
    template, before = processes(server, "shared")
    os.kill(template, signal.SIGKILL)
    assert infer(server, "shared")[0] == 200
    wait_until(
        lambda: processes(server, "shared")[0] not in (0, template),
        timeout_s=30,
        what="another template",
    )
    assert processes(server, "shared")[1] == before
    os.kill(before["shared_0_3"], signal.SIGKILL)
    wait_until(
        lambda: (
            processes(server, "shared")[1].get("shared_0_3", 0) not in (0, before["shared_0_3"])
            and all_run(server, "shared")
        ),
        timeout_s=30,
        what="an instance of the new template",
    )


def test_unloading_ends_the_template_and_all_instances(server: Pyserver) -> None:
    assert ask(server, "/v2/repository/models/without_hook/load", {})[0] == 200
    template, instances = processes(server, "without_hook")
    assert template and len(instances) == 2
    assert infer(server, "without_hook")[1]["outputs"][0]["data"] == [42.0]
    assert ask(server, "/v2/repository/models/without_hook/unload", {})[0] == 200
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in (template, *instances.values())),
        what="the end of its processes",
    )
    assert processes(server, "without_hook") == (0, {})


REFUSED = [
    ("with_threads", "has started 1 threads (pool)"),
    ("with_threads", "OMP_NUM_THREADS"),
    ("raising", "ValueError: no weights for raising"),
    ("no_static_method", "must be a static method or a class method"),
    ("neither", "parameter 'fork_instances' of model 'neither' must be 'true' or 'false'"),
]


@pytest.mark.parametrize(("model", "text"), REFUSED)
def test_what_cannot_be_forked_says_why_and_leaves_nothing(
    server: Pyserver, model: str, text: str
) -> None:
    before = server.pids()
    status, answer = ask(server, f"/v2/repository/models/{model}/load", {})
    assert status == 400
    assert text in answer["error"]
    assert processes(server, model) == (0, {})
    wait_until(lambda: not server.pids() - before, what="the end of its processes")
