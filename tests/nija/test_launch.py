from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nija import launch
from nija.data_directory import Refused

OURS = (
    *launch.SHARED_VARIABLES,
    "NIJA_DATA_DIR",
    "NIJA_PROCESS",
    "NIJA_VAULT_PRIVATE_KEY",
    "KRAKEN_PLATFORM_API_KEY",
)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A caller without any variable of ours; whatever `prepare` sets is undone."""
    for name in OURS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # A developer's own .env must not decide these tests.
    monkeypatch.setattr(launch.environment, "read_dotenv", lambda _base: None)
    mask = os.umask(0o022)
    monkeypatch.setenv("NIJA_DATA_DIR", str(tmp_path / "data"))
    yield tmp_path / "data"
    os.umask(mask)


def prepare(*, demo: bool = False, port: str = "0") -> launch.Prepared:
    prepared = launch.prepare(launch.Options(demo=demo, port=port))
    os.close(prepared.lock)
    return prepared


def test_secrets_are_made_once_and_kept_private(bare_environment: Path) -> None:
    first = prepare()
    key = os.environ.pop("SECRET_KEY")
    del os.environ["NIJA_VAULT_PUBLIC_KEY"]
    again = prepare()
    assert again.private_key == first.private_key
    assert os.environ["SECRET_KEY"] == key
    assert stat.S_IMODE((bare_environment / "secrets.json").stat().st_mode) == 0o600


def test_the_private_key_stays_out_of_our_own_environment_and_of_what_other_shells_read(bare_environment: Path) -> None:
    prepared = prepare()
    assert prepared.private_key.startswith("nija-vault-private-1:")
    assert os.environ["NIJA_VAULT_PRIVATE_KEY"] == ""
    assert prepared.private_key not in (bare_environment / "runtime.json").read_text()


def test_half_a_pair_of_vault_keys_is_refused(bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIJA_VAULT_PUBLIC_KEY", "nija-vault-public-1:x")
    with pytest.raises(Refused, match="both, or neither"):
        prepare()


def test_the_demo_trades_paper_money_only_whatever_the_caller_set(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_TRADING", "true")
    monkeypatch.setenv("KRAKEN_API_URL", "https://api.kraken.com")
    prepared = prepare(demo=True)
    assert os.environ["LIVE_TRADING"] == "false"
    assert os.environ["KRAKEN_API_URL"] == f"http://127.0.0.1:{prepared.paper_port}"


def test_demo_data_are_refused_on_the_real_exchange(bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(demo=True)
    monkeypatch.delenv("KRAKEN_API_URL")
    with pytest.raises(Refused, match="belong to paper"):
        prepare()


def test_a_busy_port_is_a_sentence_and_ties_the_directory_to_nothing(bare_environment: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=f"Port {port} of 127.0.0.1 is in use"):
            prepare(port=str(port))
    assert not (bare_environment / "venue.json").exists()


def test_a_port_that_needs_more_rights_is_not_said_to_be_in_use(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", denied)
    with pytest.raises(Refused, match="Port 80 needs more rights than you have here: choose one from 1024 on"):
        prepare(port="80")


def test_nothing_is_said_and_nothing_raised_when_nobody_listens_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        launch.say("web was killed by signal 9; starting it again")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            gone.close()


@pytest.mark.parametrize(("before", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_the_end_of_a_terminal_ends_what_is_not_under_nohup(
    monkeypatch: pytest.MonkeyPatch, before: signal.Handlers, stops: bool
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = [signal.getsignal(number) for number in numbers]

    def run(_options: launch.Options) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        raise Refused("went on")

    said: list[str] = []
    monkeypatch.setattr(launch, "_run", run)
    monkeypatch.setattr(launch, "say", said.append)
    try:
        signal.signal(signal.SIGHUP, before)
        launch.start(launch.Options(demo=False, port="0"))
    finally:
        for number, handler in zip(numbers, kept, strict=True):
            signal.signal(number, handler)
    assert said == (["stopped"] if stops else ["went on"])


@pytest.mark.parametrize("port", ["x", "-1", "65536", "8000.5"])
def test_what_is_no_port_is_refused(bare_environment: Path, port: str) -> None:
    with pytest.raises(Refused, match="is not a number from 0 to 65535"):
        prepare(port=port)
