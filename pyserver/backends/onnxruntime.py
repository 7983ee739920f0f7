"""The ONNX Runtime backend: one session for all instances of a version on a device."""

from __future__ import annotations

from typing import Any

from pyserver.backends.interface import InstanceInfo, ModelInfo
from pyserver.backends.onnx_instance import OnnxRuntimeInstance
from pyserver.backends.onnx_session import (
    Device,
    Session,
    check_config,
    import_onnxruntime,
    open_session,
)


class OnnxRuntimeBackend:
    """Keeps the session that `describe` opened for `load`."""

    def __init__(self) -> None:
        self._sessions: dict[Device, Session] = {}

    def describe(self, model: ModelInfo) -> dict[str, Any] | None:
        has_inputs = model.config.get("input") or model.config.get("batch_input")
        if has_inputs and model.config.get("output"):
            import_onnxruntime(model)
            return None
        session = self._session(model, _first_device(model))
        made_here = {*model.control_names, *(state["input_name"] for state in model.states)}
        kept_here = {state["output_name"] for state in model.states}
        return {
            "inputs": [
                tensor.as_signature() for tensor in session.inputs if tensor.name not in made_here
            ],
            "outputs": [
                tensor.as_signature() for tensor in session.outputs if tensor.name not in kept_here
            ],
        }

    def load(self, model: ModelInfo) -> OnnxRuntimeModel:
        return OnnxRuntimeModel(model, self)

    def _session(self, model: ModelInfo, device: Device) -> Session:
        if device not in self._sessions:
            self._sessions[device] = open_session(model, device)
        return self._sessions[device]

    def session(self, model: ModelInfo, device: Device) -> Session:
        """The session of a device, checked against the final config."""
        session = self._session(model, device)
        check_config(model, session)
        return session


class OnnxRuntimeModel:
    """A version; its sessions by device."""

    def __init__(self, model: ModelInfo, backend: OnnxRuntimeBackend) -> None:
        self._model = model
        self._backend = backend

    def make_instance(self, info: InstanceInfo) -> OnnxRuntimeInstance:
        on_gpu = info.kind == "KIND_GPU"
        device = Device("KIND_GPU", info.device_id) if on_gpu else Device("KIND_CPU", 0)
        return OnnxRuntimeInstance(self._model, self._backend.session(self._model, device))


def _first_device(model: ModelInfo) -> Device:
    """Where the model is opened to be described, before the instances are planned."""
    for group in model.config.get("instance_group", []):
        if group["kind"] == "KIND_GPU":
            return Device("KIND_GPU", group["gpus"][0] if group["gpus"] else 0)
        break
    return Device("KIND_CPU", 0)
