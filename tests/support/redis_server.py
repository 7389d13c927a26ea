"""A real Redis-compatible server for one test process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from nija import valkey

START_TIMEOUT_S = 20


@contextmanager
def running(socket: Path) -> Iterator[redis.Redis]:
    """Yields a client of a server on `socket`, which lives beside its data and ends with the block."""
    data_dir = socket.with_suffix(".data")
    data_dir.mkdir()
    server = valkey.binary(installed_too=os.environ.get("NIJA_TEST_BARE") != "1")
    log = (data_dir / "server.log").open("wb")
    with log:
        process = subprocess.Popen(valkey.command(server, socket=socket, data_dir=data_dir), stdout=log, stderr=log)
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        _wait(client, process)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=10)


def _wait(client: redis.Redis, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.02)
