"""What the paper exchange refuses with: Kraken's words, always inside HTTP 200."""

from __future__ import annotations


class KrakenError(Exception):
    """One application error as Kraken prints it, e.g. `EOrder:Insufficient funds`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def invalid_argument(field: str) -> KrakenError:
    return KrakenError(f"EGeneral:Invalid arguments:{field}")
