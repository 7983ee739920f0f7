"""`python -m pyserver.check.serve <pid of the parent> <flags>`: a server that ends with whoever
started it."""

from __future__ import annotations

import os
import sys

from pyserver._core import end_with_parent


def main() -> int:
    if not end_with_parent("pyserver", int(sys.argv[1])):
        return 1
    # What the kernel was asked for outlives this.
    os.execv(sys.executable, [sys.executable, "-m", "pyserver", *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())
