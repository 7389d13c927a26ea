from trading.models.account import Account, Control, Lane, Role, Venue
from trading.models.book import (
    Adjustment,
    AdjustmentKind,
    AssetBalance,
    Execution,
    Position,
    Signal,
    SignalKind,
)
from trading.models.history import EquityPeak, EquityPoint, Event, EventKind, Inspection, InspectionKind, Pulse
from trading.models.market import Candle, Instrument, MarketPrice
from trading.models.master import Candidate, EntryPlan, Levels, Schedule, StrategyCycle
from trading.models.order import Order, OrderKind, OrderOrigin

__all__ = [
    "Account",
    "Adjustment",
    "AdjustmentKind",
    "AssetBalance",
    "Candidate",
    "Candle",
    "Control",
    "EntryPlan",
    "EquityPeak",
    "EquityPoint",
    "Event",
    "EventKind",
    "Execution",
    "Inspection",
    "InspectionKind",
    "Instrument",
    "Lane",
    "Levels",
    "MarketPrice",
    "Order",
    "OrderKind",
    "OrderOrigin",
    "Position",
    "Pulse",
    "Role",
    "Schedule",
    "Signal",
    "SignalKind",
    "StrategyCycle",
    "Venue",
]
