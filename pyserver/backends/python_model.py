"""Finding and importing a user's model.py, and telling what went wrong in it.

As in Triton the file is imported as `<version>.model`, with the version's folder and the model's on
`sys.path`, so that files beside it can be imported by name or relatively.
"""

from __future__ import annotations

import importlib
import sys
from types import TracebackType
from typing import Any

from pyserver.backends import triton_python_backend_utils as utils
from pyserver.backends.interface import ModelInfo
from pyserver.errors import InternalError, NotFoundError


def import_model_class(model: ModelInfo) -> type[Any]:
    """The class `TritonPythonModel` of the model's file. Raises a ServerError."""
    file_name = model.config.get("default_model_filename") or "model.py"
    path = model.version_file(file_name)
    if not path.is_file():
        raise NotFoundError(f"model file not found: '{path}' is not a file of model '{model.name}'")
    utils.set_model_dir(str(path.parent))
    sys.modules["triton_python_backend_utils"] = utils
    sys.modules["c_python_backend_utils"] = utils  # where Triton has the native half
    for folder in (str(model.version_dir), str(model.model_dir)):
        if folder not in sys.path:
            sys.path.append(folder)
    importlib.invalidate_caches()
    name = f"{model.version}.{file_name.removesuffix('.py').replace('/', '.')}"
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the user's module raises
        raise InternalError(describe_error(error)) from error
    model_class = getattr(module, "TritonPythonModel", None)
    if not isinstance(model_class, type):
        raise InternalError(
            f"AttributeError: module '{module.__name__}' has no attribute 'TritonPythonModel'"
        )
    if not callable(getattr(model_class, "execute", None)):
        raise InternalError(
            f"Failed to find 'execute' of TritonPythonModel in '{path}': it must be defined"
        )
    return model_class


def describe_error(error: BaseException) -> str:
    """The exception and where it was raised, in the shape that Triton's clients know:

        ValueError: what it says

        At:
          /models/m/1/model.py(12): helper
          /models/m/1/model.py(20): execute

    Frames are the innermost first; ours are left out.
    """
    text = str(error)
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = _frames(error.__traceback__)
    if not frames:
        return text if type(error).__module__.startswith("pyserver.") else told
    return "\n".join([told, "", "At:", *frames, ""])


def _frames(traceback: TracebackType | None) -> list[str]:
    lines: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "")
        ours = module.startswith(("pyserver.", "importlib.")) or code.co_filename.startswith("<")
        if not ours:
            lines.append(f"  {code.co_filename}({traceback.tb_lineno}): {code.co_name}")
        traceback = traceback.tb_next
    return lines[::-1]
