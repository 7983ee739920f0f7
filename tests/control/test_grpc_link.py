"""A listener without a name: reached by its descriptor, found by nobody, nothing left behind."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from pyserver.control.grpc_api.link import listen_without_name, remove_abandoned


class Listener:
    """What grpcio does with an address."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)

    def listen(self, address: str) -> None:
        self.socket.bind(address.removeprefix("unix:"))
        self.socket.listen()


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Longer than a socket's path may be.
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_who_has_the_descriptor_connects_as_often_as_it_likes(runtime_dir: Path) -> None:
    listener = Listener()
    link_fd = listen_without_name(listener.listen)
    assert list(runtime_dir.iterdir()) == []
    ours, theirs = socket.socketpair()
    socket.send_fds(ours, [b"x"], [link_fd])
    _, (sent_fd, *_), _, _ = socket.recv_fds(theirs, 1, 1)
    for fd in (link_fd, sent_fd, sent_fd):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"/proc/self/fd/{fd}")
            accepted, _ = listener.socket.accept()
            with accepted:
                accepted.send(b"hello")
            assert client.recv(5) == b"hello"
    listener.socket.close()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(f"/proc/self/fd/{sent_fd}")
    for one in (ours, theirs):
        one.close()
    os.close(link_fd)
    os.close(sent_fd)


def test_a_listener_that_fails_leaves_nothing(runtime_dir: Path) -> None:
    def fail(address: str) -> None:
        raise RuntimeError("no")

    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="no"):
        listen_without_name(fail)
    assert list(runtime_dir.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    abandoned, young = tmp_path / "pyserver-grpc-old", tmp_path / "pyserver-grpc-new"
    foreign, file = tmp_path / "other", tmp_path / "pyserver-grpc-file"
    for folder in (abandoned, young, foreign):
        folder.mkdir()
    (abandoned / "name").touch()
    file.touch()
    an_hour_ago = time.time() - 3600
    for path in (abandoned, foreign, file):
        os.utime(path, (an_hour_ago, an_hour_ago))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([young, foreign, file])


def test_without_a_runtime_folder_the_temporary_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[Path] = []

    listener = Listener()

    def listen(address: str) -> None:
        seen.extend(tmp_path.iterdir())
        assert seen[0].stat().st_mode & 0o777 == 0o700
        listener.listen(address)

    os.close(listen_without_name(listen))
    listener.socket.close()
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == []
