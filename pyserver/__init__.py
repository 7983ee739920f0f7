"""An inference server that speaks NVIDIA Triton's protocols; ARCHITECTURE.md is the map.

Importing the package does nothing: each role (cli, supervisor, frontend, core, instance) imports
only what it needs. What Python models may use of it (`pyserver.model`, `shape`, `shared_array`) is
imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserver.backends.python_decorator import model, shape
    from pyserver.backends.python_shared import shared_array

__all__ = ["__version__", "model", "shape", "shared_array"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("model", "shape"):
        from pyserver.backends import python_decorator

        return getattr(python_decorator, name)
    if name == "shared_array":
        from pyserver.backends import python_shared

        return python_shared.shared_array
    raise AttributeError(f"module 'pyserver' has no attribute '{name}'")
