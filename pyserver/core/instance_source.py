"""Where the processes of a version come from: each is started anew, or forked from a template."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pyserver.control.channel import Message
from pyserver.core.instance_process import InstanceProcess
from pyserver.core.instance_template import InstanceTemplate
from pyserver.core.model_environment import PythonEnvironment
from pyserver.core.supervisor_link import Spawned, SupervisorLink
from pyserver.settings import URGENT


class InstanceSource:
    """Of one version. `python` is set before the first process is started."""

    def __init__(self, link: SupervisorLink, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.python = PythonEnvironment()
        self._link = link
        self._loop = loop
        self._name = name
        self._template: InstanceTemplate | None = None
        self._urgent = False

    async def open_template(
        self,
        model: Mapping[str, Any],
        on_request: Callable[[InstanceProcess, Message, list[int]], None],
    ) -> None:
        """From now on instances are forked from one process that has loaded the model; `model` is
        what "prepare" tells of it. Raises ServerError.
        """
        self._template = InstanceTemplate(
            self._link,
            self._loop,
            self._name,
            model=model,
            python=self.python,
            on_request=on_request,
        )
        await self._template.ready()

    async def ready(self) -> None:
        """Before a process that takes another's place: requests wait for it, and it gives way to
        nobody. Raises ServerError.
        """
        self._urgent = True
        if self._template is not None:
            await self._template.ready()

    def spawn(self, name: str, output_fd: int) -> Spawned:
        """For InstanceProcess."""
        if self._template is not None:
            return self._template.spawn(name, output_fd)
        return self._link.spawn(
            name,
            output_fd=output_fd,
            program=self.python.program,
            environment={**self.python.variables, **({URGENT: "1"} if self._urgent else {})},
        )

    def processes(self) -> list[dict[str, Any]]:
        """Those that hold no instance, for the statistics."""
        if self._template is None or not self._template.pid:
            return []
        return [{"pid": self._template.pid, "instances": [], "template": True}]

    def set_verbosity(self, level: int) -> None:
        if self._template is not None:
            self._template.set_verbosity(level)

    async def stop(self, timeout_s: float) -> None:
        if self._template is not None:
            await self._template.stop(timeout_s)

    async def discard(self) -> None:
        """After a failed load."""
        if self._template is not None:
            await self._template.discard()
