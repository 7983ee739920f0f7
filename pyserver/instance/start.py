"""Run as a file, by the Python of a model's own environment: finds pyserver beside itself, and
nothing else of the server's packages, so that the environment is what the model sees.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> int:
    package = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        "pyserver", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        return 1
    module = importlib.util.module_from_spec(spec)
    sys.modules["pyserver"] = module
    spec.loader.exec_module(module)
    from pyserver.instance.__main__ import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
