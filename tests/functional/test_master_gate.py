"""What keeps the master from buying, seen at the exchange: his key, his own settings, and what tripped his own limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts.models import Credential, RiskSettings
from accounts.services import risk
from copytrade.selectors import standing
from tests.functional.scenario import Fleet, gather, gather_holding
from tests.support.world import World
from trading.domain.order_state import OrderState
from trading.models import OrderKind
from trading.paper.records import TRADING_PERMISSIONS
from trading.services import halts, intake, private, sending
from trading.services.master_orders import MasterOrderRefused

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_master_whose_key_can_withdraw_now_buys_nothing_and_still_sells(make_world: Callable[..., World]) -> None:
    fleet = gather_holding(make_world, "ada")
    _drifted(fleet)
    with pytest.raises(MasterOrderRefused, match="Funds: Withdraw"):
        fleet.buy()
    assert fleet.asked(fleet.master) == 1
    fleet.sell()
    fleet.live(3)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_a_key_that_is_disconnected_while_his_order_is_being_sent_sends_nothing(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada")
    order, fence, clock = fleet.buy(), private.fence, fleet.world.clock

    def slow(*told: Any, **more: Any) -> None:
        fence(*told, **more)
        assert intake.disconnect(fleet.master.account.user, clock=clock) == ""

    monkeypatch.setattr(private, "fence", slow)
    assert sending.send_ready(OrderKind.ENTRY, clock=clock) == 0
    order.refresh_from_db()
    assert (order.state, order.refusal) == ("skipped", "The Kraken key was disconnected or replaced at this moment")
    assert fleet.asked(fleet.master) == 0


def test_an_order_planned_before_his_key_drifted_is_not_sent(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    order = fleet.buy()
    _drifted(fleet)
    fleet.live(3)
    order.refresh_from_db()
    assert order.state == OrderState.SKIPPED
    assert "Funds: Withdraw" in order.refusal
    assert fleet.asked(fleet.master) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "close_only"}, "Close only"),
        ({"close_only_reason": "A drawdown of 20 % reached your limit"}, "A drawdown of 20 % reached your limit."),
    ],
)
def test_an_order_planned_before_his_settings_forbade_it_is_not_sent_and_his_exits_go_on(
    make_world: Callable[..., World], changes: dict[str, Any], says: str
) -> None:
    fleet = gather_holding(make_world, "ada")
    order = fleet.buy()
    until = fleet.world.clock.now() + timedelta(days=36_500) if "close_only_reason" in changes else None
    mine = RiskSettings.objects.filter(user=fleet.master.account.user)
    mine.update(**changes, close_only_until=until)
    fleet.live(3)
    order.refresh_from_db()
    assert order.state == OrderState.SKIPPED
    assert says in order.refusal
    told = standing.of_user(mine.get().user, now=fleet.world.clock.now())[1]
    assert (told.key.value, told.enters) == ("close_only", False)
    fleet.sell()
    fleet.live(3)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_a_limit_that_tripped_is_lifted_by_resuming_and_not_by_saving_other_settings(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    user = fleet.master.account.user
    until = fleet.world.clock.now() + timedelta(days=36_500)
    RiskSettings.objects.filter(user=user).update(close_only_until=until, close_only_reason="A drawdown")
    risk.change(user, {"state": "active", "multiplier": "0.5"})
    with pytest.raises(MasterOrderRefused, match="A drawdown"):
        fleet.buy()
    halts.resume_account(fleet.master.account, actor=user.email, clock=fleet.world.clock)
    fleet.buy()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) > 0


def _drifted(fleet: Fleet) -> None:
    """His key's owner lets it withdraw, and the hourly look finds it."""
    rights = [*TRADING_PERMISSIONS, "withdraw-funds"]
    fleet.world.paper("POST", "/keys/update", api_key=fleet.master.api_key, permissions=rights)
    intake.recheck_all(ask=lambda key: private.key_info(key, clock=fleet.world.clock), clock=fleet.world.clock)
    assert Credential.objects.exclude(entries_blocked_reason="").count() == 1
