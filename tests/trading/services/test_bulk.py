"""One row or many: what `among` no longer selects stays as it is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.trading.services import master_books
from trading.models import Instrument
from trading.services.bulk import update_each

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_that_are_still_selected_get_their_own_values_and_the_others_keep_theirs(count: int) -> None:
    rows = [master_books.instrument(f"C{n}-USD") for n in range(count)]
    gone = master_books.instrument("GONE-USD")
    Instrument.objects.filter(pk=gone.pk).update(tradable=False)
    for n, row in enumerate([*rows, gone]):
        row.quantity_min = Decimal(n + 7)
    among = Instrument.objects.filter(tradable=True)

    assert update_each(among, rows, ["quantity_min"]) == count
    assert update_each(among, [gone], ["quantity_min"]) == 0
    assert update_each(among, [], ["quantity_min"]) == 0
    kept = dict(Instrument.objects.values_list("symbol", "quantity_min"))
    assert kept == {row.symbol: row.quantity_min for row in rows} | {"GONE-USD": Decimal(400)}
