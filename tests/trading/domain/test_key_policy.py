from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.key_policy import FORBIDDEN, REQUIRED, Accepted, KeyFacts, Refused, verdict

NOW = datetime(2026, 7, 1, tzinfo=UTC)
ENOUGH = frozenset(REQUIRED)


def _facts(permissions: frozenset[str] | None = ENOUGH, **changes: object) -> KeyFacts:
    return KeyFacts(**{"permissions": permissions, "nonce_window": 0, "iban": "AA1", **changes})  # type: ignore[arg-type]


def _refusal(facts: KeyFacts) -> str:
    decision = verdict(facts, now=NOW)
    assert isinstance(decision, Refused)
    return decision.sentence


def test_a_key_with_exactly_what_is_needed_is_accepted() -> None:
    assert verdict(_facts(), now=NOW) == Accepted()


@given(
    st.frozensets(
        st.sampled_from([*REQUIRED, *FORBIDDEN, "add-funds", "query-ledger", "create-ws-token", "something-new"])
    )
)
def test_a_key_is_accepted_exactly_when_it_has_all_that_is_required_and_nothing_forbidden(
    found: frozenset[str],
) -> None:
    wanted = found >= REQUIRED.keys() and not found & FORBIDDEN.keys()
    assert isinstance(verdict(_facts(found), now=NOW), Accepted) == wanted


@pytest.mark.parametrize("permission", FORBIDDEN)
def test_a_key_that_could_move_money_out_is_refused_by_the_name_kraken_shows(permission: str) -> None:
    sentence = _refusal(_facts(ENOUGH | {permission}))
    assert FORBIDDEN[permission] in sentence
    assert "Switch it off at Kraken" in sentence


@pytest.mark.parametrize("permission", REQUIRED)
def test_a_key_that_lacks_something_is_told_what(permission: str) -> None:
    sentence = _refusal(_facts(ENOUGH - {permission}))
    assert REQUIRED[permission] in sentence
    assert "Switch that on" in sentence


def test_unknown_permissions_are_refused() -> None:
    assert "did not say what this key may do" in _refusal(_facts(None))


def test_a_nonce_window_is_refused() -> None:
    assert "nonce window of 5" in _refusal(_facts(nonce_window=5))


def test_a_key_that_expires_within_a_week_and_one_of_an_unnamed_account_are_refused() -> None:
    assert "has expired" in _refusal(_facts(valid_until=NOW))
    assert "expires on 08 Jul 2026" in _refusal(_facts(valid_until=NOW + timedelta(days=7)))
    assert isinstance(verdict(_facts(valid_until=NOW + timedelta(days=7, seconds=1)), now=NOW), Accepted)
    assert "which account" in _refusal(_facts(iban=""))


def test_a_key_that_sees_only_certain_dates_is_refused() -> None:
    assert "query start or end date" in _refusal(_facts(sees_all=False))
