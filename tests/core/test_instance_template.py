"""A version whose instances are forked from a template, with a supervisor whose processes live in
the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pyserver.core.instance_plan import wants_fork
from pyserver.core.instance_process import InstanceProcess
from pyserver.core.instance_template import InstanceTemplate
from pyserver.core.model_environment import PythonEnvironment
from pyserver.core.runtime_threads import thread_variables
from pyserver.core.supervisor_link import SupervisorLink
from pyserver.errors import ServerError
from tests.core.fakes import Behaviour, FakeInstance, FakeSupervisor, eventually

MODEL = {"name": "m"}


class Scene:
    """A template, and the instances that are asked of it."""

    def __init__(self) -> None:
        self.supervisor = FakeSupervisor()
        self.loop = asyncio.get_running_loop()
        self.link = SupervisorLink(
            self.supervisor.core_fd,
            self.loop,
            on_message=lambda message, fds: None,
            on_closed=lambda: None,
        )
        self.template = InstanceTemplate(
            self.link,
            self.loop,
            "m:1",
            model=MODEL,
            python=PythonEnvironment(variables={"OMP_NUM_THREADS": "3"}),
            on_request=lambda process, message, fds: None,
        )
        self.died: list[str] = []

    @property
    def process(self) -> FakeInstance:
        return next(one for one in self.supervisor.alive if "template" in one.key)

    def instance(self) -> InstanceProcess:
        return InstanceProcess(
            self.link,
            self.loop,
            "m:1",
            on_death=lambda process: self.died.append(str(process.end)),
            on_request=lambda process, message, fds: None,
            spawn=self.template.spawn,
        )

    async def close(self) -> None:
        await self.template.discard()
        for one in self.supervisor.instances:
            one.control.close()
        self.supervisor.control.close()
        self.link.close()


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    try:
        yield made
    finally:
        await made.close()


async def test_a_template_loads_first_and_with_one_thread() -> None:
    async with scene() as made:
        await made.template.ready()
        assert made.process.said == ["preload"]
        spawn = made.supervisor.first("spawn")
        assert spawn is not None
        assert (spawn["role"], spawn["env"]["OMP_NUM_THREADS"]) == ("template", "1")


async def test_an_instance_is_forked_with_its_own_variables_and_adopted() -> None:
    async with scene() as made:
        await made.template.ready()
        process = made.instance()
        await eventually(lambda: process.pid)
        [adopt] = [one for one in made.supervisor.heard if one["op"] == "adopt"]
        assert adopt["pid"] == process.pid
        fork = made.supervisor.forks[-1]
        assert fork["variables"]["OMP_NUM_THREADS"] == "3"
        await process.discard()
        assert not made.died


async def test_a_fork_that_fails_is_a_process_that_could_not_be_started() -> None:
    async with scene() as made:
        await made.template.ready()
        made.supervisor.fork_fails = "cannot fork: Cannot allocate memory"
        process = made.instance()
        with pytest.raises(ServerError, match="could not be started: cannot fork: Cannot allocate"):
            await process.prepare(MODEL)


async def test_who_waits_for_a_fork_hears_of_the_templates_death() -> None:
    async with scene() as made:
        await made.template.ready()
        made.supervisor.forks_hang = True
        process = made.instance()
        await eventually(lambda: made.supervisor.forks)
        made.process.die(9)
        await eventually(lambda: made.died)
        assert made.died == ["could not be started: its template was killed by signal 9 (SIGKILL)"]
        assert not process.alive


async def test_what_is_killed_before_it_is_forked_is_killed_then() -> None:
    async with scene() as made:
        await made.template.ready()
        made.supervisor.forks_hang = True
        process = made.instance()
        await eventually(lambda: made.supervisor.forks)
        process.kill()
        made.supervisor.answer_fork(made.process)
        await eventually(lambda: made.died == ["was killed by signal 9 (SIGKILL)"])


async def test_a_dead_template_has_a_successor() -> None:
    async with scene() as made:
        await made.template.ready()
        first = made.process
        first.die(11)
        await eventually(lambda: made.template.pid not in (0, first.pid))
        await made.template.ready()
        assert made.process.said == ["preload"]


async def test_a_template_that_cannot_load_leaves_nothing() -> None:
    async with scene() as made:
        made.supervisor.behaviours["m"] = Behaviour(fail_prepare="no weights")
        for _ in range(2):
            with pytest.raises(ServerError, match="no weights"):
                await made.template.ready()
        assert not made.supervisor.alive
        assert made.template.pid == 0


def test_cores_are_divided_among_instances_unless_the_administrator_says_otherwise() -> None:
    assert thread_variables(1, {}) == {}
    assert thread_variables(10_000, {}) == {"OMP_NUM_THREADS": "1"}
    assert thread_variables(4, {"OMP_NUM_THREADS": "7"}) == {}


@pytest.mark.parametrize(("text", "forks"), [("true", True), ("TRUE", True), ("false", False)])
def test_the_parameter_is_read(text: str, forks: bool) -> None:
    from pyserver.config.parse import parse_json

    config = parse_json(
        f'{{"name": "m", "parameters": {{"fork_instances": {{"string_value": "{text}"}}}}}}'
    )
    assert wants_fork(config) is forks
