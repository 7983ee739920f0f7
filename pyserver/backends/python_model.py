"""Finding and importing a user's model.py.

As in Triton the file is imported as `<version>.model`, with the version's folder and the model's on
`sys.path`, so that files beside it can be imported by name or relatively.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from pyserver.backends import triton_python_backend_utils as utils
from pyserver.backends.interface import ModelInfo
from pyserver.backends.python_function import function_model
from pyserver.backends.python_traceback import describe_error
from pyserver.errors import InternalError, NotFoundError


def import_model_class(model: ModelInfo) -> type[Any]:
    """The class `TritonPythonModel` of the model's file, or one made of its decorated function.

    Raises a ServerError.
    """
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
    model_class = function_model(module) or getattr(module, "TritonPythonModel", None)
    if not isinstance(model_class, type):
        raise InternalError(
            f"AttributeError: module '{module.__name__}' has no attribute 'TritonPythonModel'"
        )
    if not any(callable(getattr(model_class, name, None)) for name in ("execute", "stream")):
        raise InternalError(
            f"Failed to find 'execute' of TritonPythonModel in '{path}': it must be defined"
        )
    return model_class
