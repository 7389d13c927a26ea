"""The operator's strategy page: what runs, why it did or did not enter, and the reports of backtests."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from copytrade.selectors import strategy as selectors
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.copytrade.test_pages import as_operator, as_user, read
from trading.models import Candidate, Levels, Position, StrategyCycle
from trading.selectors import parameters
from trading.strategy import registry

pytestmark = pytest.mark.django_db

PAGE = "/operator/strategy/"
HASH = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
SUMMARY: dict[str, Any] = {
    "kind": "nija-backtest",
    "strategy": "apex",
    "version": "1",
    "from": "2024-07-01T00:00:00Z",
    "to": "2024-11-01T00:00:00Z",
    "interval_minutes": 5,
    "pairs": ["DOGE-USD", "SOL-USD"],
    "report_policy": f"default-src 'none'; script-src {HASH} 'unsafe-inline' https://evil.example; style-src {HASH}",
    "statistics": {
        "net_return": -0.0421,
        "max_drawdown": 0.113,
        "sharpe": None,
        "profit_factor": 0.87,
        "win_rate": 0.38,
        "trades": 57,
        "fees": "31.4159",
    },
}


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def data_dir(tmp_path: Path, settings: Any) -> Path:
    settings.NIJA_DATA_DIR = tmp_path
    return tmp_path


def backtest(data_dir: Path, name: str, summary: Any = None, *, report: str = "<!doctype html>the report") -> Path:
    directory = data_dir / "backtests" / name
    directory.mkdir(parents=True)
    (directory / "summary.json").write_text(summary if isinstance(summary, str) else json.dumps(summary or SUMMARY))
    if report:
        (directory / "report.html").write_text(report)
    return directory


def cycle(fleet: Fleet, *vetoes: str, **values: Any) -> StrategyCycle:
    """One more cycle that judged BEAM, with these vetoes in this order."""
    at = fleet.now + timedelta(seconds=StrategyCycle.objects.count())
    made = StrategyCycle.objects.create(
        due_at=at, started_at=at, finished_at=at, strategy="apex", version="3", parameters_hash="f" * 64, **values
    )
    told = [{"code": code, "sentence": f"The sentence of {code}."} for code in vetoes]
    lines = [{"rule": "ema stack", "points": "12", "maximum": "15"}]
    parts = {"price_action": {"points": "12", "maximum": "20", "lines": lines}}
    Candidate.objects.create(cycle=made, instrument=fleet.beam, candle_at=at, score=44.5, parts=parts, vetoes=told)
    return made


def test_the_first_line_says_what_runs_and_how_it_went(fleet: Fleet, data_dir: Path) -> None:
    client = as_operator()
    text = read(client, PAGE)
    version = registry.get("apex").version
    assert f"apex version {version} looks at 6 pairs every 30 s. None of its last 1 cycle entered" in text
    cycle(fleet, problem="The balance is not known.")
    assert "could consider no entry: The balance is not known." in read(client, PAGE)


def test_without_a_master_and_with_an_unknown_strategy_it_says_so(data_dir: Path) -> None:
    client = as_operator()
    assert "there is no master yet" in read(client, PAGE)
    with override_settings(MASTER_STRATEGY="nothing"):
        assert "No strategy runs: no strategy is called 'nothing'; known: apex, breakout" in read(client, PAGE)


@pytest.mark.parametrize("name", registry.names())
def test_every_parameter_is_shown_with_its_value_and_documentation(name: str) -> None:
    strategy = registry.get(name)
    shown = [each for group in parameters.groups(strategy) for each in group.parameters]
    assert [each.name for each in shown] == [each.name for each in fields(strategy.parameters)]  # type: ignore[attr-defined]
    assert [each.name for each in shown if not each.meaning.endswith(".")] == []
    assert all(each.value for each in shown)


def test_parameters_are_grouped_and_readable(fleet: Fleet, data_dir: Path) -> None:
    text = read(as_operator(), PAGE)
    assert registry.get("apex").parameters_hash in text
    apex = {each.name: each for group in parameters.groups(registry.get("apex")) for each in group.parameters}
    assert apex["ema_fast"].value == "9 candles"
    assert apex["targets_atr"].value == "6, 9, 13"
    assert apex["target_shares"].value == "2/5, 3/10, 3/10"
    assert "Indicator periods" in text
    assert apex["edge_min"].meaning in text


def test_a_candidate_shows_its_points_by_part_and_every_veto_in_order(fleet: Fleet, data_dir: Path) -> None:
    cycle(fleet, "weak_trend", "score", "edge")
    text = read(as_operator(), PAGE)
    assert "price action 12/20" in text
    assert "ema stack: 12 of 15" in text
    places = [text.index(f"{code}: The sentence of {code}.") for code in ("weak_trend", "score", "edge")]
    assert places == sorted(places)


def test_cycles_are_filtered_by_pair_and_by_veto(fleet: Fleet, data_dir: Path) -> None:
    cycle(fleet, "weak_trend")
    cycle(fleet, "edge")
    client = as_operator()
    text = read(client, f"{PAGE}?veto=edge")
    assert "The sentence of edge." in text
    assert "The sentence of weak_trend." not in text
    with override_settings(MASTER_PAIRS=["BEAM-USD", fleet.dust.symbol]):
        text = read(client, f"{PAGE}?pair={fleet.dust.symbol}")
    assert "The trend is weak: ADX 14 is 11.2" in text
    assert "The sentence of" not in text
    for strange in ("?veto=%22%7D", "?pair=NOPE", "?pair=%00", "?before=x", '?veto=x" or 1'):
        assert client.get(PAGE + strange).status_code == 200
    assert "No cycle matches" in read(client, f"{PAGE}?veto=warm_up")


def test_cycles_are_paged_and_none_is_lost_or_shown_twice(fleet: Fleet, data_dir: Path) -> None:
    for _ in range(2 * selectors.PAGE + 3):
        cycle(fleet, "edge")
    seen: list[int] = []
    before: int | None = None
    while True:
        rows, before = selectors.cycles(selectors.Wanted(), before=before)
        seen += [row.cycle.pk for row in rows]
        if before is None:
            break
    assert seen == list(StrategyCycle.objects.order_by("-pk").values_list("pk", flat=True))


def test_a_page_of_cycles_costs_the_same_queries_however_many_there_are(fleet: Fleet, data_dir: Path) -> None:
    client = as_operator()
    with CaptureQueriesContext(
        connection,
    ) as few:
        read(client, PAGE)
    for _ in range(selectors.PAGE):
        cycle(fleet, "edge")
    with CaptureQueriesContext(connection) as many:
        read(client, PAGE)
    assert len(many) == len(few)


def test_the_levels_of_the_masters_positions_are_shown(fleet: Fleet, data_dir: Path) -> None:
    held = Position.objects.get(account=fleet.master, is_open=True)
    plan = {
        "stop": "0.0027",
        "targets": [
            {"level": "0.0031", "fraction": "2/5", "hit": True},
            {"level": "0.0033", "fraction": "3/5", "hit": False},
        ],
    }
    Levels.objects.filter(position=held).delete()
    client = as_operator()
    assert "Opened by hand: the strategy keeps no level" in read(client, PAGE)
    Levels.objects.create(
        position=held, entry_order=fleet.buy.order, strategy="apex", version="3", parameters_hash="f" * 64,
        entry_price="0.0029", plan=plan, opened_market_at=fleet.now, updated_at=fleet.now,
    )  # fmt: skip
    text = read(client, PAGE)
    for part in ("Target 1, reached", "0.0031", "40 %", "Target 2", "0.0033", "Stop", "0.0027"):
        assert part in text


def test_backtests_are_listed_with_their_figures_and_the_command_to_make_one(fleet: Fleet, data_dir: Path) -> None:
    client = as_operator()
    empty = read(client, PAGE)
    assert "No backtest yet" in empty
    assert "manage.py backtest --strategy apex --data DIR" in empty
    backtest(data_dir, "apex-20240701-20241101-0123456789ab")
    backtest(data_dir, "broken", "{", report="")
    backtest(data_dir, ".half-written")
    text = read(client, PAGE)
    for part in ("apex-20240701-20241101-0123456789ab", "-4.21 %", "11.3 %", "0.87", "38 %", "57", "$31.42"):
        assert part in text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " "), part
    assert "too short to tell" in text
    assert "Its summary.json cannot be read." in text
    assert "half-written" not in text


@pytest.mark.parametrize(
    "summary",
    [
        "",
        "[]",
        '{"statistics": {"net_return": NaN, "fees": "1"}, "pairs": []}',
        {**SUMMARY, "pairs": None},
        {**SUMMARY, "statistics": {**SUMMARY["statistics"], "net_return": "much"}},
        {**SUMMARY, "statistics": {**SUMMARY["statistics"], "fees": "NaN"}},
    ],
)
def test_a_summary_of_another_kind_does_not_break_the_page(fleet: Fleet, data_dir: Path, summary: Any) -> None:
    backtest(data_dir, "odd", summary or "{}")
    assert "Its summary.json cannot be read." in read(as_operator(), PAGE)


def test_a_report_is_served_as_written_under_a_policy_of_hashes_alone(fleet: Fleet, data_dir: Path) -> None:
    backtest(data_dir, "apex-1")
    response = as_operator().get(f"{PAGE}backtests/apex-1/")
    assert response.status_code == 200
    assert response.content == b"<!doctype html>the report"
    policy = response["Content-Security-Policy"]
    assert f"default-src 'none'; script-src {HASH}; style-src {HASH};" in policy
    assert "unsafe" not in policy
    assert "evil" not in policy
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy


def test_a_report_without_a_policy_may_run_nothing(fleet: Fleet, data_dir: Path) -> None:
    backtest(data_dir, "apex-1", {**SUMMARY, "report_policy": "script-src *"})
    policy = as_operator().get(f"{PAGE}backtests/apex-1/")["Content-Security-Policy"]
    assert "script-src 'none'; style-src 'none'" in policy


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e", "..%2f..%2fsecret", "../secret", ".hidden", "none", "linked", "apex-1/../..", "a%00b", "x" * 300],
)
def test_no_name_leads_out_of_the_backtests(fleet: Fleet, data_dir: Path, name: str) -> None:
    backtest(data_dir, "apex-1")
    backtest(data_dir, ".hidden")
    outside = data_dir / "secret"
    outside.mkdir()
    (outside / "report.html").write_text("secret")
    (data_dir / "report.html").write_text("secret")
    (data_dir / "backtests" / "linked").symlink_to(outside)
    response = as_operator().get(f"{PAGE}backtests/{name}/")
    assert response.status_code in (404, 301, 302)
    assert b"secret" not in response.content


def test_a_report_that_is_a_link_is_not_served(fleet: Fleet, data_dir: Path) -> None:
    (data_dir / "secrets.json").write_text("secret")
    directory = backtest(data_dir, "apex-1", report="")
    (directory / "report.html").symlink_to(data_dir / "secrets.json")
    assert as_operator().get(f"{PAGE}backtests/apex-1/").status_code == 404


def test_followers_and_visitors_see_neither_page_nor_report(fleet: Fleet, data_dir: Path) -> None:
    backtest(data_dir, "apex-1")
    follower, operator = as_user(books.follower(fleet, "ann@example.com")), as_operator()
    for address in (PAGE, f"{PAGE}backtests/apex-1/"):
        assert follower.get(address).status_code == 403
        assert Client().get(address).status_code == 302
        assert operator.post(address).status_code == 405


def test_the_page_is_in_the_operators_navigation_only(fleet: Fleet, data_dir: Path) -> None:
    assert f'href="{PAGE}"' in as_operator().get(PAGE).content.decode()
    follower = as_user(books.follower(fleet, "ann@example.com"))
    assert PAGE not in follower.get("/dashboard/").content.decode()
