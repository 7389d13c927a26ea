"""Sends whose outcome nobody knew, by the path they were sent on, and whether they were judged right in the end."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

PATHS = ("master's entry", "master's exit", "follower's entry", "follower's exit")


@dataclass
class Doubts:
    """Order rows that went from SENDING to UNKNOWN."""

    paths: dict[int, str] = field(default_factory=dict)

    def add(self, row: sqlite3.Row) -> None:
        self.paths[row["id"]] = f"{'follower' if row['origin'] == 'copy' else 'master'}'s {row['kind']}"

    def judge(self, orders: Mapping[int, sqlite3.Row], accepted: Container[str]) -> tuple[Counter[str], list[str]]:
        """Cases by path and truth, and violations: `orders` as they are at the end, `accepted` by client order id, without dashes."""
        cases: Counter[str] = Counter()
        wrong = []
        for pk, path in self.paths.items():
            order = orders[pk]
            taken = order["client_order_id"] in accepted
            cases[case(path, taken=taken)] += 1
            if bool(order["venue_order_id"]) != taken or (order["state"] == "not_placed") == taken:
                wrong.append(f"I2: order {pk} is {order['state']} and was {'' if taken else 'not '}accepted")
        return cases, wrong


def case(path: str, *, taken: bool) -> str:
    return f"{path} in doubt, {'accepted' if taken else 'never accepted'}"


CASES = tuple(case(path, taken=taken) for path in PATHS for taken in (True, False))
