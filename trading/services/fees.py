"""Each account's own fees, as Kraken charges them (TradeVolume)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts.models import Credential
from trading.kraken.endpoints import TRADE_VOLUME, PrivateClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import FeeRate
from trading.models import Account, Instrument
from trading.services import lanes, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

BATCH_MAX = 200
PAIRS_MAX = 50
REFRESH_AFTER = timedelta(hours=20)

logger = logging.getLogger(__name__)


def refresh_due(*, clock: Clock) -> int:
    """Read the fees of accounts that have none or old ones; of how many."""
    now = clock.now()
    due = Account.objects.filter(
        Q(fees_as_of__isnull=True) | Q(fees_as_of__lt=now - REFRESH_AFTER),
        venue=settings.VENUE,
        user__credentials__status=Credential.Status.ACTIVE,
    ).order_by("pk")[:BATCH_MAX]
    accounts = list(due)
    pairs = list(_priced_pairs())
    if not accounts or not pairs:
        return 0
    by_key = {key.pk: account_id for account_id, key in lanes.active_keys(accounts).items()}
    answers = private.call_each(
        dict.fromkeys(by_key, partial(_fees, [pair.altname for pair in pairs])),
        purpose=Purpose.REFRESH,
        cost=TRADE_VOLUME.cost,
        clock=clock,
    )
    read = 0
    for key, answer in answers.items():
        if isinstance(answer, KrakenError):
            logger.warning("the fees of account %s could not be read: %s", by_key[key], answer)
            continue
        rate = highest([answer[pair.pair_id] for pair in pairs if pair.pair_id in answer])
        if rate is None:
            logger.warning("Kraken told account %s no fee of any pair that was asked for", by_key[key])
            continue
        read += Account.objects.filter(pk=by_key[key]).update(
            taker_fee=rate.taker.value, maker_fee=rate.maker.value, fees_as_of=now
        )
    return read


def highest(rates: Sequence[FeeRate]) -> FeeRate | None:
    """The dearest taker and the dearest maker fee among these pairs.

    An account has one tier, but Kraken charges less for stablecoins and currencies than for coins. With the dearest no
    entry is sized or judged with a fee that is too low; in a cheaper pair a little cash stays free.
    """
    if not rates:
        return None
    return FeeRate(taker=max(rate.taker for rate in rates), maker=max(rate.maker for rate in rates))


def _priced_pairs() -> QuerySet[Instrument]:
    """The pairs the strategy trades; Kraken tells fees only of pairs that are named."""
    pairs = Instrument.objects.filter(venue=settings.VENUE, symbol__in=settings.MASTER_PAIRS, tradable=True)
    return pairs.order_by("symbol")[:PAIRS_MAX]


async def _fees(altnames: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, FeeRate]:
    return await kraken.trade_volume(altnames, nonce=nonce)
