"""A key that stops working while an order is in doubt: its owner replaces it, and the exit goes on with the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Credential, KeyCheck
from accounts.services import credentials
from copytrade.services import exits, fan_out
from tests.functional.scenario import Fleet, gather_holding
from tests.support.waiting import WaitingClient
from tests.support.world import World
from trading.domain.order_state import OrderState
from trading.kraken.endpoints import PrivateClient
from trading.kraken.signing import Credentials
from trading.kraken.values import OrdersPage, TradesPage
from trading.models import Order, OrderKind
from trading.services import intake, private, undecided

pytestmark = pytest.mark.django_db(transaction=True)

#: From the deadline on a late request is refused; reads may lag so long behind it.
SETTLED_S = 16


@pytest.mark.parametrize(
    ("fault", "becomes"), [("drop_before", OrderState.NOT_PLACED), ("drop_after", OrderState.FILLED)]
)
def test_a_key_deleted_at_kraken_is_replaced_and_the_exit_in_doubt_found_or_made(
    make_world: Callable[..., World], fault: str, becomes: OrderState
) -> None:
    fleet = gather_holding(make_world, "ada")
    fleet.spoil(fault, name="ada")
    exit_order = _exit_in_doubt(fleet)
    fleet.world.paper("POST", "/keys/update", api_key=fleet["ada"].api_key, revoked=True)
    fleet.live(SETTLED_S)
    assert _replaced(fleet) == intake.CONNECTED
    fleet.live(SETTLED_S)
    _assert_sold_once(fleet, exit_order, becomes)


def test_a_key_that_another_program_has_run_away_with_is_replaced(make_world: Callable[..., World]) -> None:
    fleet = gather_holding(make_world, "ada")
    _another_program_takes(fleet)
    exit_order = _exit_in_doubt(fleet)
    fleet.live(SETTLED_S)
    assert _replaced(fleet) == intake.CONNECTED
    fleet.live(SETTLED_S)
    _assert_sold_once(fleet, exit_order, OrderState.NOT_PLACED)


def test_before_its_deadline_a_late_request_could_still_be_taken_so_the_key_waits(
    make_world: Callable[..., World],
) -> None:
    fleet = gather_holding(make_world, "ada")
    fleet.spoil("drop_before", name="ada")
    exit_order = _exit_in_doubt(fleet)
    fleet.world.paper("POST", "/keys/update", api_key=fleet["ada"].api_key, revoked=True)
    assert "within a minute the key is replaced" in _replaced(fleet)
    assert Credential.objects.get(user=fleet["ada"].account.user, status="active").api_key_hint.startswith(
        fleet["ada"].api_key[:4]
    )
    fleet.live(SETTLED_S)
    intake.check_all_pending(clock=fleet.world.clock)
    fleet.live(SETTLED_S)
    _assert_sold_once(fleet, exit_order, OrderState.NOT_PLACED)


def test_what_a_key_with_query_dates_does_not_see_is_not_taken_for_never_placed(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner limited it at Kraken after it was connected. The sale was executed; a second one would be of his own coins."""
    fleet = gather_holding(make_world, "ada")
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="BEAM", amount="50000")
    mine = Credential.objects.get(user=fleet["ada"].account.user, status="active")
    bounded = replace(private.key_info(mine.pk, clock=fleet.world.clock), query_to=fleet.world.clock.now())
    assert "query start or end date" in intake.recheck(mine.pk, ask=lambda _key: bounded, clock=fleet.world.clock)
    _show_nothing_old(monkeypatch, fleet["ada"].api_key)
    fleet.spoil("drop_after", name="ada")
    exit_order = _exit_in_doubt(fleet)
    fleet.live(90)
    exit_order.refresh_from_db()
    assert exit_order.state == OrderState.UNKNOWN
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1
    fleet.world.move(15 * 60)
    undecided.give_up(clock=fleet.world.clock)
    exit_order.refresh_from_db()
    assert exit_order.state == OrderState.MANUAL


def _show_nothing_old(monkeypatch: pytest.MonkeyPatch, api_key: str) -> None:
    """What Kraken is taken to do with the dates; the paper exchange has no such keys."""
    empty = {"closed_orders": OrdersPage(orders=(), count=0), "trades_history": TradesPage(trades=(), count=0)}
    for name, nothing in (*empty.items(), ("query_orders", {})):
        asked = getattr(PrivateClient, name)

        async def bounded(self: Any, *given: Any, asked: Any = asked, nothing: Any = nothing, **named: Any) -> Any:
            told = await asked(self, *given, **named)
            return nothing if self._credentials.key == api_key else told

        monkeypatch.setattr(PrivateClient, name, bounded)


def _exit_in_doubt(fleet: Fleet) -> Order:
    """The master sells; the follower's exit goes out once and its outcome stays unknown."""
    clock = fleet.world.clock
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=clock)
    exits.plan_due(clock=clock)
    fleet.world.send(OrderKind.EXIT)
    [order] = fleet.orders(fleet["ada"], OrderKind.EXIT)
    assert order.state == OrderState.UNKNOWN
    return order


def _another_program_takes(fleet: Fleet) -> None:
    opened = credentials.open_credential(Credential.objects.get(user=fleet["ada"].account.user, status="active").pk)
    key = Credentials.from_text(opened.api_key.reveal(), opened.api_secret.reveal())
    WaitingClient(PrivateClient(private.transport(), key)).balance_ex(nonce=2**63 - 10)


def _replaced(fleet: Fleet) -> str:
    """The owner submits another key of the same account; what the check says."""
    key = fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/keys", label="another")
    owner = fleet["ada"].account.user
    credential = intake.submit(owner, api_key=key["api_key"], api_secret=key["api_secret"], clock=fleet.world.clock)
    intake.check_pending(credential.pk, clock=fleet.world.clock)
    return KeyCheck.objects.get(credential_id=credential.pk).message


def _assert_sold_once(fleet: Fleet, first: Order, becomes: OrderState) -> None:
    first.refresh_from_db()
    assert first.state == becomes
    [sale] = fleet.at_exchange(fleet["ada"], "sell")
    assert Decimal(sale["vol_exec"]) > 0
    assert fleet.held(fleet["ada"]) == fleet.held(fleet.master) == 0
    assert fleet.world.managed(fleet["ada"], "BEAM-USD") == 0
