"""Writing many rows in one statement. The only raw UPDATE and INSERT of NIJA.

Django's own bulk_update builds a CASE expression, which costs some fifty times what the rows do, and its bulk_create sends
every value of every row. `connections[…]` is looked up once for all values: `connection` would be, for each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connection, connections
from django.db.models import Field, ForeignKey, Model, QuerySet, Value

M = TypeVar("M", bound=Model)
T = TypeVar("T")
#: SQLite takes 32,766; more rows than these fill take another statement.
SQLITE_PARAMETERS_MAX = 30_000


def portions(items: Sequence[T], *, first: int, then: int) -> Iterator[Sequence[T]]:
    """A small portion first, so that what follows it begins soon, then large ones, which cost less each."""
    if items:
        yield items[:first]
    for start in range(first, len(items), then):
        yield items[start : start + then]


def update_each(
    changed: Collection[M], fields: Collection[str], *, only: Mapping[str, Collection[Any]] | None = None
) -> frozenset[Any]:
    """Write `fields` of these rows, each with its own values; the primary keys of those that were written.

    `only` names columns of the row and the values that each must still have, looked at when the row is locked: who came first
    wins, and what lost is not in the answer.
    """
    rows = sorted(changed, key=lambda row: row.pk)
    if not rows:
        return frozenset()
    meta = rows[0]._meta
    assert meta.pk is not None, "a row that is written has a primary key"
    columns: list[Field[Any, Any]] = [meta.pk, *(meta.get_field(name) for name in fields)]  # type: ignore[list-item]
    related = [field for field in columns if field.is_relation]
    for row in rows if related else ():
        # Refuses a related row that was not saved, which would be written as NULL.
        row._prepare_related_fields_for_save("update_each", fields=related)  # type: ignore[attr-defined]
    database = connections[connection.alias]
    values = [[field.get_db_prep_save(getattr(row, field.attname), database) for field in columns] for row in rows]
    conditions, wanted = _conditions(rows[0], only or {})
    at_once = len(values) if connection.vendor == "postgresql" else SQLITE_PARAMETERS_MAX // len(columns)
    written: set[Any] = set()
    for start in range(0, len(values), at_once):
        source, parameters = _source(columns, values[start : start + at_once])
        written |= _execute(rows[0], columns, source + conditions, [*parameters, *wanted])
    return frozenset(written)


def insert_for_each(model: type[M], rows: QuerySet[Any], values: Mapping[str, Any]) -> list[Any]:
    """Write one new `model` for each of `rows`, in one statement; their primary keys in the order of `rows`.

    `values` are what is the same for all of them, or expressions on a row; what is not named gets its default.
    """
    columns: list[str] = []
    expressions: list[Any] = []
    for field in model._meta.concrete_fields:
        if field.primary_key or (field.name not in values and field.get_default() is None):
            continue
        value = values.get(field.name, field.get_default())
        columns.append(connection.ops.quote_name(str(field.column)))
        is_expression = hasattr(value, "resolve_expression")
        expressions.append(value if is_expression else Value(value, output_field=_own_type(field)))
    select, parameters = rows.values_list(*expressions).query.sql_with_params()
    table, key = (connection.ops.quote_name(str(name)) for name in (model._meta.db_table, model._meta.pk.column))
    with connection.cursor() as cursor:
        # Names are those of our own models; every value is a parameter.
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) {select} RETURNING {key}", parameters)
        return [key for (key,) in cursor.fetchall()]


def insert_each(rows: Sequence[M]) -> None:
    """Write these new rows, each with its own values, in one statement, and give them their primary keys."""
    if not rows:
        return
    if connection.vendor != "postgresql":
        type(rows[0])._base_manager.bulk_create(rows)
        return
    meta, quote = rows[0]._meta, connection.ops.quote_name
    assert meta.pk is not None, "a row that is written has a primary key"
    columns = [field for field in meta.concrete_fields if not field.primary_key]
    database = connections[connection.alias]
    values = [[field.get_db_prep_save(field.pre_save(row, True), database) for row in rows] for field in columns]
    names = ", ".join(quote(str(field.column)) for field in columns)
    arrays = ", ".join(f"%s::{_array_type(field)}" for field in columns)
    table, key = quote(meta.db_table), quote(str(meta.pk.column))
    # Names are those of our own models; every value is a parameter.
    statement = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) RETURNING {key}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        for row, (own,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = own
            row._state.adding, row._state.db = False, connection.alias


def _execute(row: Model, columns: Sequence[Field[Any, Any]], rest: str, parameters: Sequence[Any]) -> set[Any]:
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(str(field.column))} = v.column{n}" for n, field in enumerate(columns[1:], start=2))
    key = quote(str(columns[0].column))
    # Names are those of our own models; every value is a parameter.
    statement = f"UPDATE {quote(row._meta.db_table)} SET {assignments} {rest} RETURNING {key}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {columns[0].to_python(key) for (key,) in cursor.fetchall()}


def _source(columns: Sequence[Field[Any, Any]], values: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """The rows as a table `v` and the join with it; its columns are called as SQLite calls them by itself."""
    join = f"WHERE {_column(columns[0])} = v.column1"
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{_array_type(field)}" for field in columns)
        names = ", ".join(f"column{n}" for n in range(1, len(columns) + 1))
        return f"FROM unnest({arrays}) AS v ({names}) {join}", [list(column) for column in zip(*values, strict=True)]
    row = f"({', '.join(['%s'] * len(columns))})"
    return f"FROM (VALUES {', '.join([row] * len(values))}) AS v {join}", [value for row in values for value in row]


def _own_type(field: Field[Any, Any]) -> Field[Any, Any]:
    """Of a foreign key, the type of what it names."""
    return field.target_field if isinstance(field, ForeignKey) else field


def _array_type(field: Field[Any, Any]) -> str:
    """Without a length, since a cast to `varchar(10)` cuts what is longer instead of refusing it."""
    return re.sub(r"\(.*?\)", "", field.cast_db_type(connection) or "text") + "[]"


def _conditions(row: Model, only: Mapping[str, Collection[Any]]) -> tuple[str, list[Any]]:
    text, wanted = "", []
    for name, allowed in only.items():
        field: Field[Any, Any] = row._meta.get_field(name)  # type: ignore[assignment]
        text += f" AND {_column(field)} IN ({', '.join(['%s'] * len(allowed))})"
        wanted += [field.get_db_prep_save(value, connection) for value in allowed]
    return text, wanted


def _column(field: Field[Any, Any]) -> str:
    return f"{connection.ops.quote_name(field.model._meta.db_table)}.{connection.ops.quote_name(str(field.column))}"
