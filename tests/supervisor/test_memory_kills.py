"""Where the count of the kernel's kills is read."""

from pathlib import Path

import pytest

from pyserver.supervisor.memory_kills import memory_kills


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 0),
        ({"proc/vmstat": "pgfault 7\noom_kill 3\n"}, 3),
        (
            {
                "proc/vmstat": "oom_kill 3\n",
                "proc/self/cgroup": "0::/pod/server\n",
                "groups/pod/server/memory.events": "low 0\noom 9\noom_kill 5\noom_group_kill 8\n",
            },
            5,
        ),
        (
            {
                "proc/vmstat": "oom_kill 3\n",
                "proc/self/cgroup": "0::/above/what/is/mounted\n",
                "groups/memory.events": "oom_kill 6\n",
            },
            6,
        ),
        # Groups of the first version do not count what happens in groups below them.
        (
            {
                "proc/vmstat": "oom_kill 3\n",
                "proc/self/cgroup": "4:memory,misc:/docker/x\n0::/\n",
                "groups/memory/docker/x/memory.oom_control": "under_oom 0\noom_kill 4\n",
            },
            3,
        ),
        ({"proc/vmstat": "oom_kill 3\n", "proc/self/cgroup": "0::/gone\n"}, 3),
    ],
)
def test_the_nearest_count_is_taken(tmp_path: Path, files: dict[str, str], count: int) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_kills(tmp_path / "proc", tmp_path / "groups") == count
