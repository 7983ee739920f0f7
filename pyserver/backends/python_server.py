"""What a Python model may ask of the server it runs in: load, unload and readiness of models.

The instance process connects `connection` to core. Only from `initialize` and `execute` is there
somebody to answer, as in Triton; a model file that is imported without a server finds nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyserver._core import TritonModelException
from pyserver.backends.interface import Server
from pyserver.errors import ServerError

NOBODY: Final = "Cannot communicate with parent service"


class Connection:
    """This process's one way to the server: closed while nobody is to be asked."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.instance = ""  # whose model is asking; "" without a server
        self.open = False

    def ask(self, message: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """Raises TritonModelException, with core's text or that there is nobody."""
        if self.server is None or not self.open:
            raise TritonModelException(NOBODY)
        try:
            return self.server.ask(message, fds)
        except ServerError as error:
            raise TritonModelException(self.refusal(str(error))) from error

    def refusal(self, text: str) -> str:
        """Triton's text for what its server refuses, and not already its Python module."""
        if not self.instance:
            return text
        return f"Failed to process the request for model '{self.instance}', message: {text}"


connection: Final = Connection()


def load_model(model_name: str, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
    """Loads or reloads; returns when the model serves. Needs --model-control-mode=explicit.

    `config` is JSON that takes the place of the model's config; `files` are contents by
    "file:<path below the model's folder>". Raises TritonModelException.
    """
    if files is not None and not isinstance(files, dict):
        raise TritonModelException(
            f"failed to load model '{model_name}', files should be a dictionary of file paths and"
            " file contents"
        )
    given = {} if files is None else files
    message = {
        "what": "load_model",
        "model": str(model_name),
        "config": str(config),
        "files": [[str(name), len(content)] for name, content in given.items()],
    }
    # The contents travel in a file of their own: they may be large, and are no text.
    memfd = os.memfd_create("pyserver-files", os.MFD_CLOEXEC)
    try:
        with open(memfd, "wb", closefd=False) as file:
            for content in given.values():
                file.write(content)
        _ask("Failed to load model: ", message, [memfd])
    finally:
        os.close(memfd)


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Takes the model out of service; what is in flight is finished after the return."""
    message = {
        "what": "unload_model",
        "model": str(model_name),
        "unload_dependents": bool(unload_dependents),
    }
    _ask("Failed to unload model: ", message)


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether the model (its newest version, or that one) answers requests."""
    message = {
        "what": "is_model_ready",
        "model": str(model_name),
        "version": str(model_version),
    }
    return bool(_ask("Failed to check model readiness: ", message).get("value"))


def _ask(failed: str, message: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
    try:
        return connection.ask(message, fds)
    except TritonModelException as error:
        raise TritonModelException(f"{failed}{error}") from None
