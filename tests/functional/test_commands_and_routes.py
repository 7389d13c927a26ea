"""Every command and every REST route as the documentation writes them, against one running `manage.py up`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from tests.support.paper import PaperAccount, PaperExchange

BASE_DIR = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
OPERATOR, MASTER, ADA, BEN, DORA = (f"{name}@nija.example" for name in ("op", "master", "ada", "ben", "dora"))
#: Made by `up --demo` itself and named nowhere.
INTERNAL = {"make_demo_history"}
OURS = ("nija", "accounts", "trading", "copytrade")


def lines_of_documentation() -> list[str]:
    texts = [file.read_text() for file in (BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").glob("*.md")))]
    return [line.strip() for text in texts for line in text.splitlines()]


def until(true: Callable[[], Any], *, what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


@dataclass
class System:
    """`manage.py up` in its own data directory, which is all a second shell knows of it."""

    exchange: PaperExchange
    directory: Path
    port: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    keys: dict[str, PaperAccount] = field(default_factory=dict)

    @property
    def shell(self) -> dict[str, str]:
        return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
            "NIJA_DATA_DIR": str(self.directory / "data")
        }

    def manage(self, line: str, *, status: int = 0, **more: str) -> str:
        """Run a command as it is documented; what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *shlex.split(line)],
            cwd=BASE_DIR,
            env=self.shell | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
        )
        printed = done.stdout + done.stderr
        for account in self.keys.values():
            assert account.api_key not in printed
            assert account.api_secret not in printed
        assert done.returncode == status, printed
        assert "Traceback" not in printed, printed
        return printed

    def curl(self, route: str, who: str, *, method: str = "GET", **replaced: str) -> requests.Response:
        """Send the request of the documented line for this route and method."""
        line = documented(route, method)
        words = shlex.split(line.replace("$TOKEN", self.tokens[who]))[1:]
        headers: dict[str, str] = {}
        body, address = None, ""
        while words:
            word = words.pop(0)
            if word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = words.pop(0)
            elif word == "-X":
                assert words.pop(0) == method
            else:
                address = word.replace(":8000/", f":{self.port}/")
        if replaced and body is not None:
            body = json.dumps(json.loads(body) | replaced)
        return requests.request(method, address, data=body, headers=headers, timeout=20)

    def read(self, route: str, who: str) -> Any:
        answer = self.curl(route, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def held(self, email: str) -> Decimal:
        """BEAM in the account as the exchange knows it."""
        rows = requests.get(f"{self.exchange.url}/paper/accounts", timeout=10).json()["accounts"]
        (paper_id,) = [row["account"] for row in rows if row["label"] == email]
        account = requests.get(f"{self.exchange.url}/paper/accounts/{paper_id}", timeout=10).json()
        return Decimal(account["balances"].get("BEAM", "0"))


def documented(route: str, method: str) -> str:
    """The line of the documentation for a route."""
    wanted = "" if method == "GET" else f"-X {method} "
    pattern = re.compile(rf'curl {wanted}-H .*/api/v1/{re.escape(route)}/(\?[^"]*)?"?$')
    found = [line for line in lines_of_documentation() if pattern.match(line)]
    assert found, f"no line of the documentation shows {method} {route}"
    return found[-1]


def addresses() -> set[str]:
    """Routes of the API that are not of one row, not its description, and not what answers for addresses that are none."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
        for entry in patterns:
            route = prefix + str(entry.pattern).removeprefix("^")
            if isinstance(entry, URLResolver):
                yield from walk(entry.url_patterns, route)
            else:
                yield route

    routes = (route for route in walk(get_resolver().url_patterns, "") if route.startswith("api/v1/"))
    found = {re.sub(r"/\??\$?$", "", route.removeprefix("api/v1/")) for route in routes}
    return {route for route in found if not set(route) & set("(<[")} - {"schema", "docs", ""}


def test_every_command_and_every_route_stands_in_the_documentation() -> None:
    text = "\n".join(lines_of_documentation())
    commands = {name for name, app in get_commands().items() if app in OURS} - INTERNAL
    assert {name for name in commands if not re.search(rf"`{name}\b|manage\.py {name}\b", text)} == set()
    for route in addresses():
        documented(route, "POST" if route == "master/orders" else "GET")


@pytest.fixture
def system(paper_exchange: Callable[..., PaperExchange], tmp_path: Path) -> Iterator[System]:
    exchange = paper_exchange(market="pinned", rate_tier="intermediate")
    pin = {"pair": "BEAMUSD", "bid": "0.002917", "ask": "0.002918"}
    requests.post(f"{exchange.url}/paper/market/pin", json=pin, timeout=10).raise_for_status()
    made = System(exchange, tmp_path)
    for email, usd in ((MASTER, "60.534"), (ADA, "84.5785"), (BEN, "65.8698"), (DORA, "50"), (OPERATOR, "40")):
        made.keys[email] = exchange.create_account(email, balances={"ZUSD": usd})
    environment = made.shell | {"KRAKEN_API_URL": exchange.url, "MASTER_PAIRS": "BEAM-USD"}
    with (tmp_path / "up.err").open("w") as errors:
        up = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", "0"],
            cwd=BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert up.stdout is not None
        try:
            line = up.stdout.readline()
            assert line, (tmp_path / "up.err").read_text()
            made.port = json.loads(line)["url"].rstrip("/").rpartition(":")[2]
            yield made
        finally:
            up.terminate()
            up.wait(timeout=30)
            up.stdout.close()


@pytest.mark.system
@pytest.mark.timeout(400)
def test_every_command_and_route_works_through_the_running_system(system: System) -> None:
    people_come(system)
    diagnose_finds_all_well(system)
    a_follower_changes_limits_and_an_operator_tries_a_key(system)
    a_trade_by_hand_is_copied_and_told_on_every_list(system)
    every_stop_stops_and_every_resume_lifts_it(system)
    everything_is_sold_and_the_books_are_clean(system)
    diagnose_names_what_fails(system)


def people_come(system: System) -> None:
    password = "a long enough pass phrase"
    system.manage(f"createsuperuser --noinput --email {OPERATOR}", DJANGO_SUPERUSER_PASSWORD=password)
    keys = {email: {"api_key": key.api_key, "api_secret": key.api_secret} for email, key in system.keys.items()}
    file = system.directory / "accounts.jsonl"
    ada = json.dumps({"email": ADA, "role": "follower", "risk": {"multiplier": "1"}} | keys[ADA])
    ben = json.dumps({"email": BEN, "role": "follower"} | keys[BEN])
    file.write_text(f'\ufeff{ada}\n{{"email": "broken@\n{ben}\n')
    printed = system.manage(f"import_accounts {file}", status=1)
    told = [line.partition(": ")[0::2] for line in printed.splitlines() if line.startswith("line ")]
    assert [where for where, _ in told] == ["line 1", "line 2", "line 3"]
    assert [": accepted: " in rest for _, rest in told] == [True, False, True]

    users = system.directory / "users"
    users.mkdir()
    dora = {"name": "Dora Example", "email": DORA, "broker": "kraken", "role": "user", "copy_from_master": False}
    (users / "dora.json").write_text(json.dumps(dora))
    (users / "eve.json").write_text(json.dumps({"name": "Eve", "broker": "coinbase"}))
    printed = system.manage(
        f"import_accounts --from-env --master-email {MASTER} --users {users}",
        KRAKEN_PLATFORM_API_KEY=keys[MASTER]["api_key"],
        KRAKEN_PLATFORM_API_SECRET=keys[MASTER]["api_secret"],
        KRAKEN_USER_DORA_API_KEY=keys[DORA]["api_key"],
        KRAKEN_USER_DORA_API_SECRET=keys[DORA]["api_secret"],
    )
    assert f"dora.json: {DORA}: accepted" in printed
    assert "eve.json: -: skipped" in printed
    for email in (OPERATOR, ADA):
        system.tokens[email] = system.manage(f"create_api_token {email}").strip().splitlines()[-1]
        assert system.read("me", email)["email"] == email


def diagnose_finds_all_well(system: System) -> None:
    until(lambda: system.read("balances", ADA)["source"] == "live", what="Ada's balance")
    printed = system.manage("diagnose")
    for email in (MASTER, ADA, BEN, DORA):
        assert email in printed
    assert "$84.58 free of $84.58" in printed
    assert "Copying is switched off in the owner's risk settings." in printed
    assert not re.search(r"^  (fails|unknown) ", printed, re.MULTILINE)


def a_follower_changes_limits_and_an_operator_tries_a_key(system: System) -> None:
    assert system.curl("settings/risk", ADA, method="PATCH", max_risk="0.09").json()["max_risk"] == "0.09"
    assert system.curl("settings/risk", ADA, method="PATCH", max_risk="0.9").status_code == 400
    assert system.read("settings/risk", ADA)["max_risk"] == "0.09"
    assert system.curl("settings/risk", ADA, method="PATCH", max_risk="0.1").status_code == 200

    key = system.keys[OPERATOR]
    given = {"api_key": key.api_key, "api_secret": key.api_secret}
    assert system.curl("credentials", OPERATOR, method="POST", **given).status_code == 202
    until(lambda: system.read("credentials", OPERATOR)["active"], what="the verdict on the operator's key")
    assert system.curl("credentials", OPERATOR, method="DELETE").status_code == 204
    assert system.read("credentials", OPERATOR)["active"] is None


def a_trade_by_hand_is_copied_and_told_on_every_list(system: System) -> None:
    printed = system.manage("place_master_order BEAM-USD buy --notional 8")
    assert "buy 2741.60383824 BEAM-USD" in printed
    until(lambda: system.read("fills", ADA)["results"], what="Ada's copy to be booked")
    until(lambda: system.held(BEN) > 0, what="Ben's copy")
    (order,) = system.read("orders", ADA)["results"]
    (copy,) = system.read("copies", ADA)["results"]
    (position,) = system.read("positions", ADA)["results"]
    (signal,) = system.read("signals", ADA)["results"]
    assert copy["order"]["venue_order_id"] == order["venue_order_id"]
    assert copy["signal"]["id"] == signal["id"]
    assert Decimal(position["managed"]) == Decimal(order["filled"]) == system.held(ADA)
    assert system.held(DORA) == 0

    bought = system.held(ADA)
    answer = system.curl("master/orders", OPERATOR, method="POST")
    assert answer.status_code == 201, answer.text
    until(lambda: system.held(ADA) > bought, what="the copy of a trade by REST")
    assert system.curl("master/orders", ADA, method="POST").status_code == 403
    assert system.curl("master/orders", OPERATOR, method="POST", notional="NaN").status_code == 400


def every_stop_stops_and_every_resume_lifts_it(system: System) -> None:
    printed = system.manage('stop_trading --reason "looking into a delay"')
    assert re.search(r"^Entries are stopped for the master and \d followers\.$", printed, re.MULTILINE)
    assert system.read("emergency-stop", ADA)["platform"]["reason"] == "looking into a delay"
    assert "Entries are stopped" in system.manage("place_master_order BEAM-USD buy --notional 8", status=1)
    assert system.curl("master/orders", OPERATOR, method="POST").json()["code"] == "halted"
    assert "Entries go on" in system.manage("resume_trading")
    for who, part in ((OPERATOR, "platform"), (ADA, "account")):
        assert system.curl("emergency-stop", who, method="POST").json()["scope"] == part
        assert system.read("emergency-stop", who)[part]["stopped"] is True
        assert system.curl("emergency-stop", who, method="DELETE").json()[part]["stopped"] is False


def everything_is_sold_and_the_books_are_clean(system: System) -> None:
    printed = system.manage("place_master_order BEAM-USD sell --fraction 1/2")
    assert "sell " in printed
    system.manage("place_master_order BEAM-USD sell")
    until(lambda: system.held(ADA) == system.held(BEN) == 0, what="both followers to be flat")
    until(lambda: not system.read("positions", ADA)["results"], what="Ada's position to be closed in our books")
    system.manage("check_books")


def diagnose_names_what_fails(system: System) -> None:
    withdraws = {"api_key": system.keys[BEN].api_key, "permissions": ["query-funds", "withdraw-funds"]}
    requests.post(f"{system.exchange.url}/paper/keys/update", json=withdraws, timeout=10).raise_for_status()
    printed = system.manage(f"diagnose {BEN} --timeout 90", status=1)
    assert "fails    permissions" in printed
    assert "“Funds: Withdraw”" in printed
