"""Whose account is whose."""

from __future__ import annotations

from accounts.models import User
from trading.models import Account

#: What no account has.
NOBODYS = 0


def id_of(user: User) -> int:
    """The user's own account, by a statement of its own; `NOBODYS` when there is none.

    With its id in hand the database knows how long its history is and reads one page of it in the order of an index. Through
    a join it would expect everybody's to be equally short, and sort a long one whole.
    """
    return Account.objects.filter(user=user).values_list("pk", flat=True).first() or NOBODYS
