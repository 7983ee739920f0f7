"""Builds the native module pyserver._core with CMake; everything else is in pyproject.toml.

A normal build leaves its objects in setuptools' temporary folder; an editable one in build/native,
so that the next `make install` compiles only what changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def tool(name: str) -> str:
    """The path of cmake or ninja: on PATH (as under build isolation) or beside this Python."""
    scripts = [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(scripts))
    if found is None:
        sys.exit(f"pyserver: building needs {name}; run: pip install {name}")
    return found


class CMakeBuild(build_ext):
    """Runs CMake instead of compiling sources; csrc/CMakeLists.txt knows what to build."""

    def run(self) -> None:
        # setuptools clears `inplace` while it builds, and copies afterwards.
        self.lasting = bool(self.editable_mode or self.inplace)
        super().run()

    def build_extension(self, ext: Extension) -> None:
        build_dir = ROOT / "build" / "native" if self.lasting else Path(self.build_temp).resolve()
        module = Path(self.get_ext_fullpath(ext.name)).resolve()
        build_dir.mkdir(parents=True, exist_ok=True)
        # Tools and headers are named on every run: under build isolation they move each time.
        configure = [
            tool("cmake"),
            "-S",
            str(ROOT / "csrc"),
            "-B",
            str(build_dir),
            "-G",
            "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
            "-DPYSERVER_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]
        install = [tool("cmake"), "--install", str(build_dir), "--prefix", str(module.parent)]
        if not self.lasting:  # line numbers for perf are ten times the code
            install.append("--strip")
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
        for command in (
            configure,
            [tool("cmake"), "--build", str(build_dir), "--target", "_core", "-j", jobs],
            install,
        ):
            done = subprocess.run(command, check=False)
            if done.returncode != 0:
                sys.exit(f"pyserver: the native build stopped at: {' '.join(command[:4])} ...")
        if not module.exists():
            sys.exit(f"pyserver: the native build did not make {module.name}")

    def copy_extensions_to_source(self) -> None:
        """Editable: puts the module and the libraries that travel with it into pyserver/."""
        built = Path(self.build_lib).resolve() / "pyserver"
        for file in [*built.glob("_core*.so"), *built.glob("lib*.so.*")]:
            target = ROOT / "pyserver" / file.name
            # A new inode: a running server keeps the file that it has mapped.
            target.unlink(missing_ok=True)
            shutil.copy2(file, target)


setup(
    ext_modules=[Extension("pyserver._core", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
