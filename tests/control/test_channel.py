"""Control sockets: messages, descriptors, long messages in memfds, ends."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from pyserver.control.channel import (
    MAX_PACKET_BYTES,
    AsyncControlSocket,
    ControlClosed,
    ControlSocket,
    pair,
)


def memfd(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def open_fds() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("size", [0, 1, MAX_PACKET_BYTES - 30, MAX_PACKET_BYTES, 3_000_000])
def test_a_message_arrives_whole_with_its_descriptors(size: int) -> None:
    one, other = pair()
    mine = memfd(b"region")
    before = open_fds()
    one.send({"op": "load", "text": "x" * size}, [mine])
    message, fds = other.receive()
    assert message == {"op": "load", "text": "x" * size}
    assert len(fds) == 1
    assert os.pread(fds[0], 10, 0) == b"region"
    assert not os.get_inheritable(fds[0])
    os.close(fds[0])
    assert open_fds() == before
    os.close(mine)
    one.close()
    other.close()


def test_order_is_kept_and_the_end_is_told() -> None:
    one, other = pair()
    for number in range(20):
        one.send({"op": "n", "number": number})
    one.close()
    assert [other.receive()[0]["number"] for _ in range(20)] == list(range(20))
    with pytest.raises(ControlClosed):
        other.receive()
    with pytest.raises(ControlClosed):
        other.send({"op": "late"})
    other.close()


@pytest.mark.parametrize(
    "packet", [b"[]", b"{", b'{"op":1}', b'{"op":"x","in_memfd":true}', b"\xff"]
)
def test_a_packet_that_is_no_message_is_refused_without_leaking(packet: bytes) -> None:
    raw, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control = ControlSocket(other.detach())
    fd = memfd(b"")
    before = open_fds()
    if b"in_memfd" in packet:
        raw.send(packet)
    else:
        socket.send_fds(raw, [packet], [fd])
    with pytest.raises(ValueError):
        control.receive()
    assert open_fds() == before
    os.close(fd)
    raw.close()
    control.close()


async def test_an_asyncio_end_queues_what_the_kernel_does_not_take() -> None:
    loop = asyncio.get_running_loop()
    one, other = pair()
    got: list[int] = []
    closed = asyncio.Event()

    def on_message(message: dict[str, object], fds: list[int]) -> None:
        number = message["number"]
        assert isinstance(number, int)
        got.append(number)
        for fd in fds:
            os.close(fd)

    sender = AsyncControlSocket(
        one.detach(), loop, on_message=lambda m, f: None, on_closed=lambda: None
    )
    fd = memfd(b"x")
    count = 2000
    for number in range(count):  # far more than a socket buffer holds
        sender.send(
            {"op": "n", "number": number, "pad": "p" * 1000}, [fd] if number % 7 == 0 else []
        )
    os.close(fd)
    receiver = AsyncControlSocket(other.detach(), loop, on_message=on_message, on_closed=closed.set)
    async with asyncio.timeout(20):
        while len(got) < count:
            await asyncio.sleep(0.01)
        sender.close()
        await closed.wait()
    assert got == list(range(count))
    assert receiver.closed
