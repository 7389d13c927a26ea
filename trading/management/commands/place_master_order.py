"""`manage.py place_master_order BEAM-USD buy --notional 9.94`: a manual trade of the master, copied like any other."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading.domain.instrument import Side
from trading.domain.money import plain
from trading.models import Order
from trading.services import manual_orders, master_orders
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

REASON = "By hand"
STEP = Decimal("1e-12")


class Command(BaseCommand):
    help = "Buy or sell on the master's account and wait for the fill. Followers get the same trade, scaled."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("symbol", help="such as BEAM-USD")
        parser.add_argument("side", choices=[side.value for side in Side])
        parser.add_argument("--notional", help="buy: US dollars to spend")
        parser.add_argument("--quantity", help="buy: quantity of the base asset")
        parser.add_argument("--fraction", help="sell: share of the managed position, such as 1, 0.5 or 1/3")
        parser.add_argument("--reason", default=REASON, help="shown to followers")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            order = manual_orders.plan_from_text(
                symbol=options["symbol"],
                side=Side(options["side"]),
                amounts={name: options[name] for name in ("notional", "quantity", "fraction")},
                reason=options["reason"],
                clock=SYSTEM,
            )
        except MasterOrderRefused as refusal:
            raise CommandError(refusal.sentence) from None
        self._report(master_orders.wait_until_settled(order))

    def _report(self, order: Order) -> None:
        if order.state not in master_orders.SETTLED:
            raise CommandError(
                f"Order {order.pk} is not final after {master_orders.WAIT_S:.0f} s; its state is {order.state}. "
                f"Its fate will still be found out and shown on the dashboard."
            )
        price = master_orders.average_price(order)
        if price is None:
            raise CommandError(f"Nothing was traded: {order.refusal or f'the order is {order.state}'}.")
        self.stdout.write(
            f"{order.side} {plain(order.filled)} {order.instrument.symbol} at {plain(price.value.quantize(STEP))}, "
            f"${plain(order.filled_notional)}, fee ${plain(order.fee)}, order {order.venue_order_id} ({order.state})"
        )
