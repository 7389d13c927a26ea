"""`manage.py check_books`: one line per invariant, then every row that contradicts one; exit 1 if there is any."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nija.management.arguments import add_timeout
from trading.models import InspectionKind
from trading.services import inspections
from trading.services.clock import SYSTEM

TIMEOUT_S = 120.0


class Command(BaseCommand):
    help = "Check every invariant of the books, and the books against Kraken's; the running system does the work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        add_timeout(parser, default_s=TIMEOUT_S, awaited="the answer")

    def handle(self, *_args: Any, **options: Any) -> None:
        asked = inspections.ask(InspectionKind.BOOKS, asked_by="manage.py check_books", clock=SYSTEM)
        inspection = inspections.wait(asked, timeout_s=options["timeout"])
        if inspection.finished_at is None:
            raise CommandError(_no_answer(options["timeout"], started=inspection.started_at is not None))
        if options["json"]:
            self.stdout.write(json.dumps(inspection.report, indent=2))
        else:
            for line in lines(inspection.report):
                self.stdout.write(line)
        if inspection.findings_count:
            sys.exit(1)


def lines(report: dict[str, Any]) -> list[str]:
    """The report of a check for people."""
    shown = []
    for check in report["checks"]:
        verdict = "ok" if not check["found"] else f"{check['found']} WRONG"
        note = f"; {check['note']}" if check["note"] else ""
        shown.append(f"{check['invariant']:<8} {check['what']}: {verdict} ({check['looked_at']} {check['unit']}{note})")
        shown += [f"           {_whose(row)}{row['row']}: {row['sentence']}" for row in check["findings"]]
        if check["untold"]:
            shown.append(f"           and {check['untold']} more")
    for missed in report["not_compared"]:
        shown.append(f"Kraken   {_whose(missed)}{missed['sentence']}")
    more = report["not_compared_count"] - len(report["not_compared"])
    if more:
        shown.append(f"           and {more} accounts more")
    wrong = sum(check["found"] for check in report["checks"])
    shown.append(
        f"Wrong: {wrong}. Accounts not compared with Kraken: {report['not_compared_count']}."
        if wrong or report["not_compared_count"]
        else "The books are in order."
    )
    return shown


def _whose(row: dict[str, Any]) -> str:
    return "" if row["account"] is None else f"account {row['account']}, "


def _no_answer(timeout_s: float, *, started: bool) -> str:
    if started:
        return f"The check has begun but did not finish within {timeout_s:g} s; give it more with --timeout."
    return f"No process took the check within {timeout_s:g} s. Is NIJA running? It needs the execution process."
