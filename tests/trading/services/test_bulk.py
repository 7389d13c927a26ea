"""Writing rows that differ: the fast statement leaves what Django's slow one leaves, and tells whom it reached."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as django_timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Credential, User
from tests.trading.services import master_books
from trading.domain.order_state import OrderEvent, OrderState
from trading.models import Account, Instrument, Lane, Order, OrderKind, Role
from trading.services import bulk, orders
from trading.services.bulk import update_each

pytestmark = pytest.mark.django_db
ROWS = 4

whole_numbers = st.integers(-(2**63), 2**63 - 1)
decimals = st.decimals(min_value=-(10**20), max_value=10**20, places=18, allow_nan=False, allow_infinity=False)
instants = st.datetimes(
    datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])
)
# PostgreSQL keeps no NUL and no half of a surrogate pair.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False, width=64)
OF_ORDERS = {
    "quantity": decimals,
    "limit_price": st.none() | decimals,
    "refusal": texts,
    "nonce": st.none() | whole_numbers,
    "sent_at": st.none() | instants,
    "lookups_empty": st.integers(0, 32_767),
    "lane": st.none() | st.integers(0, ROWS - 1),
}
OF_LANES = {"last_nonce": whole_numbers, "owner": texts, "needs_fence": st.booleans(), "rate_points": floats}
OF_KEYS = {
    "permissions": st.lists(texts, max_size=3),
    "sealed": st.binary(max_size=20),
    "expires_at": st.none() | instants,
}


def lines(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=ROWS)


def accounts() -> list[Account]:
    now = django_timezone.now()
    users = [User.objects.create_user(email=f"a{n}@nija.example", password="x") for n in range(ROWS)]
    return [
        Account.objects.create(user=user, role=Role.FOLLOWER, venue="v", iban=user.email, created_at=now)
        for user in users
    ]


def key(account: Account) -> Credential:
    return Credential.objects.create(
        user=account.user,
        venue="v",
        version=1,
        status=Credential.Status.ACTIVE,
        fingerprint=f"f{account.pk}",
        api_key_hint="h",
        sealed=b"",
        created_at=account.created_at,
    )


def keys() -> list[Credential]:
    return [key(account) for account in accounts()]


def ready_orders(state: OrderState = OrderState.READY) -> list[Order]:
    now, instrument = django_timezone.now(), master_books.instrument()
    return [
        Order.objects.create(
            account=account,
            instrument=instrument,
            kind=OrderKind.ENTRY,
            origin="copy",
            side="buy",
            quantity=Decimal(1),
            state=state,
            created_at=now,
        )
        for account in accounts()
    ]


def stored(model: type[Any], fields: list[str]) -> dict[Any, list[Any]]:
    rows = model.objects.values_list("pk", *fields)
    return {pk: [bytes(v) if isinstance(v, memoryview) else v for v in values] for pk, *values in rows}


def assert_as_the_slow_form(rows: list[Any], values: list[dict[str, Any]], fields: list[str]) -> None:
    model = type(rows[0])
    changed = rows[: len(values)]
    before = stored(model, fields)
    for row, line in zip(changed, values, strict=True):
        for name, value in line.items():
            setattr(row, name, value)
    assert update_each(changed, fields) == {row.pk for row in changed}
    fast = stored(model, fields)
    for row in rows[len(values) :]:
        assert fast[row.pk] == before[row.pk], "rows that were not named keep what they had"
    model.objects.bulk_update(changed, fields)
    slow = stored(model, fields)
    assert fast == slow


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=lines(OF_ORDERS))
def test_decimals_instants_texts_and_nulls_are_written_as_djangos_own_statement_writes_them(
    db: None, values: list[dict[str, Any]]
) -> None:
    rows = list(Order.objects.order_by("pk")) or ready_orders()
    lanes = list(Lane.objects.order_by("pk")) or [Lane.objects.create(credential=key(row.account)) for row in rows]
    chosen = [line | {"lane": None if line["lane"] is None else lanes[line["lane"]]} for line in values]
    assert_as_the_slow_form(rows, chosen, list(OF_ORDERS))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=lines(OF_LANES))
def test_whole_numbers_floats_and_booleans_are_too(db: None, values: list[dict[str, Any]]) -> None:
    rows = list(Lane.objects.order_by("pk")) or [Lane.objects.create(credential=key) for key in keys()]
    assert_as_the_slow_form(rows, values, list(OF_LANES))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=lines(OF_KEYS))
def test_rows_named_by_a_uuid_and_lists_and_bytes_are_too(db: None, values: list[dict[str, Any]]) -> None:
    rows = list(Credential.objects.order_by("pk")) or keys()
    assert_as_the_slow_form(rows, values, list(OF_KEYS))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=lines({name: values for name, values in OF_ORDERS.items() if name != "lane"}))
def test_new_rows_are_written_as_djangos_own_statement_writes_them_and_know_their_keys(
    db: None, values: list[dict[str, Any]]
) -> None:
    known = list(Order.objects.order_by("pk")[:ROWS]) or ready_orders()
    fields = [field.name for field in Order._meta.concrete_fields if field.name not in ("id", "client_order_id")]

    def new() -> list[Order]:
        same = {"kind": "exit", "origin": "outside", "side": "sell", "state": "skipped"}
        return [
            Order(account=row.account, instrument=row.instrument, created_at=row.created_at, **same, **line)
            for row, line in zip(known, values, strict=False)
        ]

    fast, slow = new(), new()
    bulk.insert_each(fast)
    Order.objects.bulk_create(slow)
    written = stored(Order, fields)
    assert [written[row.pk] for row in fast] == [written[row.pk] for row in slow]
    assert [str(Order.objects.get(client_order_id=row.client_order_id).pk) for row in fast] == [
        str(row.pk) for row in fast
    ]
    fast[0].reason = "saved again"
    fast[0].save()
    assert Order.objects.filter(reason="saved again").get().pk == fast[0].pk
    Order.objects.filter(kind="exit").delete()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_that_still_have_the_value_get_their_own_and_the_others_keep_theirs(count: int) -> None:
    rows = [master_books.instrument(f"C{n}-USD") for n in range(count)]
    gone = master_books.instrument("GONE-USD")
    Instrument.objects.filter(pk=gone.pk).update(tradable=False)
    for n, row in enumerate([*rows, gone]):
        row.quantity_min = Decimal(n + 7)
    among = {"tradable": [True]}

    assert update_each([*rows, gone], ["quantity_min"], only=among) == {row.pk for row in rows}
    assert update_each([gone], ["quantity_min"], only=among) == set()
    assert update_each([], ["quantity_min"], only=among) == set()
    kept = dict(Instrument.objects.values_list("symbol", "quantity_min"))
    assert kept == {row.symbol: row.quantity_min for row in rows} | {"GONE-USD": Decimal(400)}


def test_it_is_one_statement_whatever_the_number_of_rows() -> None:
    rows = [master_books.instrument(f"C{n}-USD") for n in range(9)]
    for some in (rows[:1], rows):
        with CaptureQueriesContext(connection) as written:
            update_each(some, ["quantity_min", "tick_size"])
        assert len(written) == 1


def test_more_rows_than_one_statement_of_sqlite_takes_are_all_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "SQLITE_PARAMETERS_MAX", 7)
    rows = [master_books.instrument(f"C{n}-USD") for n in range(8)]
    for n, row in enumerate(rows):
        row.quantity_min = Decimal(n)
    assert update_each(rows, ["quantity_min"]) == {row.pk for row in rows}
    assert list(Instrument.objects.order_by("pk").values_list("quantity_min", flat=True)) == [
        Decimal(n) for n in range(8)
    ]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no length of texts")
def test_a_text_that_is_too_long_is_refused_and_not_cut() -> None:
    long = keys()[0]
    long.api_key_hint = "x" * 17
    with pytest.raises(DataError):
        update_each([long], ["api_key_hint"])


def test_a_related_row_that_was_not_saved_is_refused_and_not_forgotten() -> None:
    order = ready_orders()[0]
    order.lane = Lane(credential_id=uuid.uuid4())
    with pytest.raises(ValueError, match="unsaved related object"):
        update_each([order], ["lane"])


def test_a_move_tells_which_orders_it_moved_and_moving_every_one_of_them_is_refused_otherwise() -> None:
    rows = ready_orders()
    Order.objects.filter(pk=rows[0].pk).update(state=OrderState.SKIPPED)
    for row in rows:
        row.nonce = row.pk
    with pytest.raises(orders.LostRace):
        orders.move_every(rows[:2], OrderEvent.SEND, fields=["nonce"])
    assert orders.move_each(rows[2:], OrderEvent.SEND, fields=["nonce"]) == {row.pk for row in rows[2:]}
    assert orders.move_each(rows, OrderEvent.SEND, fields=["nonce"]) <= {rows[1].pk}
    kept = dict(Order.objects.values_list("pk", "state"))
    assert kept[rows[0].pk] == OrderState.SKIPPED
    assert {kept[row.pk] for row in rows[1:]} == {OrderState.SENDING}
