"""Pure rules of one account's trading: no Django, no I/O, no clock."""
