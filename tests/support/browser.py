"""Finding a Chromium, or getting one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support import debian_packages

BASE_DIR = Path(__file__).resolve().parents[2]
CACHE_DIR = BASE_DIR / ".cache"
#: Names the browser to the tests once `make system` has chosen it.
VARIABLE = "NIJA_TEST_CHROMIUM"
INSTALLED_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS_PATHS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
TRY_TIMEOUT_S = 60
Say = Callable[[str], None]


class NoBrowser(Exception):
    """Every way to a Chromium failed."""


def find() -> str | None:
    """The browser chosen by `make system`, an installed one, or one that an earlier run left in .cache/."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return chosen
    candidates = (None if _bare() else installed(), _unpacked(), _playwrights())
    return next((path for path in candidates if path), None)


def provide(say: Say) -> str:
    """A browser that has shown a page: installed, else by apt as root, else Debian's packages unpacked, else Playwright's."""
    ways: list[tuple[str, Callable[[], str | None]]] = []
    if not _bare():
        ways.append(("an installed Chromium", installed))
    ways += [("Chromium of an earlier run", _unpacked), ("Playwright's Chromium of an earlier run", _playwrights)]
    if not _bare() and os.geteuid() == 0 and shutil.which("apt-get"):
        ways.append(("Debian's Chromium by apt-get", _apt_install))
    if shutil.which("apt-get") and shutil.which("dpkg"):
        ways.append(
            ("Debian's packages unpacked into .cache/", lambda: str(debian_packages.unpack_chromium(CACHE_DIR)))
        )
    ways.append(("Playwright's download", _playwright_install))
    for name, way in ways:
        try:
            path = way()
        except (OSError, subprocess.SubprocessError, debian_packages.Unavailable) as error:
            say(f"{name}: {error}")
            continue
        if path and shows_a_page(path):
            say(f"browser: {name} ({path})")
            return path
    raise NoBrowser("No working Chromium: install one (Debian: apt install chromium) and run make system again.")


def installed() -> str | None:
    found = next(filter(None, map(shutil.which, INSTALLED_NAMES)), None)
    return found or next((path for path in MACOS_PATHS if os.access(path, os.X_OK)), None)


def shows_a_page(path: str) -> bool:
    """True when this browser renders a page here; a browser that lacks a library is found out now, not in a test."""
    with tempfile.TemporaryDirectory(prefix="nija-browser-", ignore_cleanup_errors=True) as profile:
        page = Path(profile) / "page.html"
        page.write_text("<p id=seen>seen")
        command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={profile}/profile", "--dump-dom", page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TRY_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return b'id="seen"' in done.stdout


def _bare() -> bool:
    return os.environ.get("NIJA_TEST_BARE") == "1"


def _unpacked() -> str | None:
    path = debian_packages.launcher(CACHE_DIR)
    return str(path) if path.exists() else None


def _apt_install() -> str | None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
    if subprocess.run(install, env=quiet, capture_output=True, timeout=600, check=False).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, capture_output=True, timeout=300, check=True)
        subprocess.run(install, env=quiet, capture_output=True, timeout=600, check=True)
    return installed()


def _playwright_home() -> Path:
    return CACHE_DIR / "playwright"


def _playwrights() -> str | None:
    patterns = ("chromium-*/chrome-linux*/chrome", "chromium-*/chrome-mac*/*.app/Contents/MacOS/*")
    found = [path for pattern in patterns for path in sorted(_playwright_home().glob(pattern))]
    return str(found[-1]) if found else None


def _playwright_install() -> str | None:
    variables = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(_playwright_home())}
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    subprocess.run(command, env=variables, capture_output=True, timeout=600, check=True)
    return _playwrights()
