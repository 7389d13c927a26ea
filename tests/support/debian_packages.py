"""Debian's Chromium without root: packages downloaded and unpacked into a directory, nothing installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 600
#: Part of every Debian that runs Python; unpacking a second C library beside the system's breaks what is loaded.
SYSTEM_PACKAGES = frozenset({"libc6", "libgcc-s1", "libcrypt1", "libstdc++6"})
LOADED_PREFIXES = ("chromium", "lib", "font", "xkb-data", "shared-mime-info")
#: Of no use to a test, and half of the size.
DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/systemd", "usr/bin")


class Unavailable(Exception):
    """apt cannot provide the packages here."""


def launcher(cache_dir: Path) -> Path:
    return cache_dir / "chromium" / "run"


def unpack_chromium(cache_dir: Path) -> Path:
    """Returns a script that starts the browser with the unpacked libraries. Raises Unavailable."""
    home = cache_dir / "chromium"
    shutil.rmtree(home, ignore_errors=True)
    packages, root = home / "packages", home / "root"
    packages.mkdir(parents=True)
    root.mkdir()
    apt = _apt_with_own_lists(home)
    _run([*apt, "download", *_needed(apt)], cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], cwd=home)
    for path in (packages, *(root / name for name in DROPPED)):
        shutil.rmtree(path, ignore_errors=True)
    return _write_launcher(home, root)


def _apt_with_own_lists(home: Path) -> list[str]:
    """apt-get with the system's package lists, or, where those are empty, with lists fetched into `home`."""
    if any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        return ["apt-get", "-qq"]
    state = home / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "cache" / "archives" / "partial").mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]
    _run([*apt, "update"], cwd=home)
    return apt


def _needed(apt: list[str]) -> list[str]:
    """Names of the packages that chromium would bring onto an empty system, as far as a browser loads files of them."""
    # Debian's status file is hidden, so that apt resolves as if nothing were installed; -s only prints.
    options = ["-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1", "--no-install-recommends"]
    plan = _run([*apt, "-s", *options, "install", "chromium"], cwd=Path("/"))
    names = set(re.findall(r"^Inst (\S+)", plan, flags=re.MULTILINE)) - SYSTEM_PACKAGES
    if "chromium" not in names:
        raise Unavailable("apt knows no package named chromium")
    return sorted(name for name in names if name.startswith(LOADED_PREFIXES))


def _write_launcher(home: Path, root: Path) -> Path:
    binary = root / "usr" / "lib" / "chromium" / "chromium"
    if not binary.exists():
        raise Unavailable("the chromium package holds no usr/lib/chromium/chromium")
    libraries = {path.parent for path in root.rglob("*.so*") if "chromium" not in path.parts}
    script = launcher(home.parent)
    fonts = root / "etc" / "fonts"
    script.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH='{':'.join(sorted(map(str, libraries)))}'\n"
        f"[ -d /etc/fonts ] || export FONTCONFIG_PATH='{fonts}'\n"
        f"exec '{binary}' \"$@\"\n"
    )
    script.chmod(0o755)
    return script


def _run(command: list[str], *, cwd: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()[-1])
    return done.stdout
