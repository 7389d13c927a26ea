"""Debian's Chromium without root: packages downloaded and unpacked into a directory, nothing installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 600
#: Part of every Debian that runs Python; unpacking a second C library beside the system's breaks what is loaded.
SYSTEM_PACKAGES = frozenset({"libc6", "libgcc-s1", "libcrypt1", "libstdc++6", "gcc-12-base", "dpkg", "debconf", "bash"})


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
    _run([*apt, "download", *_closure(apt)], cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], cwd=home)
    shutil.rmtree(packages)
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


def _closure(apt: list[str]) -> list[str]:
    """Names of chromium and everything it depends on, recursively, as far as apt knows a real package of that name."""
    options = apt[2:]
    flags = ["--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces"]
    listed = _run(["apt-cache", *options, "depends", *flags, "--no-enhances", "chromium"], cwd=Path("/"))
    names = set(re.findall(r"^([a-z0-9][a-z0-9+.:-]*)$", listed, flags=re.MULTILINE)) - SYSTEM_PACKAGES
    if "chromium" not in names:
        raise Unavailable("apt knows no package named chromium")
    policy = _run(["apt-cache", *options, "policy", *sorted(names)], cwd=Path("/"))
    candidates = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))\S+", policy, flags=re.MULTILINE)
    return sorted(set(candidates) & names)


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
