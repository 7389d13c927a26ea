"""What several commands read from their command line."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

#: Whoever waits longer than a day has mistyped.
TIMEOUT_MAX_S = 86_400.0


def seconds(text: str) -> float:
    """Raises ArgumentTypeError for what nobody can wait for: `nan`, `inf`, less than nothing."""
    try:
        given = float(text)
    except ValueError:
        given = -1.0
    if not 0 <= given <= TIMEOUT_MAX_S:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {TIMEOUT_MAX_S:g}")
    return given


def add_timeout(parser: ArgumentParser, *, default_s: float, awaited: str) -> None:
    """`awaited` as in: how long one key's verdict is awaited."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default_s,
        metavar="SECONDS",
        help=f"how long {awaited} is awaited (default: %(default)g)",
    )
