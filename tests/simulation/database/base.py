"""SQLite whose every statement is a point where another process may come between, and whose writers queue visibly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.sqlite3 import base

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")
#: Written over and over while nothing happens: that somebody has looked once more, and what there is.
_ONLY_LOOKED = tuple(
    f'"trading_{table}"' for table in ("marketprice", "venue", "schedule", "account", "assetbalance", "equitypoint")
)


class Hooks:
    """Set by the simulation for a run; without one the backend is Django's own."""

    pause: Callable[[str], None] | None = None
    wait_for: Callable[[Callable[[], bool]], None] | None = None
    writer: DatabaseWrapper | None = None
    opened: Callable[[DatabaseWrapper], None] | None = None
    #: Commits after which there may be something to do that there was not before.
    changes: int = 0

    @classmethod
    def reset(cls) -> None:
        cls.pause, cls.wait_for, cls.writer, cls.opened, cls.changes = None, None, None, None, 0


class Cursor(base.SQLiteCursorWrapper):
    owner: DatabaseWrapper

    def execute(self, query: str, params: Any = None) -> Any:
        self.owner.about_to(query)
        done = super().execute(query, params)
        self.owner.has_done(query, self.rowcount)
        return done

    def executemany(self, query: str, param_list: Any) -> Any:
        self.owner.about_to(query)
        done = super().executemany(query, param_list)
        self.owner.has_done(query, self.rowcount)
        return done


class DatabaseWrapper(base.DatabaseWrapper):
    _has_changed = False

    def get_new_connection(self, conn_params: Any) -> Any:
        if Hooks.opened is not None:
            Hooks.opened(self)
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = self.connection.cursor(factory=Cursor)
        cursor.owner = self
        return cursor

    def about_to(self, query: str) -> None:
        if Hooks.pause is None:
            return
        verb = query.lstrip()[:9].upper()
        if query.upper().startswith("BEGIN DEFERRED"):
            # A snapshot for reading keeps no writer out.
            Hooks.pause("read")
        elif verb.startswith("BEGIN"):
            Hooks.pause("begin")
            self._take_the_pen()
        elif verb.startswith("SELECT"):
            Hooks.pause("read")
        elif verb.startswith(_WRITES):
            Hooks.pause("write")
            if Hooks.writer is not self:
                # Outside a transaction a statement is one of its own: it needs the pen for itself alone.
                self._await_the_pen()

    def has_done(self, query: str, rows: int) -> None:
        """`rows` is what a write met, -1 for anything else."""
        if rows <= 0 or any(table in query[:40] for table in _ONLY_LOOKED):
            return
        if Hooks.writer is self:
            self._has_changed = True
        else:
            Hooks.changes += 1

    def _await_the_pen(self) -> None:
        assert Hooks.wait_for is not None
        Hooks.wait_for(lambda: Hooks.writer is None)

    def _take_the_pen(self) -> None:
        self._await_the_pen()
        Hooks.writer = self

    def _put_down(self) -> None:
        if Hooks.writer is self:
            Hooks.writer = None
        self._has_changed = False

    def _commit(self) -> None:
        if Hooks.pause is not None and self.connection is not None:
            Hooks.pause("commit")
        super()._commit()
        Hooks.changes += self._has_changed
        self._put_down()
        if Hooks.pause is not None and self.connection is not None:
            Hooks.pause("committed")

    def _rollback(self) -> None:
        super()._rollback()
        self._put_down()

    def cut(self) -> None:
        """As when its process was killed: the file sees a rollback, nobody hears of it."""
        raw, self.connection = self.connection, None
        if raw is not None:
            raw.rollback()
            raw.close()
        self._put_down()
