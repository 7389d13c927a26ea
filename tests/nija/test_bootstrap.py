from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nija import bootstrap


def script(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.fixture
def path_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def test_a_shim_that_does_not_start_is_passed_over(path_dir: Path) -> None:
    script(path_dir, "python3.12", "echo 'no such version' >&2; exit 127\n")
    good = path_dir / "python3"
    good.symlink_to(sys.executable)
    assert bootstrap.find_python() == str(good)


def test_an_old_python_is_named_with_its_version(path_dir: Path) -> None:
    script(path_dir, "python3", "echo 3 9\n")
    with pytest.raises(bootstrap.CannotGoOn, match=r"3\.11 or newer is needed; found is 3\.9"):
        bootstrap.find_python()


def test_a_missing_venv_module_is_answered_with_the_package(path_dir: Path) -> None:
    script(path_dir, "python3", 'case "$*" in *ensurepip*) exit 1;; *) echo 3 11;; esac\n')
    with pytest.raises(bootstrap.CannotGoOn, match=r"apt install python3\.11-venv"):
        bootstrap.find_python()


def test_no_python_at_all_is_a_sentence(path_dir: Path) -> None:
    with pytest.raises(bootstrap.CannotGoOn, match=r"Python 3\.11 or newer is needed \("):
        bootstrap.find_python()


def test_the_callers_python_and_pip_settings_do_not_lead_astray() -> None:
    given = {
        "PYTHONPATH": "/x",
        "VIRTUAL_ENV": "/y",
        "PIP_USER": "1",
        "PIP_TARGET": "/z",
        "PIP_INDEX_URL": "https://index.example",
        "https_proxy": "http://proxy.example",
        "PORT": "8001",
    }
    kept = bootstrap.clean_environment(given)
    assert kept["PIP_USER"] == "0"
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET"} & set(kept)
    assert (kept["PIP_INDEX_URL"], kept["https_proxy"], kept["PORT"]) == (
        "https://index.example",
        "http://proxy.example",
        "8001",
    )


def test_the_stamp_changes_with_the_requirements_and_the_python_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "BASE_DIR", tmp_path)
    (tmp_path / "requirements.txt").write_text("django==1\n")
    first = bootstrap.stamp_of("run", (3, 11))
    assert bootstrap.stamp_of("run", (3, 12)) != first
    assert bootstrap.stamp_of("run", (3, 11)) == first
    (tmp_path / "requirements.txt").write_text("django==2\n")
    assert bootstrap.stamp_of("run", (3, 11)) != first


def test_too_little_disk_is_a_sentence() -> None:
    with pytest.raises(bootstrap.CannotGoOn, match="The disk is too full"):
        bootstrap.check_disk(10**12)


def test_a_failed_installation_shows_the_end_of_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "CACHE_DIR", tmp_path)
    with pytest.raises(bootstrap.CannotGoOn, match="installing failed: the disk is full"):
        bootstrap.run_with_progress(
            "installing", ["sh", "-c", "echo 'No space left on device'; exit 1"], {"PATH": os.defpath}
        )
    assert "No space left on device" in capsys.readouterr().err


def test_an_old_python_can_read_the_script() -> None:
    source = Path(bootstrap.__file__).read_text()
    ast.parse(source, feature_version=(3, 8))


def test_the_script_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    code = (
        "import json, runpy, sys\n"
        f"runpy.run_path({bootstrap.__file__!r}, run_name='bootstrap')\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not {"nija", "django", "celery"} & set(json.loads(done.stdout))
