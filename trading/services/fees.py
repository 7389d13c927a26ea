"""Each account's own fees, as Kraken charges them (TradeVolume)."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db.models import Q

from accounts.models import Credential
from trading.kraken.endpoints import TRADE_VOLUME, PrivateClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import FeeRate
from trading.models import Account, Instrument
from trading.services import lanes, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

BATCH_MAX = 200
REFRESH_AFTER = timedelta(hours=20)


def refresh_due(*, clock: Clock) -> int:
    """Read the fees of accounts that have none or old ones; of how many."""
    now = clock.now()
    due = Account.objects.filter(
        Q(fees_as_of__isnull=True) | Q(fees_as_of__lt=now - REFRESH_AFTER),
        venue=settings.VENUE,
        user__credentials__status=Credential.Status.ACTIVE,
    ).order_by("pk")[:BATCH_MAX]
    accounts = list(due)
    pair = Instrument.objects.filter(venue=settings.VENUE, symbol__in=settings.MASTER_PAIRS, tradable=True).first()
    if not accounts or pair is None:
        return 0
    by_key = {key.pk: account_id for account_id, key in lanes.active_keys(accounts).items()}
    answers = private.call_each(
        dict.fromkeys(by_key, partial(_fees, pair.altname)),
        purpose=Purpose.REFRESH,
        cost=TRADE_VOLUME.cost,
        clock=clock,
    )
    read = 0
    for key, answer in answers.items():
        rate = None if isinstance(answer, KrakenError) else answer.get(pair.pair_id)
        if rate is None:
            continue
        read += Account.objects.filter(pk=by_key[key]).update(
            taker_fee=rate.taker.value, maker_fee=rate.maker.value, fees_as_of=now
        )
    return read


def _fees(altname: str, kraken: PrivateClient, nonce: int) -> dict[str, FeeRate]:
    return kraken.trade_volume([altname], nonce=nonce)
