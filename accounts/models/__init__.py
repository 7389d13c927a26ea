"""Users, what they may risk, and their sealed Kraken keys."""

from __future__ import annotations

from accounts.models.credential import Credential, KeyCheck
from accounts.models.risk import RiskSettings
from accounts.models.user import User

__all__ = ["Credential", "KeyCheck", "RiskSettings", "User"]
