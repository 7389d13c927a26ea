"""Hand-made candle files: pairs that stand nearly still and then all break out of their channel at one candle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

STARTS_AT = 1_720_000_200
CANDLE_S = 300
QUIET_CANDLES = 120
#: The market time at which the last quiet candle has closed; the next one breaks out.
BREAKS_OUT_AT = STARTS_AT + QUIET_CANDLES * CANDLE_S

#: Altname, symbol and a price at which a small account can afford twice Kraken's minimum.
PAIRS: Sequence[tuple[str, str, float]] = (
    ("XBTUSD", "BTC-USD", 10_000.0),
    ("ETHUSD", "ETH-USD", 1_000.0),
    ("SOLUSD", "SOL-USD", 100.0),
    ("XRPUSD", "XRP-USD", 1.0),
    ("XDGUSD", "DOGE-USD", 0.1),
    ("LTCUSD", "LTC-USD", 50.0),
    ("PEPEUSD", "PEPE-USD", 0.00001),
    ("FLRUSD", "FLR-USD", 0.015),
    ("BEAMUSD", "BEAM-USD", 0.003),
)
SYMBOLS = tuple(symbol for _, symbol, _ in PAIRS)


def write(
    into: Path, *, later: Mapping[str, Sequence[float]], pairs: int = len(PAIRS), still: int = 10
) -> tuple[Path, ...]:
    """Files of the first `pairs` pairs. The first breaks out furthest, and so on.

    `later` holds, by symbol, the closes after the breakout as multiples of the breakout's own; the last is held, for
    `still` candles at least.
    """
    return tuple(
        _write(into, altname, base=base, above=1.005 - 0.0004 * number, later=[*later.get(symbol, ()), *[0.0] * still])
        for number, (altname, symbol, base) in enumerate(PAIRS[:pairs])
    )


def _write(into: Path, altname: str, *, base: float, above: float, later: Sequence[float]) -> Path:
    closes = [base * (1.002 if n % 2 else 0.998) for n in range(QUIET_CANDLES)]
    broken_out = base * 1.003 * above
    closes.append(broken_out)
    for multiple in later:
        closes.append(broken_out * multiple if multiple else closes[-1])
    rows = []
    before = base
    for n, close in enumerate(closes):
        high, low = max(before, close) * 1.001, min(before, close) * 0.999
        rows.append(f"{STARTS_AT + n * CANDLE_S},{before:.10f},{high:.10f},{low:.10f},{close:.10f},1000.0,20")
        before = close
    file = into / f"{altname}_5.csv"
    file.write_text("\n".join(rows) + "\n")
    return file
