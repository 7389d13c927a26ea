"""What can be traded, and at what price."""

from __future__ import annotations

from django.db import models

from trading.domain.instrument import Instrument as Rules
from trading.domain.money import Money, Price, Quantity
from trading.models.fields import ExactDecimalField


class Instrument(models.Model):
    """A USD-quoted pair as AssetPairs last described it."""

    venue = models.CharField(max_length=200)
    symbol = models.CharField(max_length=24, help_text="BTC-USD")
    pair_id = models.CharField(max_length=24, help_text="XXBTZUSD")
    altname = models.CharField(max_length=24, help_text="XBTUSD")
    base_asset = models.CharField(max_length=16)
    quote_asset = models.CharField(max_length=16)
    tick_size = ExactDecimalField()
    lot_size = ExactDecimalField()
    quantity_min = ExactDecimalField()
    notional_min = ExactDecimalField()
    tradable = models.BooleanField(default=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["venue", "symbol"], name="one_instrument_per_symbol")]

    def __str__(self) -> str:
        return self.symbol

    @property
    def price_decimals(self) -> int:
        """Digits after the point that it is quoted with."""
        exponent = self.tick_size.normalize().as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0

    @property
    def rules(self) -> Rules:
        return Rules(
            symbol=self.symbol,
            pair_id=self.pair_id,
            altname=self.altname,
            base_asset=self.base_asset,
            quote_asset=self.quote_asset,
            tick_size=self.tick_size,
            lot_size=self.lot_size,
            quantity_min=Quantity(self.quantity_min),
            notional_min=Money(self.notional_min),
            tradable=self.tradable,
        )


class MarketPrice(models.Model):
    instrument = models.OneToOneField(Instrument, on_delete=models.CASCADE, related_name="price")
    bid = ExactDecimalField()
    ask = ExactDecimalField()
    last = ExactDecimalField()
    as_of = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.last}"

    @property
    def bid_price(self) -> Price:
        return Price(self.bid)


class Candle(models.Model):
    """A closed candle kept for the charts of what is or was held. Nothing is decided by these rows."""

    instrument = models.ForeignKey(Instrument, on_delete=models.CASCADE, related_name="candles")
    interval_min = models.PositiveSmallIntegerField()
    starts_at = models.DateTimeField(help_text="Market time")
    open = ExactDecimalField()
    high = ExactDecimalField()
    low = ExactDecimalField()
    close = ExactDecimalField()
    volume = ExactDecimalField(help_text="Base")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instrument", "interval_min", "starts_at"], name="one_candle_per_interval")
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.starts_at:%Y-%m-%d %H:%M}"
