"""--model-namespacing: models of equal name in different repositories, with processes and an engine
that the test plays.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from pyserver.errors import InvalidArgumentError
from pyserver.repository.override import LoadOverride
from tests.core.fakes import Bench, eventually, make_bench, write_model
from tests.core.test_dependents import write_ensemble

Make = Callable[..., Bench]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
        write_model(place, "m")
        write_ensemble(place, "e_" + place.name, "m")
    return one, two


async def _started(places: tuple[Path, Path], **settings: object) -> Bench:
    repositories = tuple(str(one) for one in places)
    made = make_bench(model_repository=repositories, model_namespacing=True, **settings)
    frontend = await made.add_frontend(0)
    await made.start()
    await eventually(lambda: "serve" in frontend.heard)
    return made


async def test_all_are_loaded_and_none_can_be_meant(places: tuple[Path, Path]) -> None:
    made = await _started(places)
    try:
        ready = [f"{one.name}" for one in made.core.registry if one.state.value == "READY"]
        one, two = places
        assert ready == [f"{one}/e_one", f"{one}/m", f"{two}/e_two", f"{two}/m"]
        assert made.frontends[0].models["m"]["namesakes"] == 2
        assert made.frontends[0].states("e_one") == {1: "READY"}
        # Each ensemble has the model beside it.
        steps = [
            (settings["ensemble"]["name"], settings["ensemble"]["steps"][0]["model"])
            for settings in made.engine.models.values()
            if "ensemble" in settings
        ]
        assert sorted(steps) == [(f"{one}/e_one", f"{one}/m"), (f"{two}/e_two", f"{two}/m")]
    finally:
        await made.close()


async def test_a_name_is_loaded_and_unloaded_in_all_repositories(places: tuple[Path, Path]) -> None:
    made = await _started(places, model_control_mode="explicit")
    try:
        registry = made.core.registry
        await made.core.loader.load("m")
        assert registry.namesakes("m") == [f"{place}/m" for place in places]
        with pytest.raises(InvalidArgumentError, match="2 identifiers of model 'm'"):
            registry.find("m")
        # Of one identity, what is meant is clear.
        await made.core.loader.unload(f"{places[0]}/m")
        await eventually(lambda: registry.namesakes("m") == [f"{places[1]}/m"])
        assert registry.find("m").name == f"{places[1]}/m"
        assert made.frontends[0].states("m") == {1: "READY"}
        await made.core.loader.load(f"{places[0]}/m")
        await made.core.loader.unload("m")
        assert not [one for one in registry if one.state.value == "READY"]
        with pytest.raises(InvalidArgumentError, match="path traversal"):
            await made.core.loader.load("one/m")
        with pytest.raises(InvalidArgumentError, match="Invalid config override"):
            await made.core.loader.load("m", LoadOverride("nonsense"))
    finally:
        await made.close()
