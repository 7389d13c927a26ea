"""Settings of a test process: nothing outside this machine, nothing of the developer's own installation.

The environment is filled before nija.settings reads it. `make test` names a PostgreSQL server in DATABASE_URL; a bare
`pytest` runs on SQLite. The Redis-compatible server behind REDIS_URL is started by a fixture of tests/conftest.py.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from accounts.services import vault_keys

#: Short, because a unix socket's path may hold about 100 bytes. Each pytest-xdist worker has its own.
SCRATCH_DIR = Path(tempfile.mkdtemp(prefix="nija-test-"))
atexit.register(shutil.rmtree, SCRATCH_DIR, ignore_errors=True)

_public_key, _private_key = vault_keys.generate_key_pair()
os.environ.update(
    NIJA_ENV="development",
    NIJA_DATA_DIR=str(SCRATCH_DIR),
    SECRET_KEY=secrets.token_urlsafe(48),
    NIJA_VAULT_PUBLIC_KEY=_public_key,
    NIJA_VAULT_PRIVATE_KEY=_private_key,
    KRAKEN_API_URL="http://127.0.0.1:9",
    LIVE_TRADING="false",
    ENTRY_BLOCKING="false",
    EMAIL_URL="",
    REDIS_URL=f"unix://{SCRATCH_DIR}/redis.sock",
    ALLOWED_HOSTS="127.0.0.1,localhost,testserver",
)
os.environ.setdefault("DATABASE_URL", f"sqlite:///{SCRATCH_DIR}/nija.sqlite3")

from nija.settings import *  # noqa: E402, F403
from nija.settings import DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, so that worker processes started by a test see the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(SCRATCH_DIR / "test.sqlite3")}
    # No test cuts the power, and waiting for the disk at every commit is half of a money test's time.
    _OPTIONS = DATABASES["default"]["OPTIONS"]
    _OPTIONS["init_command"] = _OPTIONS["init_command"].replace("synchronous=FULL", "synchronous=OFF")
# The tests make many users; what they ask of a hash is that it verifies.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
