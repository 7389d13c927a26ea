"""A master, pairs and prices in the database, and a public exchange made of Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings

from accounts.models import Credential, User
from trading.domain.money import Price
from trading.domain.order_state import OrderState
from trading.kraken.errors import KrakenError
from trading.kraken.values import AssetInfo, Candle, PairInfo, SystemStatus, Ticker
from trading.models import Account, AssetBalance, Execution, Instrument, MarketPrice, Order, Position, Role, Venue

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
D = Decimal


@dataclass
class MovedClock:
    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def ns(self) -> int:
        return int(self.at.timestamp() * 1_000_000_000)

    def shared(self) -> datetime:
        return self.at

    def uptime(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(eq=False)
class FakePublic:
    """What the exchange would answer; an error in its place is raised. `asked` records the calls."""

    tickers: dict[str, Ticker] = field(default_factory=dict)
    candles: dict[str, Sequence[Candle] | Exception] = field(default_factory=dict)
    pairs: dict[str, PairInfo] = field(default_factory=dict)
    status: str = "online"
    failure: KrakenError | None = None
    clock: MovedClock = field(default_factory=MovedClock)
    offset_ms: int = 0
    delay_ms: int = 20
    asked: list[str] = field(default_factory=list)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure

    def time(self) -> datetime:
        self._ask("time")
        self.clock.advance(self.delay_ms / 1000)
        shown = self.clock.now() + timedelta(milliseconds=self.offset_ms)
        return shown.replace(microsecond=0)

    def system_status(self) -> SystemStatus:
        self._ask("status")
        return SystemStatus(self.status)

    def assets(self) -> dict[str, AssetInfo]:
        self._ask("assets")
        known = {"XXBT": "XBT", "ZUSD": "USD", "ZEUR": "EUR", "BEAM": "BEAM"}
        return {asset: AssetInfo(asset, altname, 8, "enabled") for asset, altname in known.items()}

    def asset_pairs(self) -> dict[str, PairInfo]:
        self._ask("pairs")
        return self.pairs

    def ticker(self, pairs: Sequence[str]) -> dict[str, Ticker]:
        self._ask(f"ticker {','.join(pairs)}")
        return {name: self.tickers[name] for name in pairs if name in self.tickers}

    def ohlc(self, pair: str, interval_min: int = 1, *, since: int | None = None) -> Sequence[Candle]:
        self._ask(f"ohlc {pair} {interval_min}")
        answer = self.candles[pair]
        if isinstance(answer, Exception):
            raise answer
        return [row for row in answer if since is None or row.time > since]


def ticker(bid: str, ask: str) -> Ticker:
    return Ticker(Price(D(bid)), Price(D(ask)), Price(D(bid)))


def pair(pair_id: str, altname: str, base: str, quote: str = "ZUSD", status: str = "online") -> PairInfo:
    return PairInfo(pair_id, altname, "", base, quote, 8, D("0.0001"), D("0.5"), D("0.1"), status)


def master(*, cash: str | None = "60.534", now: datetime = NOW) -> Account:
    """The master with so much cash, read just now; None for a balance nobody has read. The clock is measured."""
    user = User.objects.create_user("master@example.com")
    account = Account.objects.create(
        user=user,
        role=Role.MASTER,
        venue=settings.VENUE,
        iban="MASTER",
        created_at=now,
        balances_as_of=now if cash is not None else None,
    )
    if cash is not None:
        AssetBalance.objects.create(account=account, asset="ZUSD", total=D(cash), as_of=now)
    Credential.objects.create(
        user=user,
        venue=settings.VENUE,
        role=Role.MASTER,
        version=1,
        status=Credential.Status.ACTIVE,
        fingerprint="master",
        api_key_hint="mast…ster",
        created_at=now,
    )
    measured = {"offset_ms": 5, "offset_error_ms": 20, "offset_at": now, "status": "online"}
    Venue.objects.update_or_create(url=settings.VENUE, defaults=measured)
    return account


def instrument(symbol: str = "BEAM-USD", *, quantity_min: str = "400", tick: str = "0.000001") -> Instrument:
    base = symbol.split("-")[0]
    return Instrument.objects.create(
        venue=settings.VENUE,
        symbol=symbol,
        pair_id=f"{base}USD",
        altname=f"{base}USD",
        base_asset=base,
        quote_asset="ZUSD",
        tick_size=D(tick),
        lot_size=D("0.0001"),
        quantity_min=D(quantity_min),
        notional_min=D("0.5"),
        updated_at=NOW,
    )


def price(row: Instrument, *, bid: str = "0.002917", ask: str = "0.002918", now: datetime = NOW) -> MarketPrice:
    return MarketPrice.objects.update_or_create(
        instrument=row, defaults={"bid": D(bid), "ask": D(ask), "last": D(bid), "as_of": now}
    )[0]


def fill(order: Order, *, at_price: str, now: datetime) -> Position:
    """Book `order` as wholly filled at one price, without a fee, as the engine's booking would."""
    amount, paid = order.quantity, order.quantity * D(at_price)
    Execution.objects.create(
        account=order.account,
        instrument=order.instrument,
        order=order,
        trade_id=f"T{order.pk}",
        side=order.side,
        quantity=amount,
        price=D(at_price),
        notional=paid,
        fee=D(0),
        executed_at=now,
        booked_at=now,
    )
    Order.objects.filter(pk=order.pk).update(
        state=OrderState.FILLED, filled=amount, filled_notional=paid, venue_order_id=f"O{order.pk}", closed_at=now
    )
    order.refresh_from_db()
    position, _ = Position.objects.get_or_create(
        account=order.account, instrument=order.instrument, defaults={"updated_at": now}
    )
    position.managed += amount if order.side == "buy" else -amount
    if position.managed and not position.is_open:
        position.opened_at = now
    position.is_open = bool(position.managed)
    position.save()
    return position


def hold(account: Account, row: Instrument, managed: str, *, now: datetime = NOW) -> Position:
    """A position that came from somewhere else than an order of this test."""
    return Position.objects.create(
        account=account, instrument=row, managed=D(managed), is_open=True, opened_at=now, updated_at=now
    )
