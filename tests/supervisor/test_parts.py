"""The supervisor's parts by themselves: back-off, sockets, tables."""

from __future__ import annotations

import socket

import pytest

from pyserver.settings import Settings
from pyserver.supervisor.backoff import Backoff
from pyserver.supervisor.listen import ListenError, bind_workers, close_all, shown
from pyserver.supervisor.summary import models_line, size, startup_summary, table


def test_restarts_come_at_once_then_later_and_later() -> None:
    backoff = Backoff()
    delays = [backoff.delay_after(started_s=100.0, ended_s=101.0) for _ in range(9)]
    assert delays == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_killed_process_comes_back_soon() -> None:
    backoff = Backoff()
    delays = [backoff.delay_after(100.0, 101.0, killed=True) for _ in range(9)]
    assert delays == [0, 0.1, 0.2] + [0.4] * 6


def test_a_long_life_is_forgiven() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_after(0.0, 1.0)
    assert backoff.delay_after(10.0, 20.0) == 0
    assert backoff.delay_after(20.0, 21.0) == 0.1


def test_workers_share_a_free_port() -> None:
    workers = bind_workers("127.0.0.1", 0, workers=3, share_port=False)
    ports = {one.getsockname()[1] for sockets in workers for one in sockets}
    assert len(ports) == 1 and ports != {0}
    with pytest.raises(ListenError, match="Address already in use"):
        bind_workers("127.0.0.1", ports.pop(), workers=1, share_port=False)
    close_all(workers)


def test_another_server_may_share_the_port_when_both_say_so() -> None:
    first = bind_workers("127.0.0.1", 0, workers=1, share_port=True)
    port = first[0][0].getsockname()[1]
    second = bind_workers("127.0.0.1", port, workers=1, share_port=True)
    close_all(first + second)


def test_a_port_with_left_over_connections_can_be_bound_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: TIME_WAIT stays at its port
        client.recv(1)
        client.close()
    close_all(bind_workers("127.0.0.1", port, workers=2, share_port=False))


@pytest.mark.parametrize("address", ["::1", "[::1]", "::"])
def test_ipv6_addresses_are_taken(address: str) -> None:
    workers = bind_workers(address, 0, workers=2, share_port=False)
    port = workers[0][0].getsockname()[1]
    assert workers[1][0].getsockname()[1] == port
    close_all(workers)


def test_a_name_gives_a_socket_for_each_of_its_addresses() -> None:
    workers = bind_workers("localhost", 0, workers=2, share_port=False)
    assert len(workers[0]) == len(workers[1]) >= 1
    assert len({one.getsockname()[1] for sockets in workers for one in sockets}) == 1
    close_all(workers)


def test_an_address_of_nobody_is_named() -> None:
    with pytest.raises(ListenError, match=r"cannot listen at 192\.0\.2\.1:9999: "):
        bind_workers("192.0.2.1", 9999, workers=1, share_port=False)


@pytest.mark.parametrize(
    ("address", "text"), [("0.0.0.0", "0.0.0.0:8"), ("::", "[::]:8"), ("[::1]", "[::1]:8")]
)
def test_addresses_are_shown_as_urls_have_them(address: str, text: str) -> None:
    assert shown(address, 8) == text


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(("A", "Long"), [("abc", "x\ny"), ("", "z")]).splitlines() == [
        "+-----+------+",
        "| A   | Long |",
        "+-----+------+",
        "| abc | x y  |",
        "|     | z    |",
        "+-----+------+",
    ]


def test_the_summary_takes_whatever_core_knows() -> None:
    settings = Settings(model_repository=("/a", "/b"))
    bare = startup_summary({}, settings, processes={"core": 1})
    assert "model_repository_path[1]" in bare and "| Model | Version | Status |" in bare
    full = startup_summary(
        {
            "models": [{"name": "m", "version": 1, "state": "UNAVAILABLE", "reason": "no file"}],
            "backends": [{"name": "python", "detail": "{}"}],
            "memory": {"weights": 1536},
        },
        settings,
        processes={},
    )
    assert "UNAVAILABLE: no file" in full and "| python  |" in full and "1.5 KiB" in full


def test_models_are_counted() -> None:
    states = [{"state": "READY"}, {"state": "UNAVAILABLE"}, {"state": "READY"}]
    assert models_line({"models": states}) == "2 of 3 model versions are ready"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (6 << 30, "6 GiB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text
