from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nija import environment


def _write_runtime(directory: Path, **variables: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / environment.RUNTIME_FILE).write_text(json.dumps({"environment": variables}))


@pytest.fixture
def running_demo(tmp_path: Path) -> Iterator[Path]:
    demo = tmp_path / ".nija" / "demo"
    _write_runtime(demo, DATABASE_URL="sqlite:////demo", PORT="8123")
    with (demo / environment.LOCK_FILE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield demo


def test_a_second_shell_finds_the_running_demo_and_says_so(
    running_demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables: dict[str, str] = {}
    assert environment.adopt_running(variables, base_dir=tmp_path) == running_demo
    assert variables == {"DATABASE_URL": "sqlite:////demo", "PORT": "8123", "NIJA_DATA_DIR": str(running_demo)}
    assert str(running_demo) in capsys.readouterr().err


def test_a_stopped_demo_is_not_adopted(tmp_path: Path) -> None:
    _write_runtime(tmp_path / ".nija" / "demo", PORT="8123")
    variables: dict[str, str] = {}
    assert environment.adopt_running(variables, base_dir=tmp_path) is None
    assert variables == {}


def test_what_an_ended_up_left_is_nothing_to_an_installation_with_a_key_or_a_database_of_its_own(
    tmp_path: Path,
) -> None:
    _write_runtime(tmp_path / ".nija", NIJA_ENV="development", SECRET_KEY="made by up", REDIS_URL="unix:///gone")
    for own in ({"SECRET_KEY": "s" * 50}, {"DATABASE_URL": "postgres://d"}):
        variables = dict(own)
        assert environment.adopt_running(variables, base_dir=tmp_path) is None
        assert variables == own
    nothing: dict[str, str] = {}
    assert environment.adopt_running(nothing, base_dir=tmp_path) == tmp_path / ".nija"


@pytest.mark.parametrize(
    ("given", "blocked"),
    [
        ("true", True),
        ("ON", True),
        ("1", True),
        ("no", False),
        ("false", False),
        ("enabled", None),
        ("true # now", None),
    ],
)
def test_a_brake_is_on_or_off_or_refused(given: str, blocked: bool | None) -> None:
    shown = "import nija.settings as s; print(s.ENTRY_BLOCKING)"
    variables = {"NIJA_ENV": "development", "NIJA_DATA_DIR": "/nowhere", "ENTRY_BLOCKING": given}
    done = subprocess.run(
        [sys.executable, "-c", shown], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if blocked is None:
        assert f"ENTRY_BLOCKING is {given!r}; it is either true or false" in done.stderr
    else:
        assert done.stdout.strip() == str(blocked)


def managed(arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` in a shell that has these variables and no others of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments.split()],
        env=kept | {"NIJA_ENV": "development", "NIJA_PROCESS": "test", "NIJA_DATA_DIR": "/nowhere"} | variables,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


DATABASE_URL = "DATABASE_URL cannot be read; it is postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:////PATH"
REDIS_URL = "REDIS_URL cannot be read; it is redis://:PASSWORD@HOST:PORT/NUMBER or unix:///PATH"
EMAIL_URL = "EMAIL_URL cannot be read; it is smtp+tls://USER:PASSWORD@HOST:PORT or alike"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("DATABASE_URL", "hunter2", DATABASE_URL),
        ("DATABASE_URL", "mysql://ann:hunter2@db/nija", DATABASE_URL),
        ("DATABASE_URL", "postgres://ann:hunter2@db:port/nija", DATABASE_URL),
        ("EMAIL_URL", "mail://ann:hunter2@mail", EMAIL_URL),
        ("REDIS_URL", "redis://:hunter2/part@cache:6379/0", REDIS_URL),
        ("REDIS_URL", "hunter2@localhost:6379", REDIS_URL),
        ("PORT", "80a", "PORT is '80a'; it is a whole number"),
        ("BREAKER_ENTRIES_MIN", "-1", "BREAKER_ENTRIES_MIN is '-1'; it is a whole number"),
    ],
)
def test_what_cannot_be_read_of_the_environment_is_one_sentence_without_its_password(
    name: str, given: str, said: str
) -> None:
    done = managed("check", **{name: given})
    assert (done.returncode, done.stderr) == (1, f"nija: {said}\n")
    assert "hunter2" not in done.stdout + done.stderr


def test_a_command_without_its_database_ends_in_a_sentence() -> None:
    done = managed("resume_trading --skip-checks", DATABASE_URL="sqlite:////nowhere/nija.sqlite3")
    assert (done.returncode, done.stderr) == (
        1,
        "nija: the database does not answer as it should: unable to open database file\n",
    )


def test_a_stop_asks_for_nothing_but_the_database(tmp_path: Path, redis_url: str) -> None:
    half_configured = {
        "NIJA_ENV": "production",
        "SECRET_KEY": "of a test " * 6,
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/nija.sqlite3",
    }
    assert managed("migrate --skip-checks", **half_configured).returncode == 0
    assert "NIJA_VAULT_PUBLIC_KEY is not set" in managed("resume_trading", **half_configured).stderr
    done = managed("stop_trading", **half_configured)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Entries are stopped for the master")


def test_a_stop_without_its_database_says_that_nothing_is_sent_meanwhile() -> None:
    done = managed("stop_trading", DATABASE_URL="sqlite:////nowhere/nija.sqlite3")
    assert done.returncode == 1
    assert "The stop could not be written down: the database does not answer (unable to open" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_set_wins_over_the_running_system(running_demo: Path, tmp_path: Path) -> None:
    variables = {"PORT": "9000"}
    environment.adopt_running(variables, base_dir=tmp_path)
    assert variables["PORT"] == "9000"


def test_a_complete_environment_asks_no_data_directory(running_demo: Path, tmp_path: Path) -> None:
    variables = {"SECRET_KEY": "s", "DATABASE_URL": "d", "REDIS_URL": "r"}
    assert environment.adopt_running(variables, base_dir=tmp_path) is None
    assert set(variables) == {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}


def test_a_named_data_directory_is_the_only_one_asked(running_demo: Path, tmp_path: Path) -> None:
    variables = {"NIJA_DATA_DIR": str(tmp_path / "elsewhere")}
    assert environment.adopt_running(variables, base_dir=tmp_path) is None
    assert variables == {"NIJA_DATA_DIR": str(tmp_path / "elsewhere")}


def test_a_blank_line_of_the_environment_means_the_default() -> None:
    names = [
        "KRAKEN_API_URL",
        "PORT",
        "LIVE_TRADING",
        "DATABASE_URL",
        "REDIS_URL",
        "MASTER_PAIRS",
        "COPY_TRADING_MODE",
        "EMAIL_URL",
    ]
    blank = dict.fromkeys(names, "") | {
        "NIJA_ENV": "development",
        "ALLOWED_HOSTS": "  ",
        "NIJA_DATA_DIR": "/nowhere",
    }
    shown = "s.KRAKEN_API_URL, s.PORT, s.LIVE_TRADING, s.COPY_TRADING_MODE, len(s.MASTER_PAIRS), s.ALLOWED_HOSTS"
    done = subprocess.run(
        [sys.executable, "-c", f"from nija import settings as s; print({shown})"],
        env={"PATH": os.environ["PATH"], "NIJA_PROCESS": "test"} | blank,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "https://api.kraken.com 8000 False MASTER_FOLLOW 6 ['127.0.0.1', 'localhost']"
    assert done.stdout.strip() == expected


def test_a_blank_variable_is_still_not_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NIJA_VAULT_PRIVATE_KEY=from-the-file\nNIJA_BLANK_TEST=\n")
    monkeypatch.setenv("NIJA_VAULT_PRIVATE_KEY", "")
    monkeypatch.setenv("NIJA_BLANK_TEST", "to be forgotten after the test")
    monkeypatch.delenv("NIJA_BLANK_TEST")
    environment.read_dotenv(tmp_path)
    assert not {"NIJA_VAULT_PRIVATE_KEY", "NIJA_BLANK_TEST"} & set(environment.written())
