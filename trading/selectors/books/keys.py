"""I13 as far as rows can show it: stored keys are sealed. That nobody can open them is proved by tests, not by a query."""

from __future__ import annotations

from django.conf import settings

from accounts.models import Credential
from trading.models import Account
from trading.selectors.books.reading import CHUNK
from trading.selectors.books.report import Check

#: An HPKE box adds 48 bytes to the shortest key and secret that are accepted (20 and 40 characters) and their JSON.
SEALED_MIN = 132


def checks() -> list[Check]:
    check = Check("I13", "stored keys are sealed and of this exchange", "keys")
    accounts = dict(Account.objects.values_list("user_id", "pk").iterator(CHUNK))
    active = Credential.objects.filter(status=Credential.Status.ACTIVE).defer("permissions").order_by("pk")
    for credential in active.iterator(CHUNK):
        check.looked_at += 1
        row, account = f"key {credential.pk}", accounts.get(credential.user_id)
        sealed = bytes(credential.sealed)
        if len(sealed) < SEALED_MIN or sealed.isascii():
            check.tell("what is stored does not look sealed", account=account, row=row)
        if credential.venue != settings.VENUE:
            check.tell("it was made on another exchange", account=account, row=row)
    return [check]
