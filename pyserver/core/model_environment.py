"""The Python that a model runs with: the server's own, or an environment that the model brings.

    EXECUTION_ENV_PATH    a folder, or an archive of one, as Triton's (parameters of the config);
                          the archive may lie on object storage
    python                a folder with bin/python, or an interpreter (parameters; ours alone)
    requirements.txt      beside the model: built once, with the server's packages behind its own

The interpreter runs our own code: this pyserver, where `_core` is built for its version, else the
one that is installed in it, if that is the same (python_probe).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyserver.beneath import fault_in, is_private
from pyserver.core.python_probe import PROBE_WITHIN_S, run_program, usable_package
from pyserver.errors import InvalidArgumentError, UnavailableError
from pyserver.repository.environment_archive import unpack
from pyserver.repository.environment_cache import file_digest, kept
from pyserver.repository.storage_fsspec import FsspecStorage
from pyserver.repository.storage_url import is_storage_url, parse_storage_url

log = logging.getLogger(__name__)

_MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY"
_REMOTE: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)  # s3://, gs://, as://, ...
_STUB: Final = "triton_python_backend_stub"
_BUILD_WITHIN_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """How an instance process is started: `program` is None for the server's own Python."""

    program: tuple[str, ...] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def python_environment(
    name: str,
    parameters: Mapping[str, str],
    model_dir: Path,
    version_dir: Path,
    settings: Mapping[str, str],
    say: Callable[[str], None],
) -> PythonEnvironment:
    """What the model asks for, made if it has to be: may take minutes, and runs other programs.

    `parameters` are the texts of the config's; `settings` those of `--backend-config=python,...`;
    `say` hears what is being done. Raises InvalidArgumentError or UnavailableError.
    """
    given = parameters.get("EXECUTION_ENV_PATH", "")
    own = parameters.get("python", "")
    _warn_of_stub(name, model_dir, version_dir)
    for key, value in (("EXECUTION_ENV_PATH", given), ("python", own)):
        fetched = key == "EXECUTION_ENV_PATH" and is_storage_url(value)
        if _REMOTE.match(value) and not fetched:
            raise InvalidArgumentError(
                f"model '{name}': {key} is '{value}', which is not fetched from there; put it into"
                f" the model's folder and name it '{_MODEL_DIRECTORY}/<file>', or give the path of"
                " a folder on this machine (an archive of EXECUTION_ENV_PATH may lie on s3://,"
                " gs:// or as://)"
            )
    if given:
        folder = (
            _downloaded(name, given, say)
            if is_storage_url(given)
            else _unpacked(_path(given, model_dir), say)
        )
    elif own:
        folder = _path(own, model_dir)
    else:
        requirements = _requirements(model_dir, version_dir)
        if requirements is None or settings.get("requirements") == "ignore":
            return PythonEnvironment()
        folder = _built(name, requirements, say)
    interpreter = _interpreter(name, folder)
    say("checking its Python environment")
    return _started_with(interpreter, usable_package(name, interpreter))


def _path(text: str, model_dir: Path) -> Path:
    """Relative paths count from the model's folder, and stay there where it was sent to us."""
    relative = text.removeprefix(_MODEL_DIRECTORY).lstrip("/") if text.startswith("$") else text
    why = None if relative.startswith("/") else fault_in(relative)
    if why is not None and is_private(model_dir):
        raise InvalidArgumentError(f"the Python environment '{text}' of an uploaded model {why}")
    return model_dir / text.replace(_MODEL_DIRECTORY, str(model_dir))


def _warn_of_stub(name: str, model_dir: Path, version_dir: Path) -> None:
    for folder in (version_dir, model_dir):
        if (folder / _STUB).is_file():
            log.warning(
                "model '%s': '%s' is not used. In Triton it is the program that runs a model with"
                " another Python; here, install pyserver into that Python and name it in the"
                ' config: parameters { key: "python" value { string_value: "/path/to/it" } }',
                name,
                folder / _STUB,
            )
            return


def _unpacked(path: Path, say: Callable[[str], None]) -> Path:
    if path.is_dir():
        return path
    if not path.is_file():
        raise InvalidArgumentError(f"the Python environment '{path}' does not exist")
    say("unpacking its Python environment")
    return _kept(str(path), file_digest(path), lambda folder: _unpack(path, folder))


def _downloaded(name: str, url: str, say: Callable[[str], None]) -> Path:
    """An archive on object storage. Known again by its tag, without which it is always fetched."""
    parent, _, last = url.rpartition("/")
    try:
        storage = FsspecStorage(parse_storage_url(parent))
    except ValueError:
        raise InvalidArgumentError(
            f"model '{name}' has the EXECUTION_ENV_PATH '{url}', which names no object in a bucket"
        ) from None
    say("downloading its Python environment")
    file = storage.stat(last)
    tag = file.tag or secrets.token_hex()
    digest = hashlib.sha256("\0".join((url, tag, str(file.size))).encode()).hexdigest()

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as place:
            archive = Path(place, "archive")
            storage.fetch("", file, archive)
            say("unpacking its Python environment")
            _unpack(archive, folder)

    return _kept(url, digest, make)


def _unpack(archive: Path, folder: Path) -> None:
    unpack(archive, folder)
    relocate = folder / "bin" / "conda-unpack"
    if relocate.is_file():  # writes the folder's path into the files that know another
        run_program([str(folder / "bin" / "python"), str(relocate)], PROBE_WITHIN_S, folder)


def _kept(what: str, digest: str, make: Callable[[Path], None]) -> Path:
    try:
        return kept("environments", digest, make)
    except OSError as error:
        raise UnavailableError(
            f"the Python environment '{what}' cannot be kept: {error}"
        ) from error


def _requirements(model_dir: Path, version_dir: Path) -> Path | None:
    for folder in (version_dir, model_dir):
        path = folder / "requirements.txt"
        if path.is_file():
            return path
    return None


def _built(name: str, requirements: Path, say: Callable[[str], None]) -> Path:
    say("building the environment of its requirements.txt")
    text = requirements.read_bytes()
    packages = sysconfig.get_path("purelib")
    # What it refers to by a relative path belongs to the folder that it lies in.
    seed = [sys.version.encode(), packages.encode(), str(requirements.parent).encode(), text]
    digest = hashlib.sha256(b"\0".join(seed)).hexdigest()

    def make(folder: Path) -> None:
        log.info("model '%s': building the environment of '%s'", name, requirements)
        run_program(
            [sys.executable, "-m", "venv", str(folder)], _BUILD_WITHIN_S, requirements.parent
        )
        python = str(folder / "bin" / "python")
        options = ["--no-input", "--disable-pip-version-check", "--quiet"]
        install = [python, "-m", "pip", "install", *options, "-r", str(requirements)]
        run_program(install, _BUILD_WITHIN_S, requirements.parent)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        own = folder / "lib" / version / "site-packages"
        # Behind its own packages come the server's: numpy, and what the model does not name.
        (own / "zz_pyserver.pth").write_text(f"{packages}\n")

    try:
        return kept("requirements", digest, make)
    except OSError as error:
        raise UnavailableError(
            f"the environment of '{requirements}' cannot be kept: {error}"
        ) from error


def _interpreter(name: str, path: Path) -> Path:
    for candidate in (path, path / "bin" / "python", path / "bin" / "python3"):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise InvalidArgumentError(
        f"the Python environment '{path}' of model '{name}' has no interpreter: neither it itself"
        " nor bin/python in it can be run"
    )


def _started_with(interpreter: Path, package: Path) -> PythonEnvironment:
    # The environment finds pyserver by this file, and everything else in its own folders.
    start = package / "instance" / "start.py"
    folder = interpreter.parent
    variables = {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    if (folder.parent / "pyvenv.cfg").is_file():
        variables["VIRTUAL_ENV"] = str(folder.parent)
    return PythonEnvironment((str(interpreter), "-P", str(start)), variables)
