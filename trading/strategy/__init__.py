"""Pure trading decisions: numbers in, decisions out. No Django, no I/O, no clock, no chance."""
