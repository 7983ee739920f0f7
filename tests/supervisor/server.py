"""`python -m tests.supervisor.server FLAGS`: the real supervisor over the stand-in roles."""

from __future__ import annotations

import sys

from pyserver.cli.parse import parse
from pyserver.observe.log import open_log
from pyserver.supervisor.main import supervise

ROLES = {role: f"tests.supervisor.roles.{role}" for role in ("core", "frontend", "instance")}

if __name__ == "__main__":
    settings = parse(sys.argv[1:], {}).settings
    open_log(settings, role="supervisor")
    sys.exit(supervise(settings, roles=ROLES))
