"""Homes for servers that shall not share our virtual environment, and the command that makes them.

Each is a virtual environment with exactly the packages that its file in requirements/ pins.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.targets.process import ServerProcess

_REQUIREMENTS = Path(__file__).with_name("requirements")


@dataclass(frozen=True, slots=True)
class Environment:
    """The home of the server `name`: PYSERVER_NAME_HOME, or /tmp/bench-name."""

    name: str

    @property
    def home(self) -> Path:
        named = os.environ.get(f"PYSERVER_{self.name.upper()}_HOME")
        return Path(named) if named else Path(f"/tmp/bench-{self.name}")

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def requirements(self) -> Path:
        return _REQUIREMENTS / f"{self.name}.txt"

    def version(self) -> str:
        """What the requirements pin of the package that the server is named after."""
        pins = self.requirements.read_text().splitlines()
        return next(pin.partition("==")[2] for pin in pins if pin.startswith(f"{self.name}=="))

    @property
    def _done(self) -> Path:
        """A copy of the requirements, written last: an interrupted installation has none, and one
        of other versions another.
        """
        return self.home / "installed.txt"

    def installed(self) -> bool:
        return self._done.exists() and self._done.read_text() == self.requirements.read_text()

    def install(self) -> None:
        """Make the home; what is there already is kept."""
        make_venv(self.home)
        pip_install(self.home, "--requirement", str(self.requirements))
        shutil.copyfile(self.requirements, self._done)


class HomedServer(ServerProcess):
    """A server out of an Environment, which has its name."""

    @classmethod
    def packages(cls) -> Environment:
        return Environment(cls.name)

    @classmethod
    def installed(cls) -> bool:
        return cls.packages().installed()

    @classmethod
    def version(cls) -> str:
        return cls.packages().version()


def debian_version(package: str) -> str:
    """Empty where Debian's package is not installed."""
    command = ["dpkg-query", "-W", "-f=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def unpack_debian(package: str, folder: Path) -> None:
    """The package's files below `folder`; nothing is installed, and its scripts do not run."""
    subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
    for file in folder.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg", "-x", str(file), str(folder)], check=True)


def make_venv(home: Path) -> None:
    if not (home / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)


def pip_install(home: Path, *what: str) -> None:
    """Nothing but `what`: who calls names the dependencies too."""
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, *what], check=True)


def installer(what: str, install: Callable[[], None], home: Path) -> None:
    """The command line `python -m bench.targets.NAME install`."""
    parser = argparse.ArgumentParser(description=f"Installs {what} in {home}.")
    parser.add_argument("action", choices=["install"])
    parser.parse_args()
    install()
    print(f"{what} is in {home}")
