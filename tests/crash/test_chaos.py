"""Half a minute of chaos; the ten minutes are `python -m tests.crash.chaos`."""

from pathlib import Path

import pytest

from tests.crash import chaos
from tests.serving import serving

pytestmark = pytest.mark.timeout(180)


def test_chaos_in_one_model_is_felt_by_no_other_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    chaos.write_models(tmp_path / "models")
    with serving(tmp_path / "server.log", tmp_path / "models", "--frontend-workers=2") as server:
        outcomes, deeds = chaos.run(server, 25)
    assert len(deeds) > 5
    assert chaos.complaints(outcomes, deeds) == []
    assert any(one.status != 200 for one in outcomes)
