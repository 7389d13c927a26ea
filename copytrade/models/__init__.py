"""What each signal meant for each follower."""

from copytrade.models.copies import Cap, CloseInstruction, CopyOrder, CopyStatus, FanOut, SkipReason

__all__ = ["Cap", "CloseInstruction", "CopyOrder", "CopyStatus", "FanOut", "SkipReason"]
