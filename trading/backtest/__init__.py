"""The master's strategy on past candles: the same decisions, the paper exchange's prices and fees, no clock and no network.

`files` finds and reads the candles, `simulation` trades them, `statistics` counts, `publishing` writes. Nothing here
reads the time or the settings.
"""
