"""A guard that keeps tests on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class OutsideConnection(AssertionError):
    """A test tried to reach another machine."""


def _refuse_strangers(address: Any) -> None:
    if isinstance(address, tuple) and address[0] not in LOCAL_HOSTS:
        raise OutsideConnection(f"A test tried to connect to {address[0]}; tests talk to 127.0.0.1 only.")


@contextmanager
def this_machine_only() -> Iterator[None]:
    """Every connect of this process to an address that is not loopback or a unix socket raises OutsideConnection."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_strangers(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_strangers(address)
        return connect_ex(self, address)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
