"""Kraken's two counters and its lockout, as a client of each tier meets them; the clock is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.limits import LOCKOUT_FAILURES, LOCKOUT_S
from trading.paper.server import RunningExchange, run_in_thread
from trading.paper.settings import PaperSettings

NOW = 1_795_364_000.0
CALLS = "EAPI:Rate limit exceeded"
ENGINE = "EOrder:Rate limit exceeded"
RESTING = {"price": "0.002000"}


@dataclass
class Tiered:
    """One trading key on an exchange that limits, and its clock."""

    running: RunningExchange
    client: Client
    now: float = NOW

    def move(self, seconds: float) -> None:
        self.now += seconds
        self.running.post("/paper/clock", mode="manual", now=self.now)

    def calls_until_refused(self, method: str) -> int:
        for made in range(100):
            if self.client.call(method)["error"] == [CALLS]:
                return made
        raise AssertionError("never refused")


@contextmanager
def tiered(settings: PaperSettings, account_at: Callable[..., Client], tier: str, **more: object) -> Iterator[Tiered]:
    with run_in_thread(replace(settings, rate_tier=tier, **more)) as running:  # type: ignore[arg-type]
        running.post("/paper/market/pin", pair="BEAMUSD", bid="0.002917", ask="0.002918")
        running.post("/paper/clock", mode="manual", now=NOW)
        yield Tiered(running, account_at(running))


@pytest.mark.parametrize(
    ("tier", "most", "decay_per_s"), [("starter", 15, 0.33), ("intermediate", 20, 0.5), ("pro", 20, 1.0)]
)
def test_each_tier_has_its_own_maximum_and_decay(
    settings: PaperSettings, account_at: Callable[..., Client], tier: str, most: int, decay_per_s: float
) -> None:
    with tiered(settings, account_at, tier) as world:
        assert world.calls_until_refused("Balance") == most
        # The refused call was counted too; three more fit once it and three others have decayed.
        world.move(4 / decay_per_s + 0.01)
        assert world.calls_until_refused("Balance") == 3


def test_who_keeps_calling_is_kept_out_for_longer(settings: PaperSettings, account_at: Callable[..., Client]) -> None:
    with tiered(settings, account_at, "pro") as world:
        world.calls_until_refused("Balance")
        for _ in range(20):
            assert world.client.error("Balance") == CALLS
        world.move(4)
        assert world.client.error("Balance") == CALLS
        world.move(4)
        world.client.result("Balance")


@pytest.mark.parametrize(("cost", "fit"), [(2.0, 7), (4.0, 3)])
def test_a_history_call_costs_what_the_setting_says(
    settings: PaperSettings, account_at: Callable[..., Client], cost: float, fit: int
) -> None:
    with tiered(settings, account_at, "starter", history_cost=cost) as world:
        assert world.calls_until_refused("TradesHistory") == fit


def test_the_call_counter_is_the_keys_and_the_engine_counter_the_accounts(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with tiered(settings, account_at, "starter") as world:
        made = world.running.post(f"/paper/accounts/{world.client.account}/keys", label="second")
        second = replace(world.client, api_key=made["api_key"], api_secret=made["api_secret"])
        world.calls_until_refused("Balance")
        second.result("Balance")
        for number in range(60):
            client = world.client if number % 2 else second
            assert client.order("buy", "1")["error"] == ["EOrder:Order minimum not met"]
        assert world.client.order("buy", "400")["error"] == [ENGINE]
        assert second.order("buy", "400")["error"] == [ENGINE]


def test_an_order_costs_a_point_of_its_pair_even_when_it_is_invalid(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with tiered(settings, account_at, "starter") as world:
        for _ in range(60):
            assert world.client.order("buy", "400", price="0.00000001")["error"] != [ENGINE]
        assert world.client.order("buy", "400")["error"] == [ENGINE]
        assert world.client.order("buy", "0.02", pair="SOLUSD")["error"] == []
        world.move(2)
        assert world.client.order("buy", "400")["error"] == []


@pytest.mark.parametrize(("age_s", "cost"), [(0, 8), (4.9, 8), (5, 6), (10, 5), (15, 4), (45, 2), (90, 1), (300, 0)])
def test_a_cancel_is_dearer_the_younger_the_order_is(
    settings: PaperSettings, account_at: Callable[..., Client], age_s: float, cost: int
) -> None:
    with tiered(settings, account_at, "starter") as world:
        (txid,) = world.client.order("buy", "400", **RESTING)["result"]["txid"]
        # The counter goes down by one a second, so it is filled to the brim at the moment of the cancel.
        world.move(age_s)
        left = max(0.0, 1 - age_s)
        fill = int(60 - left) - cost
        for _ in range(fill):
            world.client.order("buy", "1")
        assert world.client.call("CancelOrder", txid=txid)["error"] == []
        assert world.client.order("buy", "1")["error"] == [ENGINE]


def test_a_wrong_secret_locks_the_key_out_and_every_retry_starts_the_time_anew(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with tiered(settings, account_at, "pro") as world:
        good = world.client
        wrong = replace(good, api_secret="d3Jvbmc=")
        for _ in range(LOCKOUT_FAILURES - 1):
            assert wrong.error("Balance") == "EAPI:Invalid signature"
        good.result("Balance")
        for _ in range(LOCKOUT_FAILURES):
            assert wrong.error("Balance") == "EAPI:Invalid signature"
        assert good.error("Balance") == "EGeneral:Temporary lockout"
        world.move(LOCKOUT_S - 1)
        assert good.error("Balance") == "EGeneral:Temporary lockout"
        world.move(LOCKOUT_S - 1)
        assert good.error("Balance") == "EGeneral:Temporary lockout"
        world.move(LOCKOUT_S + 1)
        good.result("Balance")


def test_somebody_elses_lockout_and_unknown_keys_harm_nobody(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with tiered(settings, account_at, "pro") as world:
        stranger = replace(world.client, api_key="unknown")
        for _ in range(LOCKOUT_FAILURES):
            assert stranger.error("Balance") == "EAPI:Invalid key"
        assert stranger.error("Balance") == "EGeneral:Temporary lockout"
        world.client.result("Balance")


def test_without_a_tier_nothing_is_limited(exchange: RunningExchange, client: Client) -> None:
    wrong = replace(client, api_secret="d3Jvbmc=")
    for _ in range(LOCKOUT_FAILURES + 1):
        assert wrong.error("Balance") == "EAPI:Invalid signature"
    for _ in range(30):
        client.result("Balance")
