from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.kraken.errors import (
    CODE_LENGTH_MAX,
    CODES_MAX,
    CommandRejected,
    CredentialsRefused,
    KrakenError,
    NotPlaced,
    OutcomeUnknown,
    RateLimited,
    RateScope,
    Unparsable,
    classify,
)

# kraken-api.md section 5, every string: what it means for a read and for an order.
SAME_FOR_BOTH: dict[str, type[KrakenError]] = {
    "EAPI:Invalid key": CredentialsRefused,
    "EAPI:Invalid signature": CredentialsRefused,
    "EAPI:Invalid nonce": OutcomeUnknown,
    "EAPI:Rate limit exceeded": RateLimited,
    "EAPI:Bad request": CommandRejected,
    "EAPI:Feature disabled": CommandRejected,
    "EGeneral:Permission denied": CredentialsRefused,
    "EGeneral:Temporary lockout": RateLimited,
    "EGeneral:Invalid arguments": CommandRejected,
    "EGeneral:Invalid arguments:volume": CommandRejected,
    "EGeneral:Invalid arguments:Index unavailable": CommandRejected,
    "EGeneral:Unknown method": CommandRejected,
    "EGeneral:Too many requests": RateLimited,
    "EGeneral:Internal error": OutcomeUnknown,
    "EGeneral:Internal error:7": OutcomeUnknown,
    "EAccount:Invalid permissions": CommandRejected,
    "EAccount:Invalid permissions:STBL trading restricted for NL.": CommandRejected,
    "EAuth:Account temporary disabled": CredentialsRefused,
    "EAuth:Account unconfirmed": CredentialsRefused,
    "EAuth:Rate limit exceeded": RateLimited,
    "EAuth:Too many requests": RateLimited,
    "EAuth:Failed": CredentialsRefused,
    "ESession:Invalid session": CredentialsRefused,
    "ETrade:Invalid request": CommandRejected,
    "ETrade:User Locked": CredentialsRefused,
    "EDatabase:Internal error": OutcomeUnknown,
    "EQuery:Unknown asset pair": CommandRejected,
    "EQuery:Invalid asset pair": CommandRejected,
    "EQuery:Unknown asset": CommandRejected,
    "EBM:limit exceeded:CAL": CommandRejected,
    "EFunding:Max fee exceeded": CommandRejected,
    "EService:Unavailable": OutcomeUnknown,
    "EService:Busy": OutcomeUnknown,
    "EService:Deadline elapsed": OutcomeUnknown,
    "EService:Timeout": OutcomeUnknown,
    "EService:Market in cancel_only mode": OutcomeUnknown,
    "EService:Market in post_only mode": OutcomeUnknown,
    "EOrder:Insufficient funds": CommandRejected,
    "EOrder:Order minimum not met": CommandRejected,
    "EOrder:Cost minimum not met": CommandRejected,
    "EOrder:Tick size check failed": CommandRejected,
    "EOrder:Invalid price:XXBTZEUR price can only be specified up to 1 decimals.": CommandRejected,
    "EOrder:Rate limit exceeded": RateLimited,
    "EOrder:Domain rate limit exceeded": RateLimited,
    "EOrder:Orders limit exceeded": CommandRejected,
    "EOrder:Scheduled orders limit exceeded": CommandRejected,
    "EOrder:Post only order": CommandRejected,
    "EOrder:Unknown order": CommandRejected,
    "EOrder:Invalid order": CommandRejected,
    "EOrder:Duplicate order": OutcomeUnknown,
    "EOrder:Cancel pending": CommandRejected,
    "EOrder:Trading agreement required": CommandRejected,
    "EOrder:Cannot open position": CommandRejected,
    "EOrder:Cannot open opposing position": CommandRejected,
    "EOrder:Margin allowance exceeded": CommandRejected,
    "EOrder:Margin level too low": CommandRejected,
    "EOrder:Margin position size exceeded": CommandRejected,
    "EOrder:Insufficient margin": CommandRejected,
    "EOrder:Positions limit exceeded": CommandRejected,
    "EOrder:Unknown position": CommandRejected,
    "EOrder:Reduce only:Position is closed": OutcomeUnknown,
    # Not Kraken's words: nothing is known.
    "EAPI:Internal error": OutcomeUnknown,
    "ENovel:Something new": OutcomeUnknown,
    "no category": OutcomeUnknown,
    "EOrder:": OutcomeUnknown,
    "": OutcomeUnknown,
}


@pytest.mark.parametrize("order", [False, True], ids=["read", "order"])
@pytest.mark.parametrize(("code", "kind"), list(SAME_FOR_BOTH.items()), ids=list(SAME_FOR_BOTH))
def test_each_error_says_what_is_known_about_the_command(code: str, kind: type[KrakenError], *, order: bool) -> None:
    error = classify([code], order=order)
    assert type(error) is kind
    assert error.codes == (code,)
    assert error.sentence.endswith(".")
    assert error.certainly_not_placed is (kind is not OutcomeUnknown)


def test_throttling_refuses_a_read_until_the_stated_second() -> None:
    error = classify(["EService: Throttled: 1763800123"])
    assert isinstance(error, RateLimited)
    assert error.scope is RateScope.SERVICE
    assert error.until == datetime.fromtimestamp(1763800123, UTC)


def test_throttling_proves_nothing_about_an_order() -> None:
    error = classify(["EService: Throttled: 1763800123"], order=True)
    assert type(error) is OutcomeUnknown
    assert error.until == datetime.fromtimestamp(1763800123, UTC)


def test_throttling_without_a_time_has_no_end() -> None:
    assert classify(["EService:Throttled"]).until is None


@pytest.mark.parametrize(
    ("code", "scope"),
    [
        ("EAPI:Rate limit exceeded", RateScope.KEY),
        ("EOrder:Rate limit exceeded", RateScope.PAIR),
        ("EOrder:Domain rate limit exceeded", RateScope.DOMAIN),
        ("EGeneral:Too many requests", RateScope.SERVICE),
        ("EGeneral:Temporary lockout", RateScope.LOCKOUT),
    ],
)
def test_a_rate_limit_names_whom_it_holds_back(code: str, scope: RateScope) -> None:
    error = classify([code])
    assert isinstance(error, RateLimited)
    assert error.scope is scope


def test_an_empty_error_list_is_no_proof_of_anything() -> None:
    assert type(classify([], order=True)) is OutcomeUnknown


@pytest.mark.parametrize("codes", list(itertools.permutations(["EOrder:Insufficient funds", "EService:Busy"])))
def test_one_doubtful_code_among_refusals_makes_the_outcome_unknown(codes: tuple[str, ...]) -> None:
    assert type(classify(codes, order=True)) is OutcomeUnknown


def test_spaces_and_case_do_not_change_the_meaning() -> None:
    assert isinstance(classify([" EAPI : invalid KEY "]), CredentialsRefused)


def test_an_error_says_its_code_with_or_without_the_extra_part() -> None:
    error = classify(["EGeneral:Invalid arguments:volume"])
    assert error.says("EGeneral:Invalid arguments")
    assert error.says("EGeneral:Invalid arguments:volume")
    assert not error.says("EGeneral:Invalid")


def test_every_kind_that_is_certain_is_caught_as_not_placed() -> None:
    assert issubclass(RateLimited, NotPlaced)
    assert issubclass(CredentialsRefused, NotPlaced)
    assert issubclass(CommandRejected, NotPlaced)
    assert issubclass(Unparsable, OutcomeUnknown)
    assert not issubclass(OutcomeUnknown, NotPlaced)


@given(st.lists(st.text()), st.booleans())
def test_any_list_of_texts_is_classified_and_cut_to_bounds(codes: list[str], order: bool) -> None:
    error = classify(codes, order=order)
    assert len(error.codes) <= CODES_MAX
    assert all(len(code) <= CODE_LENGTH_MAX for code in error.codes)


@given(st.lists(st.sampled_from(sorted(SAME_FOR_BOTH)), min_size=1, max_size=5))
def test_certainty_needs_every_code_to_be_certain(codes: list[str]) -> None:
    certain = all(SAME_FOR_BOTH[code] is not OutcomeUnknown for code in codes)
    assert classify(codes, order=True).certainly_not_placed is certain
