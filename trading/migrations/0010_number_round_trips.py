from decimal import Decimal

from django.db import migrations

ROWS_AT_ONCE = 500


def number_what_is_there(apps, schema_editor):
    """Walk every position's history in the order in which it was booked."""
    position_model = apps.get_model("trading", "Position")
    for position in position_model.objects.order_by("pk").iterator():
        managed, number, rows = Decimal(0), 0, {}
        for row, change in _history(apps, position):
            number += not managed
            managed += change
            row.round_trip = number
            rows.setdefault(type(row), []).append(row)
        for model, changed in rows.items():
            model.objects.bulk_update(changed, ["round_trip"], batch_size=ROWS_AT_ONCE)
        position_model.objects.filter(pk=position.pk).update(round_trip=number)


def _history(apps, position):
    """Executions and adjustments with what they changed. An adjustment is dated after the fills it knew."""
    mine = {"account_id": position.account_id, "instrument_id": position.instrument_id}
    executions = apps.get_model("trading", "Execution").objects.filter(**mine).order_by("pk")
    pending = list(apps.get_model("trading", "Adjustment").objects.filter(**mine).order_by("pk"))
    for execution in executions:
        while pending and pending[0].created_at <= execution.booked_at:
            yield _adjustment(pending.pop(0))
        yield execution, execution.quantity if execution.side == "buy" else -execution.quantity
    yield from map(_adjustment, pending)


def _adjustment(row):
    return row, row.managed_after - row.managed_before


class Migration(migrations.Migration):
    # By itself, so that the tables are not locked while it walks through them.

    dependencies = [
        ("trading", "0009_round_trips"),
    ]

    operations = [
        migrations.RunPython(number_what_is_there, migrations.RunPython.noop),
    ]
