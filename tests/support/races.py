"""Two threads with a database connection each, stopped and let go at seams of real functions, so that a race happens on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.db import connection

PATIENCE_S = 20.0
POLL_S = 0.01


class Actor:
    """One side of a race: a thread with its own connection. `hold` makes it stand at a seam until `let_go`."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._backend: int | None = None
        self._began, self._ended = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._result: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._holds: list[Hold] = []

    def hold(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, *, when: str) -> Hold:
        """Stands `when` ("before" or "after") its first call of `module.name`; the other side passes freely."""
        held = Hold(self)
        original = getattr(module, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                held.stand()
            result = original(*args, **kwargs)
            if when == "after":
                held.stand()
            return result

        monkeypatch.setattr(module, name, guarded)
        self._holds.append(held)
        return held

    def hold_statement(self, words: str) -> Hold:
        """Stands before its first SELECT that has these words."""
        held = Hold(self)

        def guarded(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("SELECT") and words in sql:
                held.stand()
            return execute(sql, params, many, context)

        action = self._action

        def wrapped() -> Any:
            with connection.execute_wrapper(guarded):
                return action()

        self._action = wrapped
        return held

    def start(self) -> Actor:
        self._thread.start()
        assert self._began.wait(PATIENCE_S)
        return self

    def is_mine(self) -> bool:
        return threading.current_thread() is self._thread

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def waits_for_a_lock(self) -> bool:
        """Whether PostgreSQL holds this side up because of the other one."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", [self._backend])
            return bool(cursor.fetchone()[0])

    def until_it_waits(self) -> None:
        """Returns when it is seen waiting for a lock; an end without waiting fails the test."""
        end = time.monotonic() + PATIENCE_S
        while not self.waits_for_a_lock():
            assert not self.ended, f"it did not wait, and ended with {self._error or self._result!r}"
            assert time.monotonic() < end, "it neither waited nor ended"
            time.sleep(POLL_S)

    def until_it_ends(self) -> Any:
        """Its result; what it raised is raised here."""
        assert self._ended.wait(PATIENCE_S), "it did not end"
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self._backend = cursor.fetchone()[0]
            self._began.set()
            self._result = self._action()
        except BaseException as error:
            self._error = error
        finally:
            connection.close()
            self._began.set()
            self._ended.set()


class Hold:
    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._reached, self._go = threading.Event(), threading.Event()

    def stand(self) -> None:
        if self._actor.is_mine() and not self._reached.is_set():
            self._reached.set()
            assert self._go.wait(PATIENCE_S), "nobody let it go"

    def until_reached(self) -> None:
        assert self._reached.wait(PATIENCE_S), "it did not come to its seam"

    def let_go(self) -> None:
        self._go.set()
