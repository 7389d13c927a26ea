"""What works for each account, asked of Kraken now. Runs where keys can be opened; a report is sentences, never a secret."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from django.conf import settings

from accounts.models import Credential
from trading.domain import key_policy
from trading.domain.key_policy import Refused
from trading.domain.money import Money
from trading.kraken.endpoints import API_KEY_INFO, TRADES_HISTORY, PrivateClient
from trading.kraken.errors import CredentialsRefused, KrakenError, PermissionsUnknown
from trading.kraken.values import ApiKeyInfo, TradesPage
from trading.models import Account, InspectionKind, Venue
from trading.selectors import equity
from trading.services import balances, inspections, intake, lanes, market, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

T = TypeVar("T")
ACCOUNTS_MAX = 2000
#: How often keys that are busy or short of rate budget are asked again, over all questions together.
ROUNDS_MAX = 18
PAUSE_S = 2.0
#: A person waits, so more of the rate budget may be used than by refreshes; what orders need is still left.
PURPOSE = Purpose.BOOKING
AGAIN = "Ask again in half a minute."
REPLACE = "Its owner replaces it on the page Kraken."


class Verdict(StrEnum):
    OK = "ok"
    #: A person decided that it should not work.
    OFF = "off"
    FAILS = "fails"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that works or not. `remedy` says what would help, empty when nothing has to be done."""

    name: str
    verdict: Verdict
    sentence: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "verdict": self.verdict, "sentence": self.sentence, "remedy": self.remedy}

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Check:
        return cls(found["name"], Verdict(found["verdict"]), found["sentence"], found["remedy"])


@dataclass(slots=True)
class _Look:
    """What was found of one account so far; `works` while Kraken takes its key."""

    account: Account
    key: Credential
    checks: list[Check] = field(default_factory=list)
    works: bool = False

    def found(self, name: str, verdict: Verdict, sentence: str, remedy: str = "") -> None:
        self.checks.append(Check(name, verdict, sentence, remedy))


@dataclass(slots=True)
class _Patience:
    """Pauses that are left for keys that were busy."""

    sleep: Callable[[float], None]
    left: int = ROUNDS_MAX

    def pause(self) -> bool:
        self.left -= 1
        if self.left < 0:
            return False
        self.sleep(PAUSE_S)
        return True


def run(inspection_id: int, *, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
    """Answer the question of this row, unless somebody else does. Its `report` names the addresses asked about, if any.

    A key whose rights have changed is noted as by the daily look at all keys.
    """
    inspection = inspections.start(inspection_id, InspectionKind.DIAGNOSIS, clock=clock)
    if inspection is None:
        return
    exchange = _exchange(clock=clock, sleep=sleep)
    answers = exchange[0].verdict is not Verdict.FAILS
    looks, without_key, left_out = _chosen(inspection.report.get("emails") or [])
    if answers:
        _ask(looks, clock=clock, patience=_Patience(sleep))
    else:
        for look in looks:
            look.found("key", Verdict.UNKNOWN, "Kraken does not answer, so nothing was asked.")
    checks = [*exchange, *(check for look in looks for check in look.checks)]
    report: dict[str, Any] = {
        "exchange": [check.as_json() for check in exchange],
        "accounts": [
            {"account": look.account.pk, "checks": [check.as_json() for check in look.checks]} for look in looks
        ],
        "without_key": without_key,
        "left_out": left_out,
    }
    bad = sum(check.verdict in (Verdict.FAILS, Verdict.UNKNOWN) for check in checks)
    inspections.finish(inspection, findings_count=bad, report=report, clock=clock)


def _chosen(emails: Sequence[str]) -> tuple[list[_Look], list[int], int]:
    """The accounts to look at, those of them that have no key, and how many are too many."""
    rows = Account.objects.filter(venue=settings.VENUE).select_related("user__risk").order_by("pk")
    if emails:
        rows = rows.filter(user__email__in=emails)
    total = rows.count()
    accounts = list(rows[:ACCOUNTS_MAX])
    keys = lanes.active_keys(accounts)
    looks = [_Look(account, keys[account.pk]) for account in accounts if account.pk in keys]
    return looks, [account.pk for account in accounts if account.pk not in keys], max(0, total - ACCOUNTS_MAX)


def _exchange(*, clock: Clock, sleep: Callable[[float], None]) -> list[Check]:
    """Whether the exchange answers and takes orders, first; then how far its clock is from ours."""
    answered = market.measure_venue_clock(clock=clock, sleep=sleep)
    venue = Venue.objects.get(pk=settings.VENUE)
    address = settings.KRAKEN_API_URL
    if not answered:
        return [
            Check(
                "exchange",
                Verdict.FAILS,
                f"{address} does not answer: {venue.error}",
                "Look at this machine's network and at status.kraken.com. NIJA tries again by itself.",
            ),
            Check("clock", Verdict.UNKNOWN, "The exchange's clock could not be read."),
        ]
    online = venue.status == "online"
    status = Check(
        "exchange",
        Verdict.OK if online else Verdict.FAILS,
        f"{address} answers; it is {venue.status}{'' if online else ' and takes no new orders'}.",
        "" if online else "Wait until Kraken is online again.",
    )
    problem = market.clock_problem(now=clock.now())
    if problem:
        return [status, Check("clock", Verdict.FAILS, problem, "Set this machine's clock by NTP.")]
    offset_ms = venue.offset_ms or 0
    side = "ahead of" if offset_ms >= 0 else "behind"
    sentence = f"Kraken's clock is {abs(offset_ms)} ms {side} ours (± {venue.offset_error_ms or 0} ms)."
    return [status, Check("clock", Verdict.OK, sentence)]


def _ask(looks: Sequence[_Look], *, clock: Clock, patience: _Patience) -> None:
    infos = _each([look.key.pk for look in looks], _key_info, cost=API_KEY_INFO.cost, clock=clock, patience=patience)
    for look in looks:
        _judge_key(look, infos.get(look.key.pk), clock=clock)
    working = [look for look in looks if look.works]
    _judge_balances(working, clock=clock, patience=patience)
    pages = _each([look.key.pk for look in working], _trades, cost=TRADES_HISTORY.cost, clock=clock, patience=patience)
    for look in working:
        _judge_trades(look, pages.get(look.key.pk))


def _each(
    keys: Collection[uuid.UUID],
    request: private.Request[T],
    *,
    cost: int,
    clock: Clock,
    patience: _Patience,
) -> dict[uuid.UUID, T | KrakenError]:
    """One request with every key. Keys that stayed busy or without rate budget are absent."""
    answers: dict[uuid.UUID, T | KrakenError] = {}
    while True:
        missing = [key for key in keys if key not in answers]
        answers |= private.call_each(dict.fromkeys(missing, request), purpose=PURPOSE, cost=cost, clock=clock)
        if len(answers) == len(keys) or not patience.pause():
            return answers


async def _key_info(kraken: PrivateClient, nonce: int) -> ApiKeyInfo:
    return await kraken.api_key_info(nonce=nonce)


async def _trades(kraken: PrivateClient, nonce: int) -> TradesPage:
    return await kraken.trades_history(nonce=nonce)


def _judge_key(look: _Look, answer: ApiKeyInfo | KrakenError | None, *, clock: Clock) -> None:
    hint = look.key.api_key_hint
    if answer is None:
        look.found("key", Verdict.UNKNOWN, f"The key {hint} was busy or had spent its rate budget.", AGAIN)
        return
    if isinstance(answer, ApiKeyInfo) or answer.codes:
        # Kraken itself has spoken; a key that does not open here says nothing of its rights.
        intake.recheck(look.key.pk, ask=partial(_told, answer), clock=clock)
    if isinstance(answer, PermissionsUnknown):
        look.works = True
        look.found("key", Verdict.OK, f"Kraken accepts the key {hint}.")
        look.found("permissions", Verdict.FAILS, answer.sentence, REPLACE)
    elif isinstance(answer, CredentialsRefused):
        look.found("key", Verdict.FAILS, answer.sentence, REPLACE)
    elif isinstance(answer, KrakenError):
        invalid_nonce = answer.says("EAPI:Invalid nonce")
        verdict = Verdict.FAILS if invalid_nonce else Verdict.UNKNOWN
        look.found("key", verdict, answer.sentence, REPLACE if invalid_nonce else AGAIN)
    else:
        look.works = True
        _judge_rights(look, answer, now=clock.now())


def _told(answer: ApiKeyInfo | KrakenError, _credential_id: uuid.UUID) -> ApiKeyInfo:
    if isinstance(answer, KrakenError):
        raise answer
    return answer


def _judge_rights(look: _Look, info: ApiKeyInfo, *, now: datetime) -> None:
    facts = intake.facts_of(info)
    if look.key.iban and facts.iban != look.key.iban:
        look.found(
            "key", Verdict.FAILS, "The key now belongs to another Kraken account than the connected one.", REPLACE
        )
    else:
        look.found("key", Verdict.OK, f"It opens and Kraken accepts it ({look.key.api_key_hint}).")
    decision = key_policy.verdict(facts, now=now)
    if isinstance(decision, Refused):
        look.found("permissions", Verdict.FAILS, decision.sentence)
        return
    advice = "" if info.ip_allowlist else "Recommended: an IP allow-list with this server's address."
    look.found("permissions", Verdict.OK, "All that trading needs, and none that could take money out.", advice)


def _judge_balances(looks: Sequence[_Look], *, clock: Clock, patience: _Patience) -> None:
    """Read now, whatever is known already."""
    started = clock.now()
    waiting = {look.account.pk: look for look in looks}
    while waiting:
        accounts = [look.account for look in waiting.values()]
        balances.refresh(accounts, clock=clock, purpose=PURPOSE)
        for account in Account.objects.filter(pk__in=waiting).select_related("user__risk"):
            if account.balances_tried_at is not None and account.balances_tried_at >= started:
                waiting.pop(account.pk).account = account
        if waiting and not patience.pause():
            break
    worths = equity.worth_of([look.account for look in looks], now=clock.now())
    for look in looks:
        account, worth = look.account, worths[look.account.pk]
        if account.pk in waiting:
            look.found("balance", Verdict.UNKNOWN, "The key was busy or had spent its rate budget.", AGAIN)
        elif account.balances_error:
            look.found("balance", Verdict.FAILS, f"It cannot be read: {account.balances_error}", AGAIN)
        elif worth.equity is None or worth.cash is None or worth.free_cash is None:
            look.found("balance", Verdict.UNKNOWN, "It was read, but a held coin has no known price.", AGAIN)
        else:
            look.found(
                "balance",
                Verdict.OK,
                f"{_dollars(worth.free_cash)} free of {_dollars(worth.cash)}, equity {_dollars(worth.equity)}, as of "
                f"{account.balances_as_of:%Y-%m-%d %H:%M:%S} UTC.",
            )


def _judge_trades(look: _Look, answer: TradesPage | KrakenError | None) -> None:
    if answer is None:
        look.found("trades", Verdict.UNKNOWN, "The key was busy or had spent its rate budget.", AGAIN)
    elif isinstance(answer, KrakenError):
        look.found("trades", Verdict.FAILS, f"The trade history cannot be read: {answer.sentence}", AGAIN)
    else:
        count = answer.count if answer.count is not None else len(answer.trades)
        look.found("trades", Verdict.OK, f"The trade history can be read; it holds {count} executions.")


def _dollars(amount: Money) -> str:
    return f"${amount.value:,.2f}"
