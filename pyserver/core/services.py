"""Ties the core role to the control plane's operations."""

from __future__ import annotations

from pyserver.control.log_settings import LogSettings
from pyserver.control.operations import Operations, Sources
from pyserver.control.services import Services
from pyserver.control.trace_settings import TraceSettings
from pyserver.core.role import Core
from pyserver.observe.log import open_log
from pyserver.settings import Settings


def make_operations(core: Core) -> Operations:
    return Operations(
        core.settings,
        core,
        core.registry,
        core.on_demand or core.loader,
        Sources(
            core.sources.known, core.engine.statistics, core.counters, core.loader.running.is_ready
        ),
    )


def make_services(core: Core) -> Services:
    def changed(settings: Settings) -> None:
        open_log(settings, role="core")
        core.loader.set_verbosity(settings.log_verbose)

    logs = LogSettings(core.settings, changed)
    return Services(make_operations(core), logs, TraceSettings(core.registry), core.settings)
