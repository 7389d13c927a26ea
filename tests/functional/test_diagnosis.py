"""`manage.py diagnose` against a paper exchange: what Kraken is asked, what is said, and that no key is."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Credential, RiskSettings
from accounts.services import credentials
from nija import diagnosis as composed
from nija.diagnosis import Block, CannotAsk, Waiting
from tests.support.world import Trader, World
from trading.domain.key_policy import REQUIRED
from trading.models import Account, Inspection, InspectionKind, Venue
from trading.services import cycles, diagnosis, halts
from trading.services.diagnosis import Verdict

WORKERS = ("worker@here", "execution@here", "booking@here", "exits@here")
PERMISSIONS = [*REQUIRED]


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    made = make_world(market="pinned")
    made.settings.MASTER_PAIRS = ["BEAM-USD"]
    made.pin("BEAMUSD", bid="0.002917", ask="0.002918")
    return made


def ask(world: World, *emails: str, workers: tuple[str, ...] = WORKERS, engine: bool = True) -> dict[str, Block]:
    """Blocks by title, with the execution process played by the waiting shell's pauses."""

    def execution(_seconds: float) -> None:
        if engine:
            for row in Inspection.objects.filter(kind=InspectionKind.DIAGNOSIS, started_at=None):
                diagnosis.run(row.pk, clock=world.clock, sleep=world.move)

    waiting = Waiting(timeout_s=1, sleep=execution, ping=lambda: workers)
    blocks = composed.diagnose(emails, waiting=waiting, clock=world.clock)
    return {block.title.partition(" ")[0]: block for block in blocks}


def said(block: Block) -> dict[str, tuple[Verdict, str]]:
    return {check.name: (check.verdict, check.sentence) for check in block.checks}


def change_key(world: World, trader: Trader, **changes: Any) -> None:
    world.paper("POST", "/keys/update", api_key=trader.api_key, **changes)


def everything(blocks: dict[str, Block]) -> str:
    rows = Inspection.objects.values_list("report", flat=True)
    return repr(blocks) + repr(list(rows))


def test_a_healthy_installation_is_said_to_work_line_by_line_and_no_secret_is_told(world: World) -> None:
    world.join("master@nija.example", usd="60.534", role="master")
    ada = world.join("ada@nija.example", usd="84.5785")
    cycles.run_due_cycle(clock=world.clock)
    before = world.at_exchange(ada)["requests"]

    blocks = ask(world)

    assert list(blocks) == ["NIJA", "master@nija.example", "ada@nija.example"]
    adas = said(blocks["ada@nija.example"])
    assert list(adas) == ["key", "permissions", "balance", "trades", "copying"]
    assert {verdict for verdict, _ in adas.values()} == {Verdict.OK}
    assert adas["balance"][1].startswith("$84.58 free of $84.58, equity $84.58, as of 20")
    assert adas["trades"][1] == "The trade history can be read; it holds 0 executions."
    masters = said(blocks["master@nija.example"])
    assert "apex" in masters["strategy"][1]
    platform = said(blocks["NIJA"])
    assert platform["clock"][0] is Verdict.OK
    assert "answers; it is online" in platform["exchange"][1]
    assert {name for name, (verdict, _) in platform.items() if verdict is not Verdict.OK} == set()
    assert world.at_exchange(ada)["requests"] != before, "Kraken itself was asked"
    for key in Credential.objects.all():
        opened = credentials.open_credential(key.pk)
        for secret in (opened.api_key.reveal(), opened.api_secret.reveal(), key.fingerprint, bytes(key.sealed).hex()):
            assert secret not in everything(blocks)


def test_missing_and_forbidden_rights_are_named_and_end_entries_as_the_daily_look_does(world: World) -> None:
    ada, ben = world.join("ada@nija.example", usd="84"), world.join("ben@nija.example", usd="65")
    change_key(world, ada, permissions=[*PERMISSIONS, "withdraw-funds"])
    change_key(world, ben, permissions=PERMISSIONS[:-1])
    blocks = ask(world)
    verdict, sentence = said(blocks["ada@nija.example"])["permissions"]
    assert (verdict, "“Funds: Withdraw”" in sentence) == (Verdict.FAILS, True)
    assert "Cancel & close orders" in said(blocks["ben@nija.example"])["permissions"][1]
    assert said(blocks["ada@nija.example"])["copying"][0] is Verdict.FAILS
    assert Credential.objects.filter(entries_blocked_reason="").count() == 0
    change_key(world, ada, permissions=PERMISSIONS)
    world.move(60)
    again = ask(world, "ADA@nija.example")
    assert list(again) == ["NIJA", "ada@nija.example"]
    assert said(again["ada@nija.example"])["permissions"][0] is Verdict.OK
    assert said(again["ada@nija.example"])["copying"][0] is Verdict.OK


@pytest.mark.parametrize(
    ("error", "name", "verdict", "words"),
    [
        ("EAPI:Invalid key", "key", Verdict.FAILS, "does not know this API key"),
        ("EAPI:Invalid nonce", "key", Verdict.FAILS, "higher nonce"),
        ("EService:Unavailable", "key", Verdict.UNKNOWN, "not available"),
    ],
)
def test_what_kraken_says_against_a_key_is_told(
    world: World, error: str, name: str, verdict: Verdict, words: str
) -> None:
    ada = world.join("ada@nija.example", usd="84")
    match = {"endpoint": "GetApiKeyInfo", "api_key": ada.api_key}
    world.paper("POST", "/faults", kind=f"error:{error}", match=match, times=99)
    found = said(ask(world)["ada@nija.example"])
    assert found[name][0] is verdict
    assert words in found[name][1]
    assert "balance" not in found, "nothing more is asked with such a key"


def test_a_balance_and_a_history_that_cannot_be_read_are_told_by_name(world: World) -> None:
    world.join("ada@nija.example", usd="84")
    for endpoint in ("BalanceEx", "TradesHistory"):
        fault = {"kind": "error:EService:Unavailable", "match": {"endpoint": endpoint}, "times": 99}
        world.paper("POST", "/faults", **fault)
    found = said(ask(world)["ada@nija.example"])
    assert (found["key"][0], found["balance"][0], found["trades"][0]) == (Verdict.OK, Verdict.FAILS, Verdict.FAILS)


def test_a_key_without_rate_budget_is_waited_for(world: World) -> None:
    ada = world.join("ada@nija.example", usd="84")
    lane = ada.account.user.credentials.get().lane
    lane.rate_points, lane.rate_at = 15.0, world.clock.now()
    lane.save()
    found = said(ask(world)["ada@nija.example"])
    assert {verdict for verdict, _ in found.values()} == {Verdict.OK}


def test_a_key_that_stays_busy_is_unknown_and_not_called_broken(world: World) -> None:
    ada = world.join("ada@nija.example", usd="84")
    lane = ada.account.user.credentials.get().lane
    lane.blocked_until = world.clock.now() + timedelta(hours=1)
    lane.save()
    found = said(ask(world)["ada@nija.example"])
    assert found["key"] == (Verdict.UNKNOWN, f"The key {ada.account.user.credentials.get().api_key_hint} was busy or "
                            "had spent its rate budget.")  # fmt: skip


def test_an_exchange_in_maintenance_or_away_is_said_once_for_all(world: World) -> None:
    world.join("ada@nija.example", usd="84")
    world.paper("POST", "/status", status="maintenance")
    verdict, sentence = said(ask(world)["NIJA"])["exchange"]
    assert (verdict, "maintenance and takes no new orders" in sentence) == (Verdict.FAILS, True)
    world.settings.KRAKEN_API_URL = "http://127.0.0.1:9"
    blocks = ask(world)
    assert said(blocks["NIJA"])["exchange"][0] is Verdict.FAILS
    assert said(blocks["ada@nija.example"])["key"] == (
        Verdict.UNKNOWN,
        "Kraken does not answer, so nothing was asked.",
    )


def test_what_people_decided_is_off_and_fails_nothing(world: World) -> None:
    world.join("master@nija.example", usd="60", role="master")
    people = {name: world.join(f"{name}@nija.example", usd="84") for name in ("own", "off", "close")}
    cycles.run_due_cycle(clock=world.clock)
    halts.stop_account(people["own"].account, actor="own@nija.example", reason="holiday", clock=world.clock)
    RiskSettings.objects.filter(user=people["off"].account.user).update(state="off")
    RiskSettings.objects.filter(user=people["close"].account.user).update(state="close_only")
    halts.stop_platform(actor="operator@nija.example", reason="drill", clock=world.clock)
    world.settings.COPY_TRADING_MODE = "INDEPENDENT"
    blocks = ask(world)
    assert composed.bad(blocks.values()) == 0
    platform = said(blocks["NIJA"])
    assert platform["entries"][0] is platform["copying"][0] is Verdict.OFF
    assert "drill, operator@nija.example" in platform["entries"][1]
    assert said(blocks["own@nija.example"])["copying"] == (Verdict.OFF, "Its owner stopped it; exits go on.")
    assert said(blocks["master@nija.example"])["copying"][0] is Verdict.OFF


def test_cycles_that_do_not_run_and_accounts_that_are_held_fail(world: World) -> None:
    master = world.join("master@nija.example", usd="60", role="master")
    cycles.run_due_cycle(clock=world.clock)
    world.move(400)
    Account.objects.filter(pk=master.account.pk).update(held_at=world.clock.now(), held_reason="an unknown execution")
    blocks = ask(world, workers=("execution@here",))
    masters = said(blocks["master@nija.example"])
    assert (masters["strategy"][0], masters["copying"][0]) == (Verdict.FAILS, Verdict.FAILS)
    assert "an unknown execution" in masters["copying"][1]
    platform = said(blocks["NIJA"])
    assert {name for name, (verdict, _) in platform.items() if verdict is Verdict.FAILS} == {
        "worker",
        "booking",
        "exits",
        "beat",
        "safety",
    }


def test_a_follower_without_a_key_is_counted_and_looked_at_only_when_named(world: World) -> None:
    ada = world.join("ada@nija.example", usd="84")
    world.join("ben@nija.example", usd="65")
    credentials.disconnect(ada.account.user)
    blocks = ask(world)
    assert list(blocks) == ["NIJA", "ben@nija.example", "Other"]
    assert composed.bad(blocks.values()) == 0
    named = said(ask(world, "ada@nija.example")["ada@nija.example"])
    assert named["copying"] == (Verdict.FAILS, "No Kraken key is connected, so nothing is copied.")


def test_addresses_that_are_nobodys_are_refused_before_anything_is_asked(world: World) -> None:
    with pytest.raises(CannotAsk, match="no user"):
        ask(world, "nobody@nija.example")
    assert not Inspection.objects.exists()


def test_a_question_is_answered_once_however_often_its_bell_rings(world: World) -> None:
    ada = world.join("ada@nija.example", usd="84")
    ask(world)
    asked = world.at_exchange(ada)["requests"]
    (row,) = Inspection.objects.all()
    diagnosis.run(row.pk, clock=world.clock, sleep=world.move)
    assert world.at_exchange(ada)["requests"] == asked
    assert row.findings_count == 0


def test_without_an_execution_process_the_command_says_so_and_fails(world: World) -> None:
    Venue.objects.update(failing_since=None)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"checks do not come out well") as failed:
        call_command("diagnose", "--timeout", "0.3", stdout=out)
    assert failed.value.returncode == 1
    assert "No execution process answered within 0.3 s: is NIJA running?" in out.getvalue()
    with pytest.raises(CommandError, match="no user with the address"):
        call_command("diagnose", "nobody@nija.example", stdout=out)
