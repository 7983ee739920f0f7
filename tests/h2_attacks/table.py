"""All attacks."""

from __future__ import annotations

from tests.h2_attacks import (
    table_floods,
    table_frames,
    table_heads,
    table_messages,
    table_slow,
    table_windows,
)
from tests.h2_attacks.attack import Attack

ATTACKS: tuple[Attack, ...] = (
    *table_frames.ATTACKS,
    *table_heads.ATTACKS,
    *table_windows.ATTACKS,
    *table_messages.ATTACKS,
    *table_slow.ATTACKS,
    *table_floods.ATTACKS,
)
