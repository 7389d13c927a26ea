"""The real engine under a simulated clock, broker, network, exchange and crashes: one seed, one run, always the same.

`python -m tests.simulation --seeds 300`. Greenlets stand for processes: each runs until it speaks to the database or to the
exchange, and there the seed decides who goes on. A killed one is simply never resumed, so nothing of it is tidied up.
"""
