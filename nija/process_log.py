"""A child's output: a file of bounded size, its last lines, and its errors passed on."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from nija.logs import redact

BYTES_MAX = 2_000_000
TAIL_LINES = 20
LINE_BYTES_MAX = 16_384
#: One error repeated a hundred times a second must not bury the address and the log-ins.
SURFACE_AGAIN_S = 300.0
SURFACED_KINDS_MAX = 30
_ERROR = re.compile(r"^(?:\S+ \S+ )?\[?(?:ERROR|CRITICAL)\b\]?\s*(.*)")


class ProcessLog:
    """Copies a pipe into `path`; when it grows past BYTES_MAX the older half becomes `path`.1. Threads end with the pipe."""

    def __init__(self, path: Path, *, surface: Callable[[str], None]) -> None:
        self._path = path
        self._surface = surface
        self._surfaced: dict[str, float] = {}
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def follow(self, pipe: IO[bytes]) -> threading.Thread:
        thread = threading.Thread(target=self._copy, args=(pipe,), name=f"log-{self._path.stem}", daemon=True)
        thread.start()
        return thread

    def _copy(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LINE_BYTES_MAX):
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        # A web server's own traceback has not passed our formatter.
        text = redact(line.decode(errors="replace").rstrip())
        self.tail.append(text)
        self._pass_on(text)
        try:
            with self._path.open("ab") as file:
                file.write(text.encode() + b"\n")
                full = file.tell() > BYTES_MAX
            if full:
                self._path.replace(self._path.with_suffix(".log.1"))
        except OSError:
            # A full disk must not stop the reading: the child would block on its pipe.
            return

    def _pass_on(self, text: str) -> None:
        error = _ERROR.match(text)
        if error is None:
            return
        kind, now = re.sub(r"\d+", "", error[1]), time.monotonic()
        known = self._surfaced.get(kind)
        if known is None and len(self._surfaced) >= SURFACED_KINDS_MAX:
            return
        if known is None or now - known > SURFACE_AGAIN_S:
            self._surfaced[kind] = now
            self._surface(error[1])
