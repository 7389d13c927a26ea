from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.services import vault_keys
from nija import checks


def _ids(messages: list[checks.CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


@pytest.fixture
def production(settings: Settings, tmp_path: Path) -> Settings:
    settings.DEVELOPMENT = False
    settings.NIJA_DATA_DIR = tmp_path
    settings.NIJA_PROCESS = ""
    return settings


def test_a_sound_production_installation_passes(production: Settings) -> None:
    assert _ids(checks.development_keys() + checks.vault() + checks.real_money() + checks.open_hosts()) == []


def test_the_development_secret_key_is_refused_in_production(production: Settings) -> None:
    production.SECRET_KEY = production.DEVELOPMENT_SECRET_KEY
    assert _ids(checks.development_keys()) == ["nija.E001"]


def test_keys_that_up_generated_are_refused_in_production(production: Settings, tmp_path: Path) -> None:
    generated = {"SECRET_KEY": production.SECRET_KEY, "NIJA_VAULT_PUBLIC_KEY": production.NIJA_VAULT_PUBLIC_KEY}
    (tmp_path / "secrets.json").write_text(json.dumps(generated))
    assert _ids(checks.development_keys()) == ["nija.E001", "nija.E002"]


def test_a_missing_public_key_is_refused_in_production_and_tolerated_in_development(
    production: Settings,
) -> None:
    production.NIJA_VAULT_PUBLIC_KEY = ""
    assert _ids(checks.vault()) == ["nija.E003"]
    production.DEVELOPMENT = True
    assert _ids(checks.vault()) == []


def test_vault_keys_that_do_not_belong_together_are_refused(production: Settings) -> None:
    production.NIJA_VAULT_PUBLIC_KEY = vault_keys.generate_key_pair()[0]
    assert _ids(checks.vault()) == ["nija.E003"]


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_a_process_that_must_not_decrypt_is_refused_the_private_key(production: Settings, name: str) -> None:
    production.NIJA_PROCESS = name
    assert _ids(checks.vault()) == ["nija.E004"]


def test_live_trading_on_sqlite_is_refused(production: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    production.LIVE_TRADING = True
    monkeypatch.setitem(production.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert _ids(checks.real_money()) == ["nija.E005"]


def test_keys_are_never_used_over_plain_http_to_another_machine(production: Settings) -> None:
    production.VENUE_IS_LOCAL = False
    production.KRAKEN_API_URL = "http://kraken.example"
    assert _ids(checks.real_money()) == ["nija.E006"]


def test_a_wildcard_host_is_refused(production: Settings) -> None:
    production.ALLOWED_HOSTS = ["*"]
    assert _ids(checks.open_hosts()) == ["nija.E007"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "MASTER_STRATEGY",
            "apx",
            "MASTER_STRATEGY cannot be used: no strategy is called 'apx'; known: apex, breakout.",
        ),
        ("MASTER_CANDLE_MINUTES", 7, "MASTER_CANDLE_MINUTES is one of Kraken's intervals: 1, 5, 15, 30, 60, "),
        ("MASTER_PAIRS", ["BTC-USD", "btcusd"], "MASTER_PAIRS are names such as BTC-USD, and 'btcusd' is not."),
        ("MASTER_PAIRS", [], "MASTER_PAIRS are names such as BTC-USD, and there is none."),
        ("MASTER_ENTRY_NOTIONAL_PERCENT", "twelve", "MASTER_ENTRY_NOTIONAL_PERCENT is above 0 and at most 100, not "),
        ("MASTER_ENTRY_NOTIONAL_PERCENT", "0", "MASTER_ENTRY_NOTIONAL_PERCENT is above 0 and at most 100, not '0'."),
        ("MASTER_ENTRY_NOTIONAL_PERCENT", "101", "MASTER_ENTRY_NOTIONAL_PERCENT is above 0 and at most 100, not "),
    ],
)
def test_what_the_master_cannot_trade_by_is_refused_at_the_start(
    settings: Settings, name: str, value: object, sentence: str
) -> None:
    assert checks.master() == []
    setattr(settings, name, value)
    (refusal,) = checks.master()
    assert refusal.msg.startswith(sentence)
