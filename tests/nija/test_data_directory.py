from __future__ import annotations

import os
import shutil
import socket
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from nija import data_directory
from nija.data_directory import DataDirectory, Refused


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_and_its_files_are_private(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "deep" / "data")
    data.write_json("secrets.json", {"key": "value"})
    assert mode(data.path) == 0o700
    assert mode(data.path / "secrets.json") == 0o600
    assert data.read_json("secrets.json") == {"key": "value"}


def test_a_second_copy_is_refused_while_the_first_one_runs(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path)
    first.lock()
    first.write_json("runtime.json", {"pid": os.getpid(), "url": "http://127.0.0.1:8000/"})
    with pytest.raises(Refused, match=r"already running at http://127.0.0.1:8000/"):
        DataDirectory(tmp_path).lock()


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(Refused, match="is full: 3 MB are free"):
        DataDirectory(tmp_path)


def test_a_file_in_place_of_the_directory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(Refused, match="cannot be used"):
        DataDirectory(tmp_path / "data")


def test_a_damaged_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"SECRET_KEY": ')
    with pytest.raises(Refused, match="damaged"):
        DataDirectory(tmp_path).read_json("secrets.json")


def test_a_directory_of_one_venue_is_refused_on_another(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.claim_venue("paper")
    data.claim_venue("paper")
    with pytest.raises(Refused, match=r"belong to paper, not to https://api.kraken.com"):
        data.claim_venue("https://api.kraken.com")


def test_the_exchange_keeps_its_port_unless_another_program_took_it(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    port = data.remembered_port("paper")
    assert data.remembered_port("paper") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert data.remembered_port("paper") != port


@pytest.mark.parametrize("name", ["with space", "x" * 120])
def test_a_path_that_no_socket_can_have_gets_a_short_private_one_that_is_used_again(tmp_path: Path, name: str) -> None:
    data = DataDirectory(tmp_path / name)
    directory = data.socket_dir()
    try:
        assert len(str(directory / "redis.sock")) <= data_directory.SOCKET_PATH_MAX
        assert mode(directory) == 0o700
        assert DataDirectory(tmp_path / name).socket_dir() == directory
        directory.chmod(0o755)
        other = data.socket_dir()
        assert other != directory
        other.rmdir()
    finally:
        directory.rmdir()
