"""A model served without frontends: a real engine, a real instance process, and a Client.

What core does with an instance process is done here by hand: prepare, attach, region, load, stop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserver import _core
from pyserver.config.autocomplete import ModelSignature, complete
from pyserver.config.json_view import config_json
from pyserver.config.load import finish, load_config
from pyserver.control.channel import ControlSocket, pair
from tests.instance.client import Client
from tests.waiting import wait_until

REGION_BYTES = 256 << 20
HANDLE = 7


class LoadFailed(Exception):
    """The process answered "failed"."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["message"])
        self.code = answer["code"]


class Served:
    """One loaded version of a model, and a client of it."""

    def __init__(
        self,
        model_dir: Path,
        *,
        version: int = 1,
        instances: int = 1,
        region_bytes: int = REGION_BYTES,
    ) -> None:
        self.engine = _core.Engine(REGION_BYTES, REGION_BYTES)
        self.engine.start()
        self.logged: list[dict[str, Any]] = []
        self.client = Client(self.engine)
        self.client.know_region(_core.CORE_PEER, self.engine.region_fd)
        self._answers: list[dict[str, Any]] = []
        ours, theirs = pair()
        self.control: ControlSocket = ours
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pyserver.instance", f"--control-fd={theirs.fileno()}"],
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        self.peers: list[int] = []
        self.region_fds: list[int] = []  # of the peers
        try:
            self._load(model_dir, version, instances, region_bytes)
        except BaseException:
            self.close()
            raise

    def _load(self, model_dir: Path, version: int, instances: int, region_bytes: int) -> None:
        loaded = load_config(model_dir.name, model_dir, config_name=None, gpu_count=0)
        message = {
            "name": model_dir.name,
            "version": version,
            "backend": loaded.message.backend,
            "model_dir": str(model_dir),
            "version_dir": str(model_dir / str(version)),
            "config": config_json(loaded.message),
            "backend_config": {},
            "auto_complete": True,
        }
        answer: Any = self.ask({"op": "prepare", "model": message}, "prepared")["completion"]
        if answer is not None and "inputs" in answer:
            answer = ModelSignature.from_json(answer)
        config = finish(complete(loaded.message, answer), gpu_count=0, model_dir=model_dir)
        self.config = config
        for index in range(instances):
            peer, fds = self.engine.make_peer("instance", region_bytes)
            self.peers.append(peer)
            instance = {
                "name": f"{model_dir.name}_{index}",
                "kind": "KIND_CPU",
                "device_id": 0,
                "index": index,
            }
            self.control.send({"op": "attach", "peer": peer, "instance": instance}, fds)
            self.client.know_region(peer, fds[3])
            self.region_fds.append(fds[3])
            for fd in fds[:3]:
                os.close(fd)
        self.introduce(self.client.peer, self.client.region_fd)
        self.introduce(_core.CORE_PEER, self.engine.region_fd)
        self.ask({"op": "load", "config": config_json(config)}, "loaded")
        batching = config.HasField("dynamic_batching")
        self.engine.add_model(
            HANDLE,
            {
                "name": model_dir.name,
                "version": version,
                "policy": "dynamic" if batching else "direct",
                "max_batch_size": config.max_batch_size,
                "preferred_batch_sizes": list(config.dynamic_batching.preferred_batch_size),
                "max_queue_delay_us": config.dynamic_batching.max_queue_delay_microseconds,
            },
        )
        for peer in self.peers:
            self.engine.add_instance(HANDLE, peer)

    def introduce(self, peer: int, fd: int) -> None:
        self.control.send({"op": "region", "peer": peer}, [fd])
        assert self._receive()["op"] == "region_ok"

    def ask(self, message: dict[str, Any], wanted: str) -> dict[str, Any]:
        self.control.send(message)
        answer = self._receive()
        if answer["op"] == "failed":
            raise LoadFailed(answer)
        assert answer["op"] == wanted
        return answer

    def _receive(self) -> dict[str, Any]:
        """The next answer; what comes of its log is kept in `logged`."""
        while True:
            message, fds = self.control.receive()
            assert not fds
            if message["op"] != "log":
                return message
            self.logged.append(message)

    def infer(self, inputs: Any, *args: Any, **more: Any) -> Any:
        return self.client.infer(HANDLE, inputs, *args, **more)

    def submit(self, inputs: Any, *args: Any, **more: Any) -> Any:
        return self.client.submit(HANDLE, inputs, *args, **more)

    def nothing_is_held(self) -> None:
        """Nobody holds a request, a batch or a response any more."""
        names = ("live_requests", "live_leases", "live_batches", "violations")
        wait_until(
            lambda: not any(self.engine.counters()[name] for name in names),
            what="all memory to be handed back",
        )

    def stop(self) -> int:
        """Asks the process to finish; its exit code."""
        if self.process.poll() is None:
            self.control.send({"op": "stop"})
        return self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.control.close()
        self.engine.stop()
        self.client.close()
        for fd in self.region_fds:
            os.close(fd)


@contextmanager
def served(model_dir: Path, **options: Any) -> Iterator[Served]:
    """A model that is loaded; afterwards nothing of it may be held, and it must stop in order."""
    made = Served(model_dir, **options)
    try:
        yield made
        made.nothing_is_held()
        assert made.stop() == 0
    finally:
        made.close()


def write_model(folder: Path, config: str, code: str = "", *, version: int = 1) -> Path:
    """A model in `folder`: config.pbtxt, and model.py if there is code."""
    (folder / str(version)).mkdir(parents=True)
    if config:
        (folder / "config.pbtxt").write_text(config)
    if code:
        (folder / str(version) / "model.py").write_text(code)
    return folder


def tensors(kind: str, specs: Sequence[tuple[str, str, Sequence[int]]]) -> str:
    """`input` or `output` entries of a config.pbtxt."""
    return "".join(
        f"{kind} {{ name: {json.dumps(name)} data_type: TYPE_{datatype} dims: {list(dims)} }}\n"
        for name, datatype, dims in specs
    )
