"""`ModelConfig` of triton_python_backend_utils: what `auto_complete_config` gets and returns."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

_SCHEDULERS: Final = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
_TENSOR_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("name", "data_type", "dims", "optional"),
    "output": ("name", "data_type", "dims"),
}
_REQUIRED: Final = ("name", "data_type", "dims")


class ModelConfig:
    """A model config that can be added to, but whose given parts cannot be changed.

    Each method raises ValueError where it would contradict what the config says already.
    """

    def __init__(self, model_config: str) -> None:
        """`model_config`: the config as JSON text, as in `initialize`'s args."""
        self._model_config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        """The whole config, as it is now."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """`max_batch_size` may not be smaller than the config's own."""
        given = self._model_config["max_batch_size"]
        if given > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {given}, but in auto-complete-config"
                f" function for model '{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Adds dynamic batching with its defaults; nothing changes if it is there."""
        for scheduler in _SCHEDULERS:
            if scheduler == "dynamic_batching" or scheduler not in self._model_config:
                continue
            raise ValueError(
                f"Configuration specified scheduling_choice as '{scheduler}', but"
                f" auto-complete-config function for model '{self._name}' tries to set"
                " scheduling_choice as 'dynamic_batching'"
            )
        self._model_config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        """Takes {"decoupled": bool}."""
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                "model transaction property in auto-complete-config function for model"
                f" '{self._name}' contains property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" not in transaction_policy_dict:
            return
        wanted = transaction_policy_dict["decoupled"]
        given = policy.get("decoupled", wanted)
        if given != wanted:
            raise ValueError(
                "trying to change decoupled property in auto-complete-config for model"
                f" '{self._name}', which is already set to '{given}'."
            )
        policy["decoupled"] = wanted

    def add_input(self, input: Mapping[str, Any]) -> None:
        """Takes name, data_type, dims and, if it is, optional."""
        self._add("input", input)

    def add_output(self, output: Mapping[str, Any]) -> None:
        """Takes name, data_type and dims."""
        self._add("output", output)

    @property
    def _name(self) -> str:
        return str(self._model_config["name"])

    def _add(self, what: str, tensor: Mapping[str, Any]) -> None:
        allowed = _TENSOR_KEYS[what]
        where = f"in auto-complete-config function for model '{self._name}'"
        name = tensor.get("name")
        if any(key not in allowed for key in tensor):
            quoted = [f"'{key}'" for key in allowed]
            raise ValueError(
                f"{what} '{name}' {where} contains property other than"
                f" {', '.join(quoted[:-1])} and {quoted[-1]}."
            )
        for key in _REQUIRED:
            if key not in tensor:
                who = what if name is None else f"{what} '{name}'"
                raise ValueError(f"{who} {where} is missing '{key}' property.")
        known = next((one for one in self._model_config[what] if one["name"] == name), None)
        if known is None:
            self._model_config[what].append(copy.deepcopy(dict(tensor)))
        else:
            self._complete(what, known, tensor)

    def _complete(self, what: str, known: dict[str, Any], tensor: Mapping[str, Any]) -> None:
        """Fills what the config leaves open; raises where it says something else."""
        name, dims = tensor["name"], list(tensor["dims"])
        given = known.get("data_type", "TYPE_INVALID")
        if given not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {given} for"
                f" {what} '{name}', model provides {tensor['data_type']}"
            )
        for key, wanted in (("dims", dims), ("optional", tensor.get("optional"))):
            configured = known.get(key)
            unset = configured in (None, []) or wanted is None
            if not unset and configured != wanted:
                raise ValueError(
                    f"model '{self._name}', tensor '{name}': the model expects {key} {wanted} but"
                    f" the model configuration specifies {key} {configured}"
                )
        known |= {"data_type": tensor["data_type"], "dims": dims}
        if "optional" in tensor:
            known["optional"] = tensor["optional"]
