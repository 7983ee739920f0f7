"""An environment as conda-pack lays it out, unpacked and moved; and a Python of another version."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.python_models import model
from tests.e2e.telling import tell
from tests.e2e.test_model_environments import parameter
from tests.serving import grpc_client, serving

# A Python of another minor version that pyserver was installed into from these sources.
OTHER_PYTHON = os.environ.get("PYSERVER_OTHER_PYTHON", "")

TELLS = """
def execute(self, requests):
    import sys
    told = {"prefix": sys.prefix, "version": list(sys.version_info[:2]), "numpy": np.__file__,
            "pyserver": sys.modules["pyserver"].__file__}
    return [answer(np.array([json.dumps(told)], dtype=object)) for one in requests]
"""
# What the packages were built for; it is in their files until conda-unpack has been run.
PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
UNPACK = f"""#!/usr/bin/env python
import os
prefix = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
for name in ("bin/tool", "etc/tool.conf"):
    path = os.path.join(prefix, name)
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace({PLACEHOLDER!r}, prefix))
with open(os.path.join(prefix, "unpacked"), "a") as file:
    file.write(prefix)
"""
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages"}


def add(file: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text.encode()), mode
    file.addfile(member, io.BytesIO(text.encode()))


def slim(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(member.name).name
    left_out = name in LEFT_OUT or name.startswith("config-3") or name == "__pycache__"
    return None if left_out else member


def pack(path: Path) -> None:
    """A relocatable prefix with an interpreter, its library, numpy, and conda-unpack."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(np.__file__).parent.parent
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        file.add(os.path.realpath(sys.executable), f"bin/{version}")
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, version
        file.addfile(link)
        file.add(Path(sys.base_prefix) / "lib" / version, f"lib/{version}", filter=slim)
        for name in ("numpy", "numpy.libs"):
            if (packages / name).is_dir():
                file.add(packages / name, f"lib/{version}/site-packages/{name}", filter=slim)
        add(file, "bin/tool", f"#!{PLACEHOLDER}/bin/python\n", 0o755)
        add(file, "etc/tool.conf", f"home={PLACEHOLDER}/lib\n")
        add(file, "bin/conda-unpack", UNPACK, 0o755)
        add(file, "bin/activate", "# made by conda-pack\n")
        add(file, "conda-meta/history", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    path = "$$TRITON_MODEL_DIRECTORY/env.tar.gz"
    config = parameter("EXECUTION_ENV_PATH", path)
    packed = model(folder / "models" / "packed", TELLS, kind="STRING", config=config)
    pack(packed / "env.tar.gz")
    if OTHER_PYTHON:
        config = parameter("python", OTHER_PYTHON)
        model(folder / "models" / "other", TELLS, kind="STRING", config=config)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSERVER_CACHE_DIR", str(folder / "cache"))
        with serving(
            folder / "server.log", folder / "models", "--model-control-mode=explicit"
        ) as server:
            with grpc_client(server) as made:
                yield made
    shutil.rmtree(folder / "cache", ignore_errors=True)


@pytest.mark.timeout(280)
def test_a_packed_environment_is_unpacked_and_moved_once(client: Any, folder: Path) -> None:
    client.load_model("packed")
    told = tell(client, "packed")
    (place,) = [one for one in (folder / "cache" / "environments").iterdir() if one.is_dir()]
    assert told["prefix"] == str(place)
    assert told["numpy"].startswith(f"{place}/lib/")
    assert (place / "bin" / "tool").read_text() == f"#!{place}/bin/python\n"
    assert (place / "etc" / "tool.conf").read_text() == f"home={place}/lib\n"
    client.unload_model("packed")
    client.load_model("packed")
    assert (place / "unpacked").read_text() == str(place)


@pytest.mark.skipif(
    not OTHER_PYTHON,
    reason="needs PYSERVER_OTHER_PYTHON: a CPython of another version with this pyserver in it",
)
def test_another_python_runs_models_with_its_own_pyserver(client: Any) -> None:
    client.load_model("other")
    told = tell(client, "other")
    assert told["version"] != list(sys.version_info[:2])
    assert told["pyserver"].startswith(told["prefix"])
