"""What every list has in common: whose rows, which of them, newest first, in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import caller
from accounts.models import User
from trading.api.fields import InstantField, SymbolField
from trading.models import Account
from trading.selectors import accounts

PAGE = 50
PAGE_MAX = 200
EVERYBODY = "all"
#: Digits of the largest id that both databases take in a comparison.
ID_DIGITS_MAX = 18
Row = TypeVar("Row", bound=Model)


class NewestFirst(CursorPagination):
    page_size = PAGE
    page_size_query_param = "page_size"
    max_page_size = PAGE_MAX
    ordering = "-pk"

    def get_page_size(self, request: Request) -> int:
        """Raises ValidationError for what is no size; one that is too large is cut."""
        given = request.query_params.get(self.page_size_query_param)
        if given is None:
            return PAGE
        size = whole_number(given)
        if not size:
            raise ValidationError({self.page_size_query_param: [f"Write a number from 1 to {PAGE_MAX}."]})
        return min(size, PAGE_MAX)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Raises NotFound for a cursor that this list never gave."""
        cursor: Cursor | None = super().decode_cursor(request)
        position = cursor.position if cursor is not None else None
        if position is not None and whole_number(str(position)) is None:
            raise NotFound(self.invalid_cursor_message)
        return cursor


class ListQuery(serializers.Serializer[object]):
    """What a list may be asked for."""

    symbol = SymbolField(required=False)
    since = InstantField(required=False, help_text="At or after this instant.")
    until = InstantField(required=False, help_text="Before this instant.")


class AccountQuery(ListQuery):
    account = serializers.CharField(
        required=False,
        max_length=20,
        help_text="Operators: the id of an account, or `all` for the fleet. Left out: your own.",
    )


class ListView(GenericAPIView[Row]):
    """A list whose address takes only what `query` names. `lookups` says what each parameter means to the database."""

    pagination_class = NewestFirst
    filter_backends = []
    query: ClassVar[type[ListQuery]]
    lookups: ClassVar[Mapping[str, str]]

    def visible(self, user: User, account: str | None, /) -> QuerySet[Row]:
        """The rows this user may see; `account` is what an operator asked for. Raises Http404 and PermissionDenied."""
        raise NotImplementedError

    def asked(self, request: Request) -> dict[str, Any]:
        """The parameters of the address. Raises ValidationError."""
        given = request.query_params
        known = {*self.query().fields, "cursor", "page_size"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValidationError({name[:40]: ["There is no such parameter."] for name in unknown[:20]})
        # An empty text is something that was asked for wrongly; a form's empty field would be nothing at all.
        query = self.query(data=given.dict())
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)

    def found(self, request: Request) -> QuerySet[Row]:
        asked = self.asked(request)
        rows = self.visible(caller(request), asked.pop("account", None))
        return rows.filter(**{self.lookups[name]: value for name, value in asked.items()})

    def answer(self, request: Request) -> Response:
        """One page, newest first."""
        page = self.paginate_queryset(self.found(request))
        assert page is not None, "every list is in pages"
        return private(self.get_paginated_response(self.get_serializer(page, many=True).data))


def own_or_asked(user: User, account: str | None) -> dict[str, Any]:
    """The filter on `account` for what an address asked for; nobody but an operator learns which accounts exist.

    Raises Http404 and PermissionDenied.
    """
    if account is None:
        return {"account_id": accounts.id_of(user)}
    if account == EVERYBODY:
        if not user.is_staff:
            raise PermissionDenied("Only operators see other accounts.")
        return {"account__venue": settings.VENUE}
    number = whole_number(account)
    here = Account.objects.filter(venue=settings.VENUE)
    visible = here if user.is_staff else here.filter(user=user)
    if number is None or not visible.filter(pk=number).exists():
        raise Http404
    return {"account_id": number}


def whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX else None


def private(response: Response) -> Response:
    """Nothing between us and the caller keeps a copy."""
    response["Cache-Control"] = "no-store, private"
    return response
