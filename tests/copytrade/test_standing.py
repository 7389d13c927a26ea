"""The database's word for whether a follower copies is the one that `judge` has for it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from django.test import override_settings

from accounts.models import Credential, RiskSettings
from accounts.models.risk import CopyState
from copytrade.selectors import standing
from copytrade.selectors.standing import Platform
from tests.copytrade import books
from trading.models import Account

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
PLATFORMS = (Platform(None, "", ""), Platform(NOW, "a look", "operator@example.com"))


@pytest.fixture
def followers() -> list[Account]:
    """One for every way in which things can be together."""
    made = []
    states = itertools.product(
        CopyState.values, (None, NOW), (None, -1, 1), (None, NOW), ("none", "good", "blocked", "old")
    )
    for number, (state, stopped_at, limit_h, held_at, key) in enumerate(states):
        account = books.account(books.user(f"f{number}@example.com"), now=NOW, key=key != "none")
        until = None if limit_h is None else NOW + timedelta(hours=limit_h)
        RiskSettings.objects.filter(user=account.user).update(
            state=state, stopped_at=stopped_at, close_only_until=until
        )
        Account.objects.filter(pk=account.pk).update(held_at=held_at, held_reason="a fill nobody asked for")
        keys = Credential.objects.filter(user=account.user)
        if key == "blocked":
            keys.update(entries_blocked_reason="It may withdraw.")
        if key == "old":
            keys.update(status=Credential.Status.REPLACED)
        made.append(account)
    return made


@pytest.mark.parametrize("platform", PLATFORMS, ids=["running", "stopped"])
@pytest.mark.parametrize("mode", ["MASTER_FOLLOW", "INDEPENDENT"])
@pytest.mark.parametrize("blocking", [False, True], ids=["free", "blocked"])
def test_the_database_judges_as_judge_does(
    followers: list[Account], platform: Platform, mode: str, blocking: bool
) -> None:
    rows = Account.objects.select_related("user__risk")
    keys = standing.active_keys([account.user_id for account in followers])
    with override_settings(COPY_TRADING_MODE=mode, ENTRY_BLOCKING=blocking, ORDERS_ALLOWED=True):
        told = rows.alias(key=standing.active_key()).annotate(standing=standing.judged(platform, now=NOW))
        in_database = dict(told.values_list("pk", "standing"))
        judged = {
            row.pk: standing.judge(row, row.user.risk, keys.get(row.user_id), platform, now=NOW).key.value
            for row in rows
        }
    assert in_database == judged
    assert len(judged) == len(followers)
