"""Models that bring their own Python: folders, archives, virtual environments, requirements.txt."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from bench.targets.pyserver import Pyserver
from tests.backends.python_models import model
from tests.e2e.telling import tell
from tests.serving import grpc_client, serving

TELLS = """
def execute(self, requests):
    import os, sys
    try:
        import made_up_package
        version = made_up_package.VERSION
    except ModuleNotFoundError:
        version = 0
    told = {"prefix": sys.prefix, "mark": os.environ.get("MARK"), "package": version,
            "aiohttp": "aiohttp" in sys.modules, "path": os.environ["PATH"]}
    return [answer(np.array([json.dumps(told)], dtype=object))]
"""
OTHER = """#!/bin/sh
echo '{"version": [3, 9, 1], "numpy": "", "suffix": ".cpython-39-x86_64-linux-gnu.so"}'
"""
NO_NUMPY = f"""#!/bin/sh
echo '{
    json.dumps(
        {
            "version": [3, 11, 0],
            "numpy": "ModuleNotFoundError: No module",
            "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        }
    )
}'
"""
NO_PYTHON = "#!/bin/sh\necho hello\n"


def parameter(key: str, value: object) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def wheel(folder: Path, version: int) -> Path:
    """A package without anything that it needs."""
    path = folder / f"made_up_package-{version}-py3-none-any.whl"
    info = f"made_up_package-{version}.dist-info"
    files = {
        "made_up_package.py": f"VERSION = {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: made-up-package\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record += f"{name},sha256={digest.decode()},{len(text)}\n"
        file.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environments")
    models = folder / "models"
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    (packages / "numpy.pth").write_text(sysconfig.get_path("purelib") + "\n")
    marked = f'#!/bin/sh\nMARK=archive exec "{sys.executable}" "$@"\n'
    program(folder / "packed" / "bin" / "python", marked)

    def make(name: str, config: str = "") -> Path:
        return model(models / name, TELLS, kind="STRING", config=config)

    make("own")
    make("folder", parameter("EXECUTION_ENV_PATH", venv))
    make("venv", parameter("python", venv))
    make("interpreter", parameter("python", venv / "bin" / "python"))
    packed = make("packed", parameter("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/env.tar.gz"))
    with tarfile.open(packed / "env.tar.gz", "w:gz") as file:
        file.add(folder / "packed", ".")
    evil = make("evil", parameter("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/env.tar.gz"))
    with tarfile.open(evil / "env.tar.gz", "w:gz") as file:
        file.add(folder / "packed" / "bin" / "python", "../escaped")
    for name, text in {"other": OTHER, "no_numpy": NO_NUMPY, "no_python": NO_PYTHON}.items():
        program(folder / name / "bin" / "python", text)
        make(name, parameter("python", folder / name))
    make("missing", parameter("EXECUTION_ENV_PATH", "/there/is/no/such.tar.gz"))
    make("empty", parameter("python", models))
    required = make("required")
    wheel(required, 7)
    (required / "requirements.txt").write_text("./made_up_package-7-py3-none-any.whl\n")
    impossible = make("impossible")
    (impossible / "requirements.txt").write_text("./there-is-no-such-1-py3-none-any.whl\n")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Pyserver]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSERVER_CACHE_DIR", str(folder / "cache"))
        with serving(
            folder / "server.log", folder / "models", "--model-control-mode=explicit"
        ) as running:
            yield running


@pytest.fixture
def client(server: Pyserver) -> Iterator[Any]:
    with grpc_client(server) as made:
        yield made


def test_the_servers_own_python(client: Any) -> None:
    client.load_model("own")
    assert tell(client, "own")["prefix"] == sys.prefix


@pytest.mark.parametrize("name", ["folder", "venv", "interpreter"])
def test_an_environment_that_is_a_folder(client: Any, folder: Path, name: str) -> None:
    client.load_model(name)
    told = tell(client, name)
    assert told["prefix"] == str(folder / "venv")
    assert told["path"].startswith(f"{folder}/venv/bin:")
    assert told["package"] == 0


def test_an_archive_is_unpacked_once(client: Any, folder: Path) -> None:
    client.load_model("packed")
    assert tell(client, "packed")["mark"] == "archive"
    (unpacked,) = [one for one in (folder / "cache" / "environments").iterdir() if one.is_dir()]
    before = unpacked.stat().st_mtime_ns
    client.unload_model("packed")
    client.load_model("packed")
    assert unpacked.stat().st_mtime_ns == before


@pytest.mark.timeout(180)
def test_requirements_are_installed_once(client: Any, folder: Path, server: Pyserver) -> None:
    client.load_model("required")
    told = tell(client, "required")
    assert told["package"] == 7
    assert told["prefix"].startswith(str(folder / "cache" / "requirements"))
    client.unload_model("required")
    client.load_model("required")
    assert server.log_tail(100_000).count("building the environment of '") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evil", "cannot be unpacked: member '../escaped' leads out of it"),
        ("missing", "the Python environment '/there/is/no/such.tar.gz' does not exist"),
        ("empty", "has no interpreter: neither it itself nor bin/python in it can be run"),
        ("no_python", "is no Python: it said 'hello"),
        ("no_numpy", "cannot import numpy, which triton_python_backend_utils needs: ModuleNotFou"),
        ("other", "has version 3.9.1; pyserver's native module is built for another (_core."),
        ("impossible", "there-is-no-such-1-py3-none-any.whl"),
    ],
)
@pytest.mark.timeout(180)
def test_what_is_no_good_says_what_is_missing(
    client: Any, folder: Path, name: str, text: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.load_model(name)
    assert text in refused.value.message()
    assert not (folder / "cache" / "environments" / "escaped").exists()
