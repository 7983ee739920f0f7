"""Names instead of ports: what is replaced, what is refused, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from pyserver.settings import Settings
from pyserver.supervisor.addresses import listen_as_set
from pyserver.supervisor.listen import ListenError
from pyserver.supervisor.unix_socket import bind_unix, is_unix, socket_name


def abandon(path: Path) -> None:
    """Leaves the file of a socket as a killed server does."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("0.0.0.0", False),
        ("::1", False),
        ("unixhost", False),
        ("unix:/a", True),
        ("unix:a", True),
        ("unix-abstract:a", True),
    ],
)
def test_which_addresses_are_names(address: str, wanted: bool) -> None:
    assert is_unix(address) is wanted


def test_names_are_absolute_whatever_way_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for text in (f"{tmp_path}/s", f"//{tmp_path}/s", "s", "./s", "link/s"):
        assert socket_name(f"unix:{text}") == f"{tmp_path}/s"
    assert socket_name("unix-abstract:a/b") == "\0a/b"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("unix:", "the name of a socket is missing"),
        ("unix:/", "the name of a socket is missing"),
        ("unix-abstract:", "the name of a socket is missing"),
        ("unix:/" + "x" * 107, "has 108 bytes, and the name of a Unix-domain socket may have 107"),
        ("unix-abstract:" + "x" * 107, "has 108 bytes"),
        ("unix:/" + "ä" * 54, "has 109 bytes"),
        ("unix:/no/such/folder/s", "No such file or directory"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_words(address: str, text: str) -> None:
    with pytest.raises(ListenError, match=text):
        bind_unix(address)


def test_the_longest_name_is_taken(tmp_path: Path) -> None:
    path = f"{tmp_path}/{'x' * (106 - len(os.fsencode(tmp_path)))}"
    bind_unix(f"unix:{path}").close()


def test_the_file_is_made_with_the_umask_and_goes_with_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0o077)
    try:
        bound = bind_unix(f"unix:{path}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert bound.address == f"unix:{path}"
    bound.close()
    bound.close()
    assert not path.exists()


def test_what_another_has_put_there_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bound = bind_unix(f"unix:{path}")
    path.unlink()
    path.write_text("mine")
    bound.close()
    assert path.read_text() == "mine"


def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    abandon(path)
    bound = bind_unix(f"unix:{path}")
    bound.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    bound.close()


@pytest.mark.parametrize("state", ["listening", "busy", "bound", "datagrams"])
def test_the_socket_of_a_living_server_is_refused_and_lives_on(tmp_path: Path, state: str) -> None:
    path = tmp_path / "s"
    kind = socket.SOCK_DGRAM if state == "datagrams" else socket.SOCK_STREAM
    with socket.socket(socket.AF_UNIX, kind) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(str(path))
        if state in ("listening", "busy"):
            living.listen(0 if state == "busy" else 5)
        if state == "busy":
            waiting.connect(str(path))
        with pytest.raises(ListenError, match=f"{path}: the socket is in use by another process"):
            bind_unix(f"unix:{path}")
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        abandon(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    with pytest.raises(ListenError, match="exists and is not a socket; it was left as it is"):
        bind_unix(f"unix:{path}")
    assert os.path.lexists(path)


def test_an_abstract_name_is_in_no_file_system_and_in_use_only_once() -> None:
    address = f"unix-abstract:pyserver-test-{os.getpid()}"
    with bind_unix(address) as bound:
        assert bound.address == address
        with pytest.raises(ListenError, match="the name is in use by another process"):
            bind_unix(address)
    bind_unix(address).close()


def test_every_frontend_has_the_one_socket_and_its_own_for_the_port(tmp_path: Path) -> None:
    settings = Settings(
        frontend_workers=3,
        http_address=f"unix:{tmp_path}/s",
        grpc_address="127.0.0.1",
        grpc_port=0,
    )
    listening = listen_as_set(settings)
    assert len({own["http"][0] for own in listening.sockets}) == 1
    assert len({own["grpc"][0] for own in listening.sockets}) == 3
    assert listening.settings.grpc_port > 0
    assert listening.addresses == {
        "http": f"unix:{tmp_path}/s",
        "grpc": f"127.0.0.1:{listening.settings.grpc_port}",
    }
    listening.close()
    assert list(tmp_path.iterdir()) == []


def test_when_one_address_fails_the_other_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    settings = Settings(http_address=f"unix:{tmp_path}/s", grpc_address=f"unix:{tmp_path}/taken")
    with pytest.raises(ListenError):
        listen_as_set(settings)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("allowed", ["http", "grpc"])
def test_one_protocol_alone_has_one_address(allowed: str) -> None:
    settings = Settings(
        frontend_workers=2,
        allow_http=allowed == "http",
        allow_grpc=allowed == "grpc",
        http_address="127.0.0.1",
        http_port=0,
        grpc_address="127.0.0.1",
        grpc_port=0,
    )
    listening = listen_as_set(settings)
    assert list(listening.addresses) == [allowed]
    assert [list(own) for own in listening.sockets] == [[allowed], [allowed]]
    listening.close()
