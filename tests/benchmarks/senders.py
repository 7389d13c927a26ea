"""What the engine's own way to the exchange costs, with no database: signed orders of many accounts, handed over in one batch.

`python -m tests.benchmarks.senders --url http://127.0.0.1:8000 --orders 1000 --processes 4`, against
`python -m tests.benchmarks.null_exchange --port 8000`. The processes are forked and send at the same moment, over connections that
earlier rounds have warmed. Prints, for every round, the wall time until the last answer is read and the CPU time of all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import ssl
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from tests.benchmarks import null_books
from tests.benchmarks.null_exchange import allow_connections
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.kraken.connections import CONNECTIONS_MAX, LoopTransport
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient, TimeInForce
from trading.kraken.senders import of_this_process
from trading.kraken.signing import Credentials
from trading.kraken.values import AddedOrder

ROUNDS = 8
#: Accounts of its own, so that the engine's books are not touched.
FIRST_INDEX = 2_000_000
WAIT_S = 0.05


def order() -> AddOrder:
    return AddOrder(
        altname="BEAMUSD",
        side=Side.BUY,
        ordertype=OrderType.LIMIT,
        quantity=Quantity(Decimal("100")),
        price=Price(Decimal("0.010051")),
        timeinforce=TimeInForce.IMMEDIATE_OR_CANCEL,
        cl_ord_id=str(uuid.uuid4()),
    )


def send(clients: Sequence[PrivateClient]) -> None:
    """One order of each, all acknowledged when it returns."""

    async def work(kraken: PrivateClient) -> AddedOrder:
        return await kraken.looking(lambda: None).add_order(order(), nonce=time.time_ns())

    batch = of_this_process().batch()
    batch.begin({number: partial(work, kraken) for number, kraken in enumerate(clients)})
    while batch.pending:
        for _, ended in batch.wait(WAIT_S):
            assert ended.result().txid


def _process(transport: LoopTransport, indices: Sequence[int], together: Barrier, told: Connection) -> None:
    keys = [Credentials.from_text(null_books.api_key_of(i), null_books.secret_text_of(i)) for i in indices]
    clients = [PrivateClient(transport, key) for key in keys]
    for _ in range(ROUNDS):
        together.wait()
        began_s, cpu_s = time.monotonic(), time.process_time()
        send(clients)
        told.send((began_s, time.monotonic(), time.process_time() - cpu_s))


def main(arguments: Sequence[str]) -> None:
    allow_connections()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--connections", type=int, default=CONNECTIONS_MAX)
    parser.add_argument("--authority", help="a PEM file with the certificate to trust")
    options = parser.parse_args(arguments)
    tls = ssl.create_default_context(cafile=options.authority) if options.authority else None
    transport = LoopTransport(options.url, options.connections, tls=tls)
    forking, share = multiprocessing.get_context("fork"), options.orders // options.processes
    together = forking.Barrier(options.processes)
    pipes = []
    for number in range(options.processes):
        ours, theirs = forking.Pipe(duplex=False)
        indices = range(FIRST_INDEX + number * share, FIRST_INDEX + (number + 1) * share)
        forking.Process(target=_process, args=(transport, indices, together, theirs)).start()
        pipes.append(ours)
    walls, cpus = [], []
    for _ in range(ROUNDS):
        began, ended, cpu = zip(*(pipe.recv() for pipe in pipes), strict=True)
        walls.append(max(ended) - min(began))
        cpus.append(sum(cpu))
    for name, values in (("wall s", walls), ("CPU s", cpus)):
        print(
            f"{name}: first {values[0]:.3f}, then median {statistics.median(values[1:]):.3f}, best {min(values[1:]):.3f}"
        )
    print(f"{options.processes} x {share} orders, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
