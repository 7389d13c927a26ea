"""A small fleet in the database: a master with one open position, followers, signals and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from accounts.models import Credential, User
from copytrade.models import Cap, CopyOrder, CopyStatus
from trading.domain.order_state import OrderState
from trading.models import (
    Account,
    AssetBalance,
    Candidate,
    EquityPoint,
    Inspection,
    InspectionKind,
    Instrument,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Schedule,
    Signal,
    SignalKind,
    StrategyCycle,
    Venue,
)

D = Decimal


@dataclass(slots=True)
class Fleet:
    now: datetime
    master: Account
    beam: Instrument
    dust: Instrument
    buy: Signal
    sale: Signal


def user(email: str, *, staff: bool = False) -> User:
    return User.objects.create_user(email, "correct horse battery staple", is_staff=staff)


def account(
    owner: User, *, role: Role = Role.FOLLOWER, cash: str = "50", now: datetime, key: bool = True, age_s: int = 3
) -> Account:
    as_of = now - timedelta(seconds=age_s)
    made = Account.objects.create(
        user=owner,
        role=role,
        venue=settings.VENUE,
        iban=f"AA{owner.pk:06d}",
        created_at=now - timedelta(days=12),
        balances_as_of=as_of,
        balances_tried_at=as_of,
        taker_fee=D("0.008"),
    )
    AssetBalance.objects.create(account=made, asset="ZUSD", total=D(cash), as_of=as_of)
    if key:
        Credential.objects.create(
            user=owner,
            venue=settings.VENUE,
            version=1,
            status=Credential.Status.ACTIVE,
            fingerprint=f"{owner.pk:064d}",
            api_key_hint="abcd…wxyz",
            sealed=b"sealed",
            iban=made.iban,
            created_at=now,
        )
    return made


def instrument(symbol: str, *, bid: str, quantity_min: str, now: datetime) -> Instrument:
    base = symbol.partition("-")[0]
    made = Instrument.objects.create(
        venue=settings.VENUE,
        symbol=symbol,
        pair_id=f"{base}USD",
        altname=f"{base}USD",
        base_asset=base,
        quote_asset="ZUSD",
        tick_size=D("0.000001"),
        lot_size=D("0.00001"),
        quantity_min=D(quantity_min),
        notional_min=D("0.5"),
        updated_at=now,
    )
    MarketPrice.objects.create(instrument=made, bid=D(bid), ask=D(bid), last=D(bid), as_of=now - timedelta(seconds=1))
    return made


def position(
    owner: Account, of: Instrument, *, managed: str, cost: str, now: datetime, realised: str = "0"
) -> Position:
    return Position.objects.create(
        account=owner,
        instrument=of,
        managed=D(managed),
        cost=D(cost),
        realised=D(realised),
        is_open=D(managed) > 0,
        opened_at=now - timedelta(minutes=42),
        updated_at=now,
    )


def order(owner: Account, of: Instrument, *, kind: str, quantity: str, now: datetime, **fields: Any) -> Order:
    filled = {"filled": D(quantity), "venue_order_id": f"O{owner.pk:05d}-{Order.objects.count():05d}-ABCDEF"}
    values = {"state": OrderState.FILLED, "filled_notional": D("8.46"), "fee": D("0.0677"), **filled, **fields}
    return Order.objects.create(
        account=owner,
        instrument=of,
        kind=kind,
        side="buy" if kind == OrderKind.ENTRY else "sell",
        quantity=D(quantity),
        origin=OrderOrigin.COPY if owner.role == Role.FOLLOWER else OrderOrigin.STRATEGY,
        created_at=now,
        sent_at=now + timedelta(milliseconds=19),
        answered_at=now + timedelta(milliseconds=81),
        booked_at=now + timedelta(milliseconds=220),
        **values,
    )


def fleet(*, now: datetime | None = None) -> Fleet:
    """A master who bought BEAM (still open) and has sold DUST again."""
    now = now or datetime.now(UTC)
    master = account(user("master@example.com"), role=Role.MASTER, cash="50.6", now=now)
    beam = instrument("BEAM-USD", bid="0.002950", quantity_min="400", now=now)
    dust = instrument("DOGE-USD", bid="0.081", quantity_min="20", now=now)
    position(master, beam, managed="3404.8349", cost="10.0147", now=now)
    at = now - timedelta(minutes=42)
    bought = order(
        master, beam, kind=OrderKind.ENTRY, quantity="3404.8349", now=at, filled_notional=D("9.9353"), fee=D("0.0794")
    )
    sold = order(master, dust, kind=OrderKind.EXIT, quantity="120", now=at, exit_number=1, filled_notional=D("9.72"))
    buy = Signal.objects.create(
        account=master,
        instrument=beam,
        order=bought,
        sequence=1,
        kind=SignalKind.ENTRY,
        quantity=D("3404.8349"),
        price=D("0.002918"),
        notional=D("9.9353"),
        master_equity=D("60.534"),
        reason="apex: score 82 of 100, target 2.40 % above",
        executed_at=at,
        created_at=at + timedelta(milliseconds=11),
    )
    sale = Signal.objects.create(
        account=master,
        instrument=dust,
        order=sold,
        sequence=2,
        kind=SignalKind.EXIT,
        quantity=D("120"),
        price=D("0.081"),
        notional=D("9.72"),
        managed_before=D("120"),
        reason="Target 1 reached",
        executed_at=at + timedelta(minutes=9),
        created_at=at + timedelta(minutes=9, milliseconds=8),
    )
    _cycle(beam, dust, now=now)
    return Fleet(now, master, beam, dust, buy, sale)


def _cycle(beam: Instrument, dust: Instrument, *, now: datetime) -> None:
    Venue.objects.create(
        url=settings.VENUE, offset_ms=12, offset_error_ms=3, offset_at=now, status="online", answered_at=now
    )
    Schedule.objects.create(name="master-cycle", due_at=now + timedelta(seconds=26))
    cycle = StrategyCycle.objects.create(
        due_at=now - timedelta(seconds=5),
        started_at=now - timedelta(seconds=5),
        finished_at=now - timedelta(seconds=4),
        strategy="apex",
        version="1",
        parameters_hash="0" * 64,
        profile="LOW_CAPITAL",
        equity=D("60.534"),
    )
    position_open = {"code": "position_open", "sentence": "A position in BEAM-USD is already open."}
    weak = {"code": "adx", "sentence": "The trend is weak: ADX 14 is 11.2, and 20 is the least."}
    volume = {"code": "volume", "sentence": "Volume is 0.6 times its average, and 0.8 is the least."}
    Candidate.objects.create(cycle=cycle, instrument=beam, candle_at=now, score=78.5, vetoes=[position_open])
    Candidate.objects.create(cycle=cycle, instrument=dust, candle_at=now, score=41.0, vetoes=[weak, volume])


def follower(fleet: Fleet, email: str, *, cash: str = "76.12") -> Account:
    """A follower who bought BEAM under the cap and has a year's profit of $5.11 realised."""
    owner = account(user(email), cash=cash, now=fleet.now)
    position(owner, fleet.beam, managed="2898.50925", cost="8.5277", now=fleet.now, realised="5.11")
    copied(fleet, owner)
    sell = order(
        owner, fleet.dust, kind=OrderKind.EXIT, quantity="101.5", now=fleet.sale.executed_at, exit_number=1,
        filled_notional=D("8.2215"),
    )  # fmt: skip
    CopyOrder.objects.create(
        signal=fleet.sale, account=owner, kind="exit", status=CopyStatus.ORDERED, order=sell,
        created_at=fleet.sale.created_at,
    )  # fmt: skip
    return owner


def copied(fleet: Fleet, owner: Account, **order_fields: Any) -> CopyOrder:
    """The entry copy of the golden numbers."""
    values = {"limit_price": D("0.002932"), "filled_notional": D("8.45784999"), **order_fields}
    bought = order(
        owner, fleet.beam, kind=OrderKind.ENTRY, quantity="2898.50925", now=fleet.buy.created_at,
        signal=fleet.buy, **values,
    )  # fmt: skip
    return CopyOrder.objects.create(
        signal=fleet.buy,
        account=owner,
        kind="entry",
        status=CopyStatus.ORDERED,
        order=bought,
        cap=Cap.MAX_RISK,
        equity=D("84.5785"),
        equity_as_of=fleet.buy.executed_at,
        equity_source="live",
        proportional=D("13.8815"),
        notional=D("8.45785"),
        created_at=fleet.buy.created_at,
        decided_at=fleet.buy.created_at,
    )


def skipped(fleet: Fleet, owner: Account) -> CopyOrder:
    return CopyOrder.objects.create(
        signal=fleet.buy,
        account=owner,
        kind="entry",
        status=CopyStatus.SKIPPED,
        reason="below_quantity_min",
        sentence="10 % of $18.20 buys 623 BEAM; the smallest sellable copy is 800 BEAM, about $23.40 of balance.",
        created_at=fleet.buy.created_at,
    )


def history(owner: Account, *, now: datetime, count: int = 200) -> None:
    """An equity curve that goes up and down, one point each half hour."""
    EquityPoint.objects.bulk_create(
        EquityPoint(
            account=owner,
            at=now - timedelta(minutes=30 * (count - n)),
            equity=D("78") + D(n) / 30 + D((n * 37) % 17) / 8,
            cash=D("50"),
            profit=D(n) / 30 + D((n * 37) % 17) / 8 - 2,
        )
        for n in range(count)
    )


def checked(
    fleet: Fleet, *, age_s: int = 60, findings: list[dict[str, Any]] | None = None, missed: int = 0
) -> Inspection:
    """A finished check of the books; `findings` are rows of I7."""
    rows = findings or []
    at = fleet.now - timedelta(seconds=age_s)
    line = {"invariant": "I7", "what": "managed is what was bought and not sold", "unit": "positions", "looked_at": 3}
    not_compared = [{"account": fleet.master.pk, "sentence": "Kraken refused its key"}] * missed
    report = {
        "checks": [{**line, "found": len(rows), "findings": rows, "untold": 0, "note": ""}],
        "not_compared": not_compared,
        "not_compared_count": missed,
    }
    return Inspection.objects.create(
        kind=InspectionKind.BOOKS,
        asked_at=at - timedelta(seconds=2),
        asked_by="every 10 minutes",
        started_at=at - timedelta(seconds=1),
        finished_at=at,
        findings_count=len(rows) + missed,
        report=report,
    )
