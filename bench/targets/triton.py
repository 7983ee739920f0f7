"""The real Triton as a server under measurement: the binary that the nvidia-pytriton wheel carries.

`python -m bench.targets.triton install` makes its home (PYSERVER_TRITON_HOME, default
/tmp/triton-venv): a virtual environment with the wheel, without the wheel's dependencies, a numpy
of the 1.x line because the stub was built before numpy 2, and a copy of the wheel's backends
folder with the Python stub in the place where the server looks for it. The wheel has no native
backend at all, so the installer also compiles `identity_backend.c`, a fair opponent for
pyserver's native identity, and brings onnxruntime for Python models.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import kserve
from bench.deployment import Deployment
from bench.targets.environment import installer, make_venv, pip_install
from bench.targets.process import Ports, ServerProcess
from bench.workload import Request, Workload

_WHEEL = "nvidia-pytriton==0.7.0"
_NUMPY = "numpy==1.26.4"
_ONNXRUNTIME = "onnxruntime==1.31.1"
_C_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_STUB = "triton_python_backend_stub"


def home() -> Path:
    return Path(os.environ.get("PYSERVER_TRITON_HOME", "/tmp/triton-venv"))


def _site_packages() -> Path:
    return home() / "lib" / _PYTHON / "site-packages"


def _binary() -> Path:
    return _site_packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"


def _backends() -> Path:
    return home() / "backends"


def installed() -> bool:
    return _binary().exists() and (_backends() / "python" / _STUB).exists()


def install() -> None:
    """Make the home; what is there already is kept."""
    make_venv(home())
    if not _binary().exists():
        pip_install(home(), _WHEEL)
    pip_install(home(), _NUMPY, _ONNXRUNTIME)
    wheel = _binary().parent.parent
    shutil.copytree(wheel / "backends", _backends(), dirs_exist_ok=True)
    version = _PYTHON.removeprefix("python")
    shutil.copy2(wheel / "python_backend_stubs" / version / _STUB, _backends() / "python" / _STUB)
    _compile_identity_backend()


def _compile_identity_backend() -> None:
    folder = _backends() / "identity"
    folder.mkdir(exist_ok=True)
    source = Path(__file__).with_name("identity_backend.c")
    library = folder / "libtriton_identity.so"
    subprocess.run(
        ["cc", *_C_FLAGS, "-o", str(library), str(source)],
        check=True,
    )


class Triton(ServerProcess):
    name = "triton"
    install = "python -m bench.targets.triton install"
    counts_requests = True

    @classmethod
    def installed(cls) -> bool:
        return installed()

    @classmethod
    def version(cls) -> str:
        return f"2.51 of {_WHEEL}"

    def folders(self) -> Sequence[Path]:
        wheel = _binary().parent.parent
        return [
            wheel / "bin",
            wheel / "lib",
            wheel / "backends",
            _site_packages() / "nvidia_pytriton.libs",
        ]

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        return deployment.lay_out(folder, native_onnx=False), deployment.flags

    def request(self, workload: Workload) -> Request | None:
        return kserve.request(workload)

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        if not installed():
            raise FileNotFoundError(
                f"no Triton in {home()}: run `python -m bench.targets.triton install`"
            )
        return [
            str(_binary()),
            f"--backend-directory={_backends()}",
            f"--cache-directory={_binary().parent.parent / 'caches'}",
            f"--model-repository={model_repository}",
            "--http-address=127.0.0.1",
            f"--http-port={ports.http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={ports.grpc}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={ports.metrics}",
            *extra,
        ]

    def environment(self) -> Mapping[str, str]:
        # The stub embeds Python and finds numpy through the pyvenv.cfg beside the first
        # `python3` in PATH; it does not read PYTHONPATH.
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(_site_packages() / "nvidia_pytriton.libs"),
            "PATH": f"{home() / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }


if __name__ == "__main__":
    installer("Triton", install, home())
