"""Asks an interpreter what it is, and finds the pyserver that it is to run.

Ours, where `_core` is built for its version. Else the one that is installed in it, if it is made of
the same sources: the digest of all that instance and core must agree on is compiled into `_core`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pyserver
from pyserver._core import SOURCE_FINGERPRINT
from pyserver.errors import InvalidArgumentError, UnavailableError

PROBE_WITHIN_S: Final = 60.0
_PROBE: Final = """
import json, sys, sysconfig
def said(error):
    return f"{type(error).__name__}: {error}"
told = {"version": list(sys.version_info[:3]), "numpy": "", "package": "", "own": "", "print": "",
        "suffix": sysconfig.get_config_var("EXT_SUFFIX") or "", "why": ""}
try:
    import numpy
except Exception as error:
    told["numpy"] = said(error)
try:
    import pyserver
    told["package"], told["own"] = pyserver.__path__[0], pyserver.__version__
    from pyserver._core import SOURCE_FINGERPRINT
    told["print"] = SOURCE_FINGERPRINT
except Exception as error:
    told["why"] = said(error)
print(json.dumps(told))
"""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the probe says; texts are empty where something is not there, or nothing is wrong."""

    version: str
    suffix: str
    numpy: str
    package: str
    own: str
    fingerprint: str
    why: str


def usable_package(name: str, interpreter: Path) -> Path:
    """The folder of the pyserver that this interpreter can run a model of ours with.

    Raises InvalidArgumentError, which names the command that mends it; UnavailableError when it
    takes too long.
    """
    facts = _probe(name, interpreter)
    package = Path(pyserver.__file__).parent
    if not (package / f"_core{facts.suffix}").is_file():
        package = _its_own(name, interpreter, facts)
    if facts.numpy:
        raise InvalidArgumentError(
            f"'{interpreter}', the Python of model '{name}', cannot import numpy, which"
            f" triton_python_backend_utils needs: {facts.numpy}"
        )
    return package


def _probe(name: str, interpreter: Path) -> _Facts:
    command = [str(interpreter), "-P", "-c", _PROBE]
    told = run_program(command, PROBE_WITHIN_S, interpreter.parent)
    try:
        facts: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
        return _Facts(
            version=".".join(str(part) for part in facts["version"]),
            suffix=str(facts["suffix"]),
            numpy=str(facts["numpy"]),
            package=str(facts.get("package", "")),
            own=str(facts.get("own", "")),
            fingerprint=str(facts.get("print", "")),
            why=str(facts.get("why", "")),
        )
    except (ValueError, KeyError, IndexError, TypeError):
        raise InvalidArgumentError(
            f"'{interpreter}', the Python of model '{name}', is no Python: it said {told[:200]!r}"
        ) from None


def _its_own(name: str, interpreter: Path, facts: _Facts) -> Path:
    same = facts.own == pyserver.__version__ and facts.fingerprint == SOURCE_FINGERPRINT
    if same and facts.package:
        return Path(facts.package)
    built = sorted(path.name for path in Path(pyserver.__file__).parent.glob("_core.*.so"))
    if not facts.package:
        own = "and none is installed in it"
    elif facts.why:
        own = f"and the one in it, '{facts.package}', cannot be imported: {facts.why}"
    elif facts.own != pyserver.__version__:
        own = f"and the one in it has version {facts.own}, not {pyserver.__version__}"
    else:
        own = f"and the one in it, '{facts.package}', is made of other sources"
    raise InvalidArgumentError(
        f"'{interpreter}', the Python of model '{name}', has version {facts.version}; pyserver's"
        f" native module is built for another ({', '.join(built) or 'none'}), {own}. Use an"
        f" environment of Python {sys.version_info.major}.{sys.version_info.minor}, or run:"
        f" '{interpreter}' -m pip install --force-reinstall '{_source()}'"
    )


def _source() -> str:
    """Where this pyserver was installed from: its folder, its archive, or its name and version."""
    try:
        text = importlib.metadata.distribution("pyserver").read_text("direct_url.json")
        url = str(json.loads(text or "{}").get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        url = ""
    if url.startswith("file:"):
        return unquote(urlsplit(url).path)
    return url or f"pyserver=={pyserver.__version__}"


def run_program(command: list[str], within_s: float, folder: Path) -> str:
    """Its output; what it says last is in the error."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within_s,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"'{' '.join(command)}' took more than {within_s:g} s") from None
    except OSError as error:
        raise InvalidArgumentError(f"'{command[0]}' cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise InvalidArgumentError(
            f"'{' '.join(command)}' ended with exit code {done.returncode}: {said[-2000:]}"
        )
    return done.stdout.decode("utf-8", "replace")
