from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.kraken import wire
from trading.kraken.errors import CommandRejected, OutcomeUnknown, Unparsable
from trading.kraken.transport import Answer


def _result(body: bytes, *, status: int = 200, order: bool = True) -> object:
    return wire.result(Answer(status=status, body=body), order=order)


@pytest.mark.parametrize("status", [204, 302, 400, 403, 429, 500, 502, 504, 520])
def test_anything_but_http_200_is_an_unknown_outcome(status: int) -> None:
    with pytest.raises(OutcomeUnknown) as unknown:
        _result(b'{"error":["EOrder:Insufficient funds"]}', status=status)
    assert unknown.value.codes == (f"HTTP {status}",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b'{"error":[],"result":{',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b'{"result":{}}',
        b'{"error":null,"result":{}}',
        b'{"error":[7],"result":{}}',
        b'{"error":"EOrder:Insufficient funds"}',
        b'{"error":[]}',
        b'{"error":[],"result":null}',
        b'{"error":[],"result":[]}',
        b'{"error":[],"result":{"a":NaN}}',
        b'{"error":[],"result":{"a":Infinity}}',
        b"[" * 200_000,
    ],
)
def test_a_body_that_is_not_krakens_envelope_is_unparsable(body: bytes) -> None:
    with pytest.raises(Unparsable) as unparsable:
        _result(body)
    assert unparsable.value.__context__ is None


def test_a_refusal_with_an_empty_result_is_a_refusal() -> None:
    with pytest.raises(CommandRejected):
        _result(b'{"error":["EOrder:Insufficient funds"],"result":{}}')


def test_a_refusal_that_also_names_an_order_is_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown):
        _result(b'{"error":["EOrder:Insufficient funds"],"result":{"txid":["OUF4EM-FRGI2-MQMWZD"]}}')


def test_a_warning_beside_a_result_does_not_spoil_it() -> None:
    assert _result(b'{"error":["WGeneral:Slow"],"result":{"a":1}}') == {"a": 1}


def test_a_warning_without_a_result_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        _result(b'{"error":["WGeneral:Slow"]}')


def test_numbers_never_pass_through_a_float() -> None:
    found = wire.result(Answer(status=200, body=b'{"error":[],"result":{"a":0.1234567890123456789}}'), order=False)
    assert found["a"] == Decimal("0.1234567890123456789")


@pytest.mark.parametrize("value", [None, True, [], {}, "", "abc", "NaN", "Infinity", "1e99", "-1", 1.5, "9" * 100])
def test_what_is_not_a_usable_amount_is_unparsable(value: object) -> None:
    with pytest.raises(Unparsable):
        wire.number(value, "amount")


def test_a_negative_number_is_taken_only_where_it_makes_sense() -> None:
    assert wire.number("-0.5", "fee", negative=True) == Decimal("-0.5")


@pytest.mark.parametrize("value", ["1.5", Decimal("0.1")])
def test_a_fraction_is_no_whole_number(value: object) -> None:
    with pytest.raises(Unparsable):
        wire.whole(value, "count")


def test_an_instant_keeps_its_microseconds() -> None:
    assert wire.instant(Decimal("1763799000.8974"), "opentm") == datetime(2025, 11, 22, 8, 10, 0, 897400, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", 0, "0", Decimal("0")])
def test_zero_and_null_are_no_instant(value: object) -> None:
    assert wire.optional_instant(value, "closetm") is None


def test_a_time_beyond_all_calendars_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        wire.instant("99999999999999", "opentm")


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)))
def test_every_instant_survives_the_way_over_the_wire(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    elapsed = aware - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = f"{elapsed.days * 86_400 + elapsed.seconds}.{elapsed.microseconds:06d}"
    assert wire.instant(seconds, "at") == aware


@given(st.binary(max_size=200), st.integers(100, 599), st.booleans())
def test_arbitrary_bytes_prove_nothing(body: bytes, status: int, order: bool) -> None:
    with pytest.raises(OutcomeUnknown):
        _result(body, status=status, order=order)
