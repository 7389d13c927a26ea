"""What must be true when everything has come to rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from copytrade.models import CloseInstruction, CopyOrder, CopyStatus
from tests.simulation.people import is_dust
from trading.domain.money import Price, Quantity
from trading.models import (
    Account,
    Adjustment,
    Execution,
    MarketPrice,
    Order,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)

if TYPE_CHECKING:
    from tests.simulation.run import Simulation


def check(simulation: Simulation) -> list[str]:
    return [
        *_trades_are_booked_once(simulation),
        *_positions_add_up(),
        *still_held(),
        *owing(),
        *simulation.people.hands.violations(),
        *_every_signal_has_its_outcomes(),
    ]


def _trades_are_booked_once(simulation: Simulation) -> list[str]:
    """I11, I1, I2: what the exchange executed for our orders is what we booked, trade by trade."""
    broken = []
    exchange = simulation.network.exchange
    for account in Account.objects.order_by("pk"):
        paper = exchange.accounts.by_id[simulation.people.paper_ids[account.pk]]
        rows = Order.objects.filter(account=account).exclude(origin=OrderOrigin.OUTSIDE)
        names = {str(order.client_order_id) for order in rows}
        theirs = Counter(
            (trade.txid, trade.side, trade.volume, trade.price, trade.cost, trade.fee)
            for trade in exchange.trades_of(paper)
            if exchange.orders[trade.order_txid].cl_ord_id in names
        )
        ours = Counter(
            (fill.trade_id, fill.side, fill.quantity, fill.price, fill.notional, fill.fee)
            for fill in Execution.objects.filter(account=account).exclude(order__origin=OrderOrigin.OUTSIDE)
        )
        if ours != theirs:
            broken.append(
                f"I11: account {account.pk}: {len(ours - theirs)} booked too much, {len(theirs - ours)} missing"
            )
        accepted = {order.cl_ord_id for order in exchange.orders_of(paper) if order.cl_ord_id in names}
        placed = {str(order.client_order_id) for order in rows.exclude(venue_order_id="")}
        if accepted != placed:
            broken.append(f"I2: account {account.pk}: {len(accepted ^ placed)} orders are not as the exchange has them")
        if account.held_at is not None:
            broken.append(f"account {account.pk} is held: {account.held_reason}")
    return broken


def outside_trades_missing(simulation: Simulation) -> int:
    """Purchases that the master made on Kraken and that are not booked, which must have been copied like any other."""
    exchange = simulation.network.exchange
    master = Account.objects.get(role=Role.MASTER)
    booked = {
        fill.trade_id: fill.quantity
        for fill in Execution.objects.filter(account=master, order__origin=OrderOrigin.OUTSIDE)
    }
    paper = exchange.accounts.by_id[simulation.people.paper_ids[master.pk]]
    by_hand = [t for t in exchange.trades_of(paper) if exchange.orders[t.order_txid].cl_ord_id is None]
    missing = sum(trade.side == "buy" and booked.get(trade.txid) != trade.volume for trade in by_hand)
    for position in Position.objects.filter(account=master, is_open=True).select_related("instrument"):
        missing += position.managed > paper.balances.get(position.instrument.base_asset, Decimal(0))
    return missing


def owing() -> list[str]:
    """I9: nobody holds more than the share that the master kept, except what is too small to be sold."""
    broken = []
    held = Position.objects.filter(is_open=True, account__role=Role.FOLLOWER).select_related("account", "instrument")
    for position in held.order_by("pk"):
        rules, (least, most) = position.instrument.rules, _target(position)
        over, under = Fraction(position.managed) - most, least - Fraction(position.managed)
        owed = rules.floor_fraction(over) if over > 0 else Quantity.zero()
        bid = MarketPrice.objects.filter(instrument=position.instrument).values_list("bid", flat=True).first()
        small = owed < rules.quantity_min or (bid is not None and not rules.sellable(owed, Price(bid)))
        if owed and not small:
            broken.append(f"I9: account {position.account_id} holds {owed} {rules.symbol} more than its share")
        if under > 0:
            broken.append(f"I9: account {position.account_id} sold {float(under)} {rules.symbol} too much")
    return broken


def _target(position: Position) -> tuple[Fraction, Fraction]:
    """(least, most) of DESIGN section 3, Exit obligations: the signals in order, with what their owner did in between.

    What an exit leaves is sold with it where it could not be sold by itself, and then nothing of it is there for what follows.
    In the round trip under way: of earlier ones nothing is left to share. Who asked to sell everything meant what was
    still in doubt, too.
    """
    mine = {"account_id": position.account_id, "instrument_id": position.instrument_id}
    now = {"round_trip": position.round_trip}
    bought: defaultdict[int, Fraction] = defaultdict(Fraction)
    for fill in Execution.objects.filter(**mine, **now, side="buy").select_related("order__signal"):
        bought[fill.order.signal.sequence] += Fraction(fill.quantity)
    kept: defaultdict[int, Fraction] = defaultdict(lambda: Fraction(1))
    for taken in Adjustment.objects.filter(**mine, **now):
        kept[taken.after_sequence] *= Fraction(taken.managed_after) / Fraction(taken.managed_before)
    for asked in CloseInstruction.objects.filter(**mine):
        kept[asked.after_sequence] = Fraction(0)
    rules = position.instrument.rules
    least = most = Fraction(0)
    signals = Signal.objects.filter(instrument_id=position.instrument_id, sequence__gte=min(bought, default=0))
    for signal in signals.order_by("sequence"):
        if signal.kind == SignalKind.ENTRY:
            factor, added = Fraction(1), bought[signal.sequence]
        else:
            factor, added = 1 - Fraction(signal.quantity) / Fraction(signal.managed_before or 1), Fraction(0)
        least, most = ((value * factor + added) * kept[signal.sequence] for value in (least, most))
        if signal.kind == SignalKind.EXIT and not rules.sellable(rules.floor_fraction(most), Price(signal.price)):
            least = Fraction(0)
    return least, most


def _positions_add_up() -> list[str]:
    """I7: managed is bought less sold and adjusted, and never negative; of a round trip that ended nothing is left."""
    broken = []
    for position in Position.objects.order_by("pk"):
        mine = {"account_id": position.account_id, "instrument_id": position.instrument_id}
        left: defaultdict[int, Decimal] = defaultdict(Decimal)
        for fill in Execution.objects.filter(**mine):
            left[fill.round_trip] += fill.quantity if fill.side == "buy" else -fill.quantity
        for adjustment in Adjustment.objects.filter(**mine):
            left[adjustment.round_trip] += adjustment.managed_after - adjustment.managed_before
        under_way = left.pop(position.round_trip, Decimal(0))
        if under_way != position.managed or position.managed < 0:
            broken.append(f"I7: position {position.pk} manages {position.managed}, its history says {under_way}")
        broken += [f"I7: round trip {number} of position {position.pk} leaves {q}" for number, q in left.items() if q]
    return broken


def still_held() -> list[str]:
    """I8: where the master is flat nobody holds more than what is too small to be sold."""
    held = Position.objects.filter(is_open=True).select_related("account", "instrument").order_by("pk")
    by_master = {position.instrument_id for position in held if position.account.role == Role.MASTER}
    return [
        f"I8: account {position.account_id} still holds {position.managed} {position.instrument.symbol}"
        for position in held
        if not is_dust(position) and (position.account.role == Role.MASTER or position.instrument_id not in by_master)
    ]


def _every_signal_has_its_outcomes() -> list[str]:
    """I12: an order or a reason, for every follower, exactly one."""
    followers = set(Account.objects.filter(role=Role.FOLLOWER).values_list("pk", flat=True))
    wanted = {(signal, account) for signal in Signal.objects.values_list("pk", flat=True) for account in followers}
    copies = Counter(CopyOrder.objects.values_list("signal_id", "account_id"))
    broken = []
    if set(copies) != wanted or any(number != 1 for number in copies.values()):
        broken.append(f"I12: {len(wanted - set(copies))} outcomes are missing")
    for copy in CopyOrder.objects.all():
        if copy.status == CopyStatus.ORDERED and copy.order_id is None:
            broken.append(f"I12: copy {copy.pk} is ordered without an order")
        if copy.status in (CopyStatus.SKIPPED, CopyStatus.MISSED) and not (copy.reason and copy.sentence):
            broken.append(f"I12: copy {copy.pk} is {copy.status} without a reason")
    return broken
