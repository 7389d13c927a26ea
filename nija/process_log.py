"""A child's output: a file of bounded size, its last lines, and its errors passed on."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

BYTES_MAX = 2_000_000
TAIL_LINES = 20
LINE_BYTES_MAX = 16_384
#: So that a child that fails a hundred times a second does not bury the address and the log-ins.
SURFACED_LINES_MAX = 50
_ERROR = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL) |^\[?(?:ERROR|CRITICAL)\b")


class ProcessLog:
    """Copies a pipe into `path`; when it grows past BYTES_MAX the older half becomes `path`.1. Threads end with the pipe."""

    def __init__(self, path: Path, *, surface: Callable[[str], None]) -> None:
        self._path = path
        self._surface = surface
        self._surfaced = 0
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
        text = line.decode(errors="replace").rstrip()
        self.tail.append(text)
        if _ERROR.match(text) and self._surfaced < SURFACED_LINES_MAX:
            self._surfaced += 1
            self._surface(text)
        try:
            with self._path.open("ab") as file:
                file.write(line)
                full = file.tell() > BYTES_MAX
            if full:
                self._path.replace(self._path.with_suffix(".log.1"))
        except OSError:
            # A full disk must not stop the reading: the child would block on its pipe.
            return
