"""System checks: what must not be true of an installation. `manage.py check --deploy` runs them all, workers and beat some."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks

from accounts.services import vault_keys
from trading.domain.money import AmountError, parse_decimal

SECRET_KEY_CHARACTERS_MIN = 50
#: The intervals for which Kraken has candles.
CANDLE_MINUTES = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
PAIR_NAME = re.compile(r"[A-Z0-9.]{1,16}-USD", re.ASCII)
KEYLESS_PROCESSES = frozenset({"web", "worker", "beat"})
#: What workers and beat refuse to start with. Not what only the strategy stumbles over: exits are planned without it.
AT_START = "nija_start"


def at_start(**_signal: Any) -> None:
    """Receiver of Celery's import_modules, which workers and beat send as they start."""
    found = [message for message in run_checks(tags=[AT_START]) if message.is_serious()]
    if found:
        # Celery would log any other exception and go on.
        raise SystemExit("\n".join(map(str, found)))


def can_open_keys(*, instance: Any, **_signal: Any) -> None:
    """Receiver of celeryd_after_setup: a worker whose queues need opened keys would refuse every sale without the vault's key."""
    # Imported late: it is of no use to a process that starts no worker.
    from nija import processes

    names = (processes.WORKER_QUEUES[name].split(",") for name in processes.HOLDERS_OF_THE_PRIVATE_KEY)
    needing = {queue for queues in names for queue in queues} & set(instance.app.amqp.queues.consume_from)
    if needing and not settings.NIJA_VAULT_PRIVATE_KEY:
        queues = ", ".join(sorted(needing))
        raise SystemExit(f"(nija.E012) NIJA_VAULT_PRIVATE_KEY is not set, and the work of {queues} opens API keys.")


@register(Tags.security, AT_START)
def development_keys(**_options: Any) -> list[CheckMessage]:
    """Keys that `up` generated for one machine, or that stand in this source, protect nothing in production."""
    if settings.DEVELOPMENT:
        return []
    found: list[CheckMessage] = []
    generated = _generated_secrets()
    if settings.SECRET_KEY in {settings.DEVELOPMENT_SECRET_KEY, generated.get("SECRET_KEY")}:
        found.append(Error("SECRET_KEY is a development key; make one for production.", id="nija.E001"))
    if len(settings.SECRET_KEY) < SECRET_KEY_CHARACTERS_MIN:
        found.append(Error(f"SECRET_KEY has less than {SECRET_KEY_CHARACTERS_MIN} random characters.", id="nija.E001"))
    if settings.NIJA_VAULT_PUBLIC_KEY and generated.get("NIJA_VAULT_PUBLIC_KEY") == settings.NIJA_VAULT_PUBLIC_KEY:
        found.append(
            Error(
                "The vault keys are the development ones that `manage.py up` generated.",
                hint="Generate a pair for production and keep the private key on the execution machines only.",
                id="nija.E002",
            )
        )
    return found


@register(Tags.security, AT_START)
def vault(**_options: Any) -> list[CheckMessage]:
    if not settings.NIJA_VAULT_PUBLIC_KEY:
        if settings.DEVELOPMENT:
            # A development shell that only looks something up needs no vault.
            return []
        return [Error("NIJA_VAULT_PUBLIC_KEY is not set: no Kraken key can be stored.", id="nija.E003")]
    problem = vault_keys.problem()
    found: list[CheckMessage] = [Error(problem, id="nija.E003")] if problem else []
    if settings.NIJA_VAULT_PRIVATE_KEY and settings.NIJA_PROCESS in KEYLESS_PROCESSES:
        found.append(
            Error(
                f"The {settings.NIJA_PROCESS} process holds NIJA_VAULT_PRIVATE_KEY; only execution, booking and exits may.",
                id="nija.E004",
            )
        )
    return found


@register(Tags.security, AT_START)
def real_money(**_options: Any) -> list[CheckMessage]:
    """Real orders need PostgreSQL and an encrypted way to the exchange."""
    found: list[CheckMessage] = []
    if settings.LIVE_TRADING and settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
        found.append(Error("LIVE_TRADING=true needs PostgreSQL: set DATABASE_URL.", id="nija.E005"))
    if not settings.VENUE_IS_LOCAL and urlsplit(settings.KRAKEN_API_URL).scheme != "https":
        found.append(Error("KRAKEN_API_URL must start with https://, since keys are used there.", id="nija.E006"))
    return found


@register(Tags.security)
def master(**_options: Any) -> list[CheckMessage]:
    """The master's strategy and how it trades; a cycle would meet each of these only when it runs."""
    # Imported late: numpy and the indicators are for the process that decides, and this module is loaded by all.
    from trading.strategy import registry

    found: list[CheckMessage] = []
    try:
        registry.get(settings.MASTER_STRATEGY)
    except registry.UnknownStrategyError as error:
        found.append(Error(f"MASTER_STRATEGY cannot be used: {error}.", id="nija.E008"))
    if settings.MASTER_CANDLE_MINUTES not in CANDLE_MINUTES:
        lengths = ", ".join(map(str, CANDLE_MINUTES))
        found.append(Error(f"MASTER_CANDLE_MINUTES is one of Kraken's intervals: {lengths}.", id="nija.E009"))
    wrong = [name for name in settings.MASTER_PAIRS if not PAIR_NAME.fullmatch(name)]
    if wrong or not settings.MASTER_PAIRS:
        named = f"{wrong[0]!r} is not" if wrong else "there is none"
        found.append(Error(f"MASTER_PAIRS are names such as BTC-USD, and {named}.", id="nija.E010"))
    try:
        share = parse_decimal(settings.MASTER_ENTRY_NOTIONAL_PERCENT)
    except AmountError:
        share = Decimal(0)
    if not 0 < share <= 100:
        given = settings.MASTER_ENTRY_NOTIONAL_PERCENT
        found.append(Error(f"MASTER_ENTRY_NOTIONAL_PERCENT is above 0 and at most 100, not {given!r}.", id="nija.E011"))
    return found


@register(Tags.security, deploy=True)
def open_hosts(**_options: Any) -> list[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        return [Error("ALLOWED_HOSTS holds *; name the hosts that NIJA serves.", id="nija.E007")]
    return []


def _generated_secrets() -> dict[str, str]:
    """What `manage.py up` keeps in this data directory; empty when it never ran here or is not ours to read."""
    try:
        content: dict[str, str] = json.loads((settings.NIJA_DATA_DIR / "secrets.json").read_text())
    except (OSError, ValueError):
        return {}
    return content
