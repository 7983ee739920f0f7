"""Every attack of the table: its maker gets what it deserves, the server keeps its shape, and the
bystander notices nothing.
"""

from __future__ import annotations

import pytest

from tests.h2_attacks import books
from tests.h2_attacks.attack import MIB, Attack, Attacker
from tests.h2_attacks.must import describe
from tests.h2_attacks.scene import Scene
from tests.h2_attacks.table import ATTACKS
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

GROWTH_BYTES = 64 * MIB  # what may stay in memory of all attacks together
QUIET_WITHIN_S = 6.0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_answered_and_costs_nobody_else(scene: Scene, attack: Attack) -> None:
    scene.bystander.complaints.clear()
    before_bytes = books.resident_bytes(scene.pids)
    with books.MemoryWatch(scene.pids) as memory:
        with Attacker(scene.port, greets=attack.greets) as attacker:
            attack.send(attacker)
            wire = attacker.wire
            wire.receive(lambda: attack.must.come(wire.seen), timeout_s=attack.within_s)
            if not attack.must.come(wire.seen):
                pytest.fail(f"wanted {attack.must}, but {describe(wire)}", pytrace=False)
            if attack.must.survives and not wire.call_works():
                pytest.fail(f"the connection is of no use: {describe(wire)}", pytrace=False)
            scene.bystander.wait_answers(1)
        _expect_its_shape_again(scene)
    assert scene.bystander.complaints == []
    assert memory.peak_bytes - before_bytes < attack.peak_bytes


def _expect_its_shape_again(scene: Scene) -> None:
    wait_until(
        lambda: not books.under_way(scene.server),
        timeout_s=QUIET_WITHIN_S,
        what=f"no requests under way, but {books.under_way(scene.server)}",
    )
    wait_until(
        lambda: books.no_more(books.descriptors(scene.pids), scene.descriptors),
        timeout_s=QUIET_WITHIN_S,
        what=f"no more descriptors than {scene.descriptors} by process",
    )
    assert scene.server.pids() == scene.pids, "a process was replaced: one had ended"
    wait_until(
        lambda: books.resident_bytes(scene.pids) - scene.resident_bytes < GROWTH_BYTES,
        timeout_s=QUIET_WITHIN_S,
        what=f"memory to go back to {scene.resident_bytes >> 20} MiB",
    )


def test_names_are_told_apart() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
