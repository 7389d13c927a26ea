"""What only orders and private reads have: one event loop for all, connections that are kept, one write and no second."""

from __future__ import annotations

import gzip
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.trading.kraken.exchange_server import Behaviour, answer, exchange
from trading.kraken import connections
from trading.kraken.connections import LoopTransport
from trading.kraken.errors import OutcomeUnknown, Unavailable
from trading.kraken.senders import Batch, Senders
from trading.kraken.transport import Answer

BASE_DIR = Path(__file__).resolve().parents[3]
OK = b'{"error":[],"result":{}}'
PATH = "/0/private/AddOrder"
PATIENCE_S = 5


@pytest.fixture
def senders() -> Iterator[Senders]:
    running = Senders()
    yield running
    running.close()
    assert not any(thread.ident == running.thread_id for thread in threading.enumerate())


async def _post(
    transport: LoopTransport, body: bytes = b"", *, timeout_s: float = 5.0, look: Callable[[], None] | None = None
) -> Answer:
    return await transport.post(PATH, body, {"API-Key": "key"}, timeout_s=timeout_s, before_write=look)


def _in_turn(*answers: bytes | None) -> Behaviour:
    """One of these after the other on whichever connection; None closes it without a word."""
    left = iter(answers)

    def behave(connection: socket.socket) -> bool:
        data = next(left)
        if data is not None:
            connection.sendall(data)
        return data is not None

    return behave


class Stopped(Exception):
    pass


def test_a_request_that_waited_for_a_connection_looks_right_before_it_is_written(senders: Senders) -> None:
    arrived, released = threading.Event(), threading.Event()

    def slowly(connection: socket.socket) -> bool:
        arrived.set()
        released.wait(PATIENCE_S)
        connection.sendall(answer(OK))
        return True

    stopped = threading.Event()

    def look() -> None:
        if stopped.is_set():
            raise Stopped

    with exchange(slowly) as server:
        transport = LoopTransport(server.url, 1)
        batch: Batch[str, Answer] = senders.batch()
        batch.begin({"first": partial(_post, transport, look=look), "second": partial(_post, transport, look=look)})
        assert arrived.wait(PATIENCE_S)
        assert batch.wait(0.05) == []
        stopped.set()
        released.set()
        ends = dict(batch.wait_for_all())
        assert ends["first"].result().body == OK
        with pytest.raises(Stopped):
            ends["second"].result()
        # The connection it was refused on is as good as before.
        assert senders.run(partial(_post, transport)).body == OK
    assert len(server.requests) == 2
    assert server.connections == 1


def test_a_request_that_gets_no_connection_within_its_bound_was_certainly_not_written(senders: Senders) -> None:
    arrived, released = threading.Event(), threading.Event()

    def slowly(connection: socket.socket) -> bool:
        arrived.set()
        released.wait(PATIENCE_S)
        connection.sendall(answer(OK))
        return True

    with exchange(slowly) as server:
        transport = LoopTransport(server.url, 1)
        batch: Batch[int, Answer] = senders.batch()
        batch.begin({1: partial(_post, transport)})
        assert arrived.wait(PATIENCE_S)
        with pytest.raises(Unavailable):
            senders.run(partial(_post, transport, timeout_s=0.1))
        released.set()
        ((_, first),) = batch.wait_for_all()
        assert first.result().body == OK
    assert len(server.requests) == 1


def test_who_waited_longest_writes_first(senders: Senders) -> None:
    with exchange(_in_turn(*[answer(OK)] * 60)) as server:
        transport = LoopTransport(server.url, 1)
        batch: Batch[int, Answer] = senders.batch()
        batch.begin({number: partial(_post, transport, b"n=%02d" % number) for number in range(60)})
        assert len(batch.wait_for_all()) == 60
    assert [int(request[-2:]) for request in server.requests] == list(range(60))


def test_requests_given_up_while_they_waited_never_arrive_and_cost_no_connection(senders: Senders) -> None:
    def slowly(connection: socket.socket) -> bool:
        threading.Event().wait(0.01)
        connection.sendall(answer(OK))
        return True

    with exchange(slowly) as server:
        transport = LoopTransport(server.url, 2)
        batch: Batch[int, Answer] = senders.batch()
        # The later ones have their bounds while the earlier ones are under way.
        works = {n: partial(_post, transport, b"n=%03d" % n, timeout_s=5.0 if n % 2 else 0.002 * n) for n in range(120)}
        batch.begin(works)
        unwritten = set()
        for number, ended in batch.wait_for_all():
            try:
                ended.result()
            except Unavailable:
                unwritten.add(b"n=%03d" % number)
            except OutcomeUnknown:
                pass
        assert unwritten
        assert not unwritten & {request[-5:] for request in server.requests}
        batch.begin({n: partial(_post, transport) for n in range(4)})
        assert [ended.result().body for _, ended in batch.wait_for_all()] == [OK] * 4
    assert 0 <= transport._open <= 2


def test_more_requests_than_connections_all_get_their_turn(senders: Senders) -> None:
    with exchange(_in_turn(*[answer(OK)] * 200)) as server:
        transport = LoopTransport(server.url, 4)
        batch: Batch[int, Answer] = senders.batch()
        batch.begin({number: partial(_post, transport, b"n=%d" % number) for number in range(200)})
        ends = dict(batch.wait_for_all())
    assert [ends[number].result().body for number in range(200)] == [OK] * 200
    assert sorted(request.rpartition(b"n=")[2] for request in server.requests) == sorted(
        b"%d" % number for number in range(200)
    )
    assert server.connections == 4


def test_a_kept_connection_that_was_closed_meanwhile_is_told_apart_before_anything_is_written(senders: Senders) -> None:
    hang_up = threading.Event()
    behaviours = iter([True, False])

    def behave(connection: socket.socket) -> bool:
        connection.sendall(answer(OK))
        if next(behaviours, True):
            hang_up.wait(PATIENCE_S)
            return False
        return True

    async def twice(transport: LoopTransport) -> Answer:
        await _post(transport)
        hang_up.set()
        # The end of the connection is there to be read, and the loop, which is held here, has not seen it.
        assert transport._idle[0]._poll.poll(PATIENCE_S * 1000)
        return await _post(transport)

    with exchange(behave) as server:
        assert senders.run(partial(twice, LoopTransport(server.url))).body == OK
    assert len(server.requests) == 2
    assert server.connections == 2


def test_a_kept_connection_that_breaks_after_the_request_leaves_the_outcome_unknown_and_is_not_tried_again(
    senders: Senders,
) -> None:
    with exchange(_in_turn(answer(OK), None, answer(OK))) as server:
        transport = LoopTransport(server.url)
        assert senders.run(partial(_post, transport, b"one")).body == OK
        with pytest.raises(OutcomeUnknown):
            senders.run(partial(_post, transport, b"two"))
        assert server.connections == 1
        assert [request[-3:] for request in server.requests] == [b"one", b"two"]
        assert senders.run(partial(_post, transport)).body == OK
    assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        answer(OK) + answer(b"another"),
        answer(OK) + b"rubbish",
        answer(OK, headers="Connection: close\r\n"),
        answer(OK).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["two answers", "rubbish behind it", "asks to close", "HTTP/1.0"],
)
def test_a_connection_that_may_not_be_used_again_is_not(first: bytes, senders: Senders) -> None:
    with exchange(_in_turn(first, answer(b"second"))) as server:
        transport = LoopTransport(server.url)
        assert senders.run(partial(_post, transport)).body == OK
        assert senders.run(partial(_post, transport)).body == b"second"
    assert server.connections == 2


def test_a_connection_that_rested_too_long_is_not_used_again(senders: Senders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_MAX_S", 0.0)
    with exchange(_in_turn(*[answer(OK)] * 3)) as server:
        transport = LoopTransport(server.url, 1)
        assert [senders.run(partial(_post, transport)).body for _ in range(3)] == [OK] * 3
    assert server.connections == 3


_PACKED = gzip.compress(OK)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%b\r\n13\r\n%b\r\n0\r\n\r\n" % (OK[:5], OK[5:]),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(OK),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(OK),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in _PACKED)
        + b"0\r\n\r\n",
    ],
    ids=["chunked", "continue", "early hints", "packed in chunks"],
)
def test_an_answer_is_read_in_every_form_that_the_protocol_has(data: bytes, senders: Senders) -> None:
    def byte_by_byte(connection: socket.socket) -> bool:
        for byte in data:
            connection.sendall(bytes([byte]))
        return True

    with exchange(byte_by_byte) as server:
        transport = LoopTransport(server.url)
        assert [senders.run(partial(_post, transport)) for _ in range(2)] == [Answer(200, OK)] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + _PACKED[:12],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["ends with the connection", "packed and cut off", "packed otherwise", "another protocol"],
)
def test_an_answer_that_is_not_known_to_be_whole_is_none(data: bytes, senders: Senders) -> None:
    with exchange(lambda connection: connection.sendall(data) is not None) as server, pytest.raises(OutcomeUnknown):
        senders.run(partial(_post, LoopTransport(server.url)))
    assert len(server.requests) == 1


def test_work_that_fails_tells_how_and_keeps_nothing_else_from_ending(senders: Senders) -> None:
    async def fails() -> Answer:
        raise Stopped

    def never_begins() -> Answer:
        raise Stopped

    async def works() -> Answer:
        return Answer(200, OK)

    batch: Batch[str, Answer] = senders.batch()
    batch.begin({"never begins": never_begins, "fails": fails, "works": works})  # type: ignore[dict-item]
    ends = dict(batch.wait_for_all())
    assert ends["works"].result().body == OK
    for name in ("never begins", "fails"):
        with pytest.raises(Stopped):
            ends[name].result()
    assert batch.wait(PATIENCE_S) == []
    assert batch.pending == 0


_FORKS = """
import os, sys
from functools import partial
from trading.kraken.connections import LoopTransport
from trading.kraken.senders import of_this_process
transport = LoopTransport(sys.argv[1])
post = partial(transport.post, "/0/private/AddOrder", b"", {}, timeout_s=5)
assert of_this_process().run(post).status == 200
child = os.fork()
assert of_this_process().run(post).status == 200
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert of_this_process().run(post).status == 200
"""

_ENDS = """
import signal, sys
from functools import partial
from trading.kraken.connections import LoopTransport
from trading.kraken.senders import of_this_process
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
post = partial(LoopTransport(sys.argv[1]).post, "/0/private/AddOrder", b"", {}, timeout_s=8)
batch = of_this_process().batch()
batch.begin({1: post})
print("begun", flush=True)
batch.wait_for_all()
"""


def _run(script: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, url]
    return subprocess.Popen(command, cwd=BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_forked_child_has_senders_and_connections_of_its_own() -> None:
    with exchange(_in_turn(*[answer(OK)] * 4)) as server:
        parent = _run(_FORKS, server.url)
        _, problems = parent.communicate(timeout=4 * PATIENCE_S)
    assert (parent.returncode, problems) == (0, "")
    assert len(server.requests) == 4
    assert server.connections == 2


def test_a_process_told_to_end_while_a_request_is_under_way_ends_in_order() -> None:
    arrived, released = threading.Event(), threading.Event()

    def silent(_connection: socket.socket) -> bool:
        arrived.set()
        return bool(released.wait(4 * PATIENCE_S)) and False

    with exchange(silent) as server:
        process = _run(_ENDS, server.url)
        assert arrived.wait(4 * PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        _, problems = process.communicate(timeout=PATIENCE_S)
        released.set()
    assert (process.returncode, problems) == (7, "")
