"""Deliberate bugs, each of which costs money or breaks a promise, and what has to notice it."""

from __future__ import annotations

from dataclasses import dataclass

BAD_DAYS = "tests/functional/test_bad_days.py::"
GATE = "tests/functional/test_master_gate.py::"
MASTER_EXITS = "tests/functional/test_master_exits.py::"
REPLACING = "tests/functional/test_replacing_keys.py::"
BOOKING = "tests/functional/test_booking.py::"
TOGETHER = "tests/trading/services/test_booking_together.py::"
LIMITS = "tests/functional/test_limits.py::"
OBLIGATIONS = "tests/functional/test_obligations.py::"
OUTCOMES = "tests/functional/test_order_outcomes.py::"
OUTSIDE = "tests/functional/test_outside_trades.py::"
RACES = "tests/functional/test_races.py::"
STOP = "tests/functional/test_stop.py::"
UNDECIDED = "tests/functional/test_undecided.py::"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` occurs once in the file `path` and becomes `new`; then one of `tests` fails, or one of the first `seeds` runs
    of the simulator finds a violation.

    Constraints are changed in the migration, since that is where every database has them from, the simulator's too; with
    `id` among its columns a constraint refuses nothing any more. `postgres`: tests that need two writers at once.
    `may_hang`: a test that runs into its time limit counts as noticing.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    seeds: int = 0
    postgres: bool = False
    may_hang: bool = False


SENDING = "trading/services/sending.py"
LANES = "trading/services/lanes.py"
RECONCILIATION = "trading/services/reconciliation.py"
BOOKED = "trading/services/booking.py"
BALANCES = "trading/services/balances.py"
ENTRIES = "copytrade/services/entries.py"
EXITS = "copytrade/services/exits.py"
POSITION = "trading/domain/position.py"

MUTANTS: tuple[Mutant, ...] = (
    # Sent twice, or although it must not be.
    Mutant(
        "resends after a timeout",
        SENDING,
        "    placed = await kraken.looking(look).add_order(request, nonce=item.grant.nonce)\n",
        "    try:\n"
        "        placed = await kraken.looking(look).add_order(request, nonce=item.grant.nonce)\n"
        "    except OutcomeUnknown:\n"
        "        placed = await kraken.looking(look).add_order(request, nonce=item.grant.nonce + 1)\n",
        (OUTCOMES + "test_orders_whose_answer_was_lost_are_found_and_exist_once",),
    ),
    Mutant(
        "takes a lost answer for a refusal",
        SENDING,
        "except (_Unwritten, Unavailable) as error:",
        "except (_Unwritten, Unavailable, OutcomeUnknown) as error:",
        (OUTCOMES + "test_orders_whose_answer_was_lost_are_found_and_exist_once",),
    ),
    Mutant(
        "a new client order id for every request",
        SENDING,
        "cl_ord_id=str(order.client_order_id),",
        "cl_ord_id=str(uuid.uuid4()),",
        (OUTCOMES + "test_orders_whose_answer_was_lost_are_found_and_exist_once",),
    ),
    Mutant(
        "a new id for a call that is repeated",
        "trading/services/master_orders.py",
        '"client_order_id": self.client_order_id or uuid.uuid4(),',
        '"client_order_id": uuid.uuid4(),',
        ("tests/trading/api/test_master_orders.py::test_a_call_that_is_repeated_with_its_own_id_orders_once",),
    ),
    Mutant(
        "lets HTTP repeat a request",
        "trading/kraken/connections.py",
        "        outcome = await self._attempt(path, body, headers, timeout_s=timeout_s, before_write=before_write)\n",
        "        outcome = await self._attempt(path, body, headers, timeout_s=timeout_s, before_write=before_write)\n"
        "        if isinstance(outcome, OutcomeUnknown):\n"
        "            outcome = await self._attempt(path, body, headers, timeout_s=timeout_s, before_write=before_write)\n",
        ("tests/trading/kraken/test_connections.py", "tests/trading/kraken/test_transport.py"),
    ),
    Mutant(
        "an unknown order may be sent again",
        "trading/domain/order_state.py",
        "    (S.UNKNOWN, E.FOUND): S.ACKED,\n",
        "    (S.UNKNOWN, E.FOUND): S.ACKED,\n    (S.UNKNOWN, E.SEND): S.SENDING,\n",
        ("tests/trading/domain/test_order_state.py",),
    ),
    Mutant(
        "claims copies that were claimed already",
        ENTRIES,
        "pk__in=copy_ids, kind=SignalKind.ENTRY, status=CopyStatus.PENDING)",
        "pk__in=copy_ids, kind=SignalKind.ENTRY)",
        (BAD_DAYS + "test_a_message_of_which_a_part_was_done_does_the_rest_only",),
    ),
    Mutant(
        "sends an entry whose time is over",
        SENDING,
        "LIFE_LEFT_MIN = timedelta(seconds=2.5)",
        "LIFE_LEFT_MIN = timedelta(seconds=-300)",
        (BAD_DAYS + "test_a_copy_that_waited_too_long_is_missed_and_never_chased",),
    ),
    Mutant(
        "claims an entry whose life ended while its balance was read",
        ENTRIES,
        "        if copy.expires_at is not None and copy.expires_at < now + LIFE_LEFT_MIN:\n",
        "        if copy.expires_at is None:\n",
        seeds=12,
    ),
    Mutant(
        "a deadline beyond the entry's life",
        SENDING,
        "else min(now + DEADLINE, order.expires_at)",
        "else max(now + DEADLINE, order.expires_at)",
        (BAD_DAYS + "test_an_entry_still_in_time_carries_a_deadline_within_its_life",),
    ),
    Mutant(
        "trusts our clock",
        SENDING,
        "deadline=None if order.deadline is None else order.deadline + offset,",
        "deadline=order.deadline,",
        (LIMITS + "test_an_exits_deadline_is_of_the_exchanges_clock",),
    ),
    Mutant(
        "leaves a limit order resting",
        SENDING,
        "TimeInForce.IMMEDIATE_OR_CANCEL",
        "TimeInForce.GOOD_TILL_CANCELLED",
        (OBLIGATIONS + "test_an_entry_that_fills_in_part_is_sold_as_far_as_it_filled",),
    ),
    # Nonces and lanes.
    Mutant(
        "reuses a nonce when the clock stands",
        "trading/domain/nonce.py",
        "max(previous + 1, clock_ns)",
        "max(previous, clock_ns)",
        ("tests/trading/domain/test_nonce.py",),
    ),
    Mutant(
        "measures how long an order waited by a clock that may be set back",
        SENDING,
        "if clock.uptime() > item.grant.write_until:",
        "if order.sent_at is not None and clock.now() > order.sent_at + timedelta(seconds=8):",
        (
            "tests/functional/test_lanes.py::test_who_waited_too_long_writes_nothing_though_the_clock_was_set_back_meanwhile",
        ),
    ),
    Mutant(
        "measures leases by each process's own clock",
        LANES,
        "    write_until, now = _write_until(clock), clock.shared()\n    owner = ",
        "    write_until, now = _write_until(clock), clock.now()\n    owner = ",
        ("tests/nonces/test_nonces.py::test_simulated_processes_that_die_while_clocks_are_set_use_no_nonce_twice",),
    ),
    Mutant(
        "a lost lease lasts as long as the clock was set back",
        LANES,
        "LEASE_ENDS_WITHIN = 2 * LEASE",
        "LEASE_ENDS_WITHIN = 20_000 * LEASE",
        (BAD_DAYS + "test_a_lane_lost_before_the_clock_was_set_back_is_not_lost_for_as_long",),
    ),
    Mutant(
        "a second request under the first one's nonce",
        LANES,
        "nonce = next_nonce(previous=grant.nonce, clock_ns=clock.ns())",
        "nonce = grant.nonce",
        ("tests/functional/test_undecided.py::test_who_says_that_it_does_not_exist_is_corrected_by_kraken",),
    ),
    Mutant(
        "an order on a lane whose last request may be on the wire",
        LANES,
        "if lane.needs_fence and purpose in (Purpose.ENTRY, Purpose.EXIT):",
        "if lane.needs_fence and purpose is Purpose.ENTRY and cost:",
        (BAD_DAYS + "test_a_lane_of_a_lost_lease_takes_no_order_before_it_is_fenced",),
    ),
    Mutant(
        "an orphan is not told by its lane's epoch",
        RECONCILIATION,
        '        | ~Q(lane__epoch=F("lane_epoch"))\n',
        "",
        (BAD_DAYS + "test_an_order_whose_lane_has_passed_on_is_unknown_while_the_successor_holds_it",),
    ),
    Mutant(
        "an old owner renews the lane of its successor",
        LANES,
        "held = Lane.objects.filter(pk=grant.lane_id, owner=grant.owner, epoch=grant.epoch)",
        "held = Lane.objects.filter(pk=grant.lane_id)",
        (BAD_DAYS + "test_an_old_owner_neither_renews_nor_frees_a_lane_that_has_passed_on",),
    ),
    Mutant(
        "a second request of a key while one is under way",
        LANES,
        "    if lane.leased_until is not None and lane.leased_until > now:\n        return False\n",
        "",
        seeds=3,
    ),
    # What became of an order.
    Mutant(
        "forgets orders whose sender died",
        RECONCILIATION,
        "    adopt_orphans(clock=clock)\n    now",
        "    now",
        seeds=3,
    ),
    Mutant(
        "looks only at open orders",
        RECONCILIATION,
        "    missing = _missing(pages, found)\n",
        "    missing = {key: list(several) for key, several in absent.items()}\n",
        (OUTCOMES + "test_orders_whose_answer_was_lost_are_found_and_exist_once",),
    ),
    Mutant(
        "proves absence before reads show it",
        RECONCILIATION,
        "settled = beyond_deadline([order for order in missing if order.lookups_empty >= 1], started, clock=clock)",
        "settled = list(missing)",
        (OUTCOMES + "test_an_accepted_order_that_reads_show_only_after_five_seconds_is_still_found",),
    ),
    Mutant(
        "turns a page of the search that somebody else has turned",
        RECONCILIATION,
        "    as_read.update(history_pages=order.history_pages + 1)\n",
        '    Order.objects.filter(pk=order.pk).update(history_pages=F("history_pages") + 1)\n',
        (OUTCOMES + "test_two_searches_at_once_pass_over_no_page",),
    ),
    Mutant(
        "searches for a lost order from where our clock says",
        "trading/services/lookups.py",
        "earlier = min(offset, timedelta(milliseconds=order.sent_offset_ms))",
        "earlier = timedelta(0)",
        (OUTCOMES + "test_a_sale_is_found_whatever_our_clock_says",),
    ),
    Mutant(
        "proves absence without the account's trades",
        RECONCILIATION,
        "    more, absent, _ = _search(_by_key(settled, of_account), clock=clock)\n",
        "    more, absent = list[tuple[Order, VenueOrder]](), list(settled)\n",
        (OUTCOMES + "test_nothing_is_proved_by_an_answer_that_leaves_out_what_was_asked_for",),
    ),
    Mutant(
        "ends an order before its fills are booked",
        BOOKED,
        "    complete = venue.is_final and (",
        "    complete = venue.is_final or (",
        (BOOKING + "test_executions_that_cannot_be_read_yet_leave_the_order_open",),
    ),
    Mutant(
        "forgets the filled part of a cancelled order",
        BOOKED,
        "        done = [entry for entry in possible if _fold(entry, now=now)]\n",
        "        is_part = {e.order.pk for e in possible if e.report.venue.status is not VenueStatus.CLOSED}\n"
        "        done = [entry for entry in possible if entry.order.pk in is_part or _fold(entry, now=now)]\n",
        (OBLIGATIONS + "test_an_entry_that_fills_in_part_is_sold_as_far_as_it_filled",),
    ),
    Mutant(
        "one report that cannot be booked keeps back all that came with it",
        BOOKED,
        "            for report in batch:\n                _book_alone(report, now=now)\n",
        "            continue\n",
        (TOGETHER + "test_what_the_database_refuses_of_one_order_is_booked_of_the_others",),
    ),
    Mutant(
        "rings for no exit after a late entry",
        BOOKED,
        "last.get(order.instrument_id, 0) > order.signal.sequence",
        "last.get(order.instrument_id, 0) > order.signal.sequence + 1",
        (TOGETHER + "test_exits_are_planned_after_a_booking_only_where_one_may_be_owed",),
    ),
    Mutant(
        "keeps every lane until the last answer",
        SENDING,
        "    lanes.release([item.grant for item, _ in answers], outcomes, clock=clock)\n"
        "    for key in outcomes:\n"
        "        del held[key]\n",
        "",
        (
            "tests/functional/test_answers.py::"
            "test_a_late_answer_holds_up_neither_the_lanes_nor_the_bookings_of_the_others",
        ),
    ),
    # Booked twice, counted twice.
    Mutant(
        "asks for consolidated trades and books them as other ones",
        "trading/kraken/endpoints.py",
        'params = [("txid", ",".join(txids)), ("trades", "true"), ("consolidate_taker", "false")]',
        'params = [("txid", ",".join(txids)), ("trades", "true")]',
        (BOOKING + "test_an_order_of_many_executions_is_final_only_when_all_of_them_are_booked",),
    ),
    Mutant(
        "no unique constraint on booked trades",
        "trading/migrations/0001_initial.py",
        "fields=('account', 'trade_id'), name='one_booking_per_trade'",
        "fields=('account', 'trade_id', 'id'), name='one_booking_per_trade'",
        ("tests/functional/test_check_books.py::test_the_database_refuses_a_second_row",),
    ),
    Mutant(
        "no unique constraint on orders found at Kraken",
        "trading/migrations/0001_initial.py",
        "fields=('account', 'venue_order_id'), name='one_row_per_venue_order'",
        "fields=('account', 'venue_order_id', 'id'), name='one_row_per_venue_order'",
        (RACES + "test_two_that_find_the_same_order_outside_nija_book_and_signal_it_once",),
        postgres=True,
    ),
    Mutant(
        "a signal may be fanned out twice",
        "copytrade/migrations/0002_initial.py",
        "fields=('signal', 'account'), name='one_outcome_per_signal_and_follower'",
        "fields=('signal', 'account', 'id'), name='one_outcome_per_signal_and_follower'",
        ("tests/functional/test_check_books.py::test_the_database_refuses_a_second_row",),
    ),
    Mutant(
        "signals the same executions again and again",
        "trading/services/signals.py",
        "    Execution.objects.filter(pk__in=[e.pk for e in carried]).update(signal=signal)\n",
        "",
        (BOOKING + "test_booking_again_and_again_changes_nothing",),
    ),
    Mutant(
        "adopts our own lost order as a trade outside",
        "trading/services/outside.py",
        "        elif sent is not None:\n",
        "        elif sent is not None and sent.state in order_state.FINAL:\n",
        (
            "tests/functional/test_outside_troubles.py::"
            "test_an_order_of_ours_whose_answer_was_lost_is_not_adopted_as_one_outside",
        ),
    ),
    Mutant(
        "an older balance replaces a newer one",
        BALANCES,
        "if stored.balances_as_of is None or stored.balances_as_of <= as_of",
        "if stored.balances_as_of is None or stored.balances_as_of",
        ("tests/functional/test_balance_races.py",),
        postgres=True,
    ),
    Mutant(
        "shares what was sold in an earlier round trip",
        "copytrade/selectors/obligations.py",
        '        account__positions__round_trip=F("round_trip"),\n',
        "",
        (UNDECIDED + "test_what_fills_after_the_rest_was_sold_is_shared_by_its_own_fills_alone",),
    ),
    Mutant(
        "a close does not reach what was in doubt",
        EXITS,
        'coming = set(orders.values_list("instrument_id", flat=True))',
        "coming = set[int]()",
        (UNDECIDED + "test_who_sells_everything_sells_what_was_still_in_doubt",),
    ),
    # Stops, caps and whom they may touch.
    Mutant(
        "reads the halt outside the transaction",
        ENTRIES,
        "    with transaction.atomic(durable=True):\n        halted = halts.entries_stopped_shared()\n",
        "    halted = halts.entries_stopped_shared()\n    with transaction.atomic(durable=True):\n",
        (RACES + "test_a_stop_waits_for_a_claim_under_way_and_what_was_not_yet_written_is_not_written",),
        postgres=True,
    ),
    Mutant(
        "writes what was claimed before the stop",
        SENDING,
        "    if stops.covers(order):\n",
        "    if order.kind == OrderKind.EXIT and stops.covers(order):\n",
        (STOP + "test_an_entry_claimed_before_the_stop_and_not_yet_written_is_not_written",),
    ),
    Mutant(
        "a stop holds exits back",
        SENDING,
        "    if kind is OrderKind.ENTRY and not _entries_may_go(ids, keys, now=now):\n",
        "    if not _entries_may_go(ids, keys, now=now):\n",
        (STOP + "test_exits_flow_during_a_stop",),
    ),
    Mutant(
        "lets the cap on open positions touch exits",
        EXITS,
        "            if result.standing is Standing.OWED:\n",
        "            risk = position.account.user.risk\n"
        "            capped = position.account.positions.filter(is_open=True).count() >= risk.max_open_positions\n"
        "            if result.standing is Standing.OWED and not capped:\n",
        (LIMITS + "test_no_more_positions_are_opened_than_allowed_but_an_open_one_may_grow_and_be_sold",),
    ),
    Mutant(
        "takes max_risk for every signal of one order",
        ENTRIES,
        "            taken[copy.account_id] += deciding.cost_so_far(copy)\n",
        "            taken[copy.account_id] += Money.zero()\n",
        (LIMITS + "test_a_master_order_in_two_signals_takes_max_risk_once",),
    ),
    Mutant(
        "spends cash that is reserved",
        "trading/selectors/equity.py",
        "    free = cash - hold - reserved\n",
        "    free = cash - hold\n",
        (LIMITS + "test_two_signals_in_flight_share_the_cash_there_is",),
    ),
    # What belongs to others.
    Mutant(
        "cancels orders the master made on Kraken",
        "trading/services/cancelling.py",
        "entries = entries.exclude(origin=OrderOrigin.OUTSIDE)",
        "entries = entries.exclude(origin=OrderOrigin.STRATEGY)",
        (OUTSIDE + "test_an_order_he_left_open_is_neither_cancelled_by_a_stop_nor_in_the_way_of_our_sale",),
    ),
    Mutant(
        "a position that changed is still settled",
        "trading/services/positions.py",
        "    position.settled_sequence = position.opened_sequence or 0\n",
        "",
        (OBLIGATIONS + "test_an_entry_that_is_found_after_what_was_held_was_sold_in_part_is_reduced_too",),
    ),
    Mutant(
        "who owed nothing is never looked at again",
        EXITS,
        "obligations.candidates(anew=True)",
        "obligations.candidates()",
        (OBLIGATIONS + "test_whatever_is_remembered_wrongly_of_who_owes_nothing_heals_within_a_minute",),
    ),
    Mutant(
        "settles although an older exit is not fanned out",
        "copytrade/selectors/obligations.py",
        "            waiting.add(signal.instrument_id)\n",
        "            pass\n",
        (OBLIGATIONS + "test_exits_that_are_fanned_out_in_another_order_than_they_were_given_in_are_both_carried_out",),
    ),
    Mutant(
        "sells all that is there, the user's own coins too",
        "copytrade/domain/obligations.py",
        "round_quantity(owed if available is None else min(owed, available))",
        "round_quantity(owed if available is None else available)",
        ("tests/copytrade/domain/test_obligations.py::test_the_owners_other_coins_are_not_sold_with_it",),
    ),
    Mutant(
        "plans a sale before its copy is written",
        "copytrade/selectors/obligations.py",
        "        else:\n            signals[signal.instrument_id].append(signal)\n",
        "        signals[signal.instrument_id].append(signal)\n",
        (OBLIGATIONS + "test_a_sale_whose_copy_is_not_written_yet_is_not_planned_with_one_that_is",),
    ),
    Mutant(
        "thins out the peak a drawdown is counted from",
        "trading/services/equity.py",
        "if pk not in wanted and account_id not in spared]",
        "if pk not in wanted]",
        (
            "tests/trading/services/test_equity_thinning.py::"
            "test_the_highest_since_the_limit_tripped_stays_though_the_hour_had_a_higher_one",
        ),
    ),
    Mutant(
        "acknowledges a signal before its copies are written",
        "copytrade/services/fan_out.py",
        "            with transaction.atomic(durable=True):\n                _fan_out(signal, now=clock.now())\n",
        "            _fan_out(signal, now=clock.now())\n",
        (BAD_DAYS + "test_a_fan_out_that_breaks_off_leaves_nothing_and_is_done_again",),
    ),
    Mutant(
        "takes a key that can withdraw",
        "trading/domain/key_policy.py",
        "    if forbidden:\n",
        "    if forbidden and facts.nonce_window:\n",
        ("tests/trading/domain/test_key_policy.py",),
    ),
    Mutant(
        "replaces a key while its last order may still arrive",
        "trading/services/intake.py",
        ".exclude(pk__in=harmless).exists():",
        ".exclude(pk__in=harmless).count() > 1:",
        (REPLACING + "test_before_its_deadline_a_late_request_could_still_be_taken_so_the_key_waits",),
    ),
    Mutant(
        "never replaces a key while an order is in doubt",
        "trading/services/intake.py",
        ".exclude(pk__in=harmless).exists():",
        ".exists():",
        (REPLACING + "test_a_key_deleted_at_kraken_is_replaced_and_the_exit_in_doubt_found_or_made",),
    ),
    Mutant(
        "takes a key that does not see every order",
        "trading/domain/key_policy.py",
        "    if not facts.sees_all:\n",
        "    if not facts.sees_all and facts.nonce_window:\n",
        ("tests/trading/domain/test_key_policy.py",),
    ),
    Mutant(
        "sends the master's entry on a key that drifted",
        SENDING,
        " or key.entries_blocked_reason\n",
        "\n",
        (GATE + "test_an_order_planned_before_his_key_drifted_is_not_sent",),
    ),
    Mutant(
        "sells the whole again that Kraken refused for coins on hold",
        "copytrade/services/closing.py",
        'UNTIL_SOLD = AskedBy("", "", "", until_sold=True)',
        'UNTIL_SOLD = AskedBy("", "", "")',
        (MASTER_EXITS + "test_coins_on_hold_keep_the_free_rest_from_nobody",),
    ),
    Mutant(
        "forgets what an entry still buys when the master is closed",
        "copytrade/services/closing.py",
        "    for master in (holding | buying).filter(",
        "    for master in holding.filter(",
        (MASTER_EXITS + "test_what_an_entry_in_doubt_still_bought_is_sold_when_everybody_was_closed",),
    ),
    Mutant(
        "lifts a tripped limit when settings are saved",
        "accounts/services/risk.py",
        "if risk.state == CopyState.ACTIVE and before != CopyState.ACTIVE:",
        'if risk.state == CopyState.ACTIVE and "state" in changes:',
        ("tests/accounts/test_risk.py",),
    ),
    Mutant(
        "believes the absence that a key with query dates tells",
        RECONCILIATION,
        "    return [order for order in absent if order.pk not in blind]\n",
        "    return list(absent)\n",
        (REPLACING + "test_what_a_key_with_query_dates_does_not_see_is_not_taken_for_never_placed",),
    ),
    Mutant(
        "counts a target of which only a part was sold",
        "trading/services/levels.py",
        "enough = last.filled and _sold_enough(progress, position, bid=bid)",
        "enough = last.filled",
        (
            "tests/trading/services/test_levels.py::"
            "test_a_target_of_which_a_part_was_on_hold_is_asked_for_again_with_what_is_missing",
        ),
    ),
    Mutant(
        "sells after a close what the master bought since",
        "copytrade/services/closing.py",
        "to_sell = locked.managed - _bought_since(locked, asked_at)",
        "to_sell = locked.managed",
        (
            MASTER_EXITS
            + "test_an_order_he_left_at_kraken_that_fills_while_a_close_is_refused_keeps_nothing_else_from_being_sold",
        ),
    ),
    Mutant(
        "leaves the rest of a close to a purchase made since",
        "copytrade/services/closing.py",
        "Exists(bought.filter(since)) & ~Exists(bought.exclude(since))",
        "Exists(bought.filter(since))",
        (
            MASTER_EXITS
            + "test_an_order_he_left_at_kraken_that_fills_while_a_close_is_refused_keeps_nothing_else_from_being_sold",
        ),
    ),
    Mutant(
        "sends the master's entry with a key that was disconnected meanwhile",
        SENDING,
        "    if key is None or account.key != key.pk:",
        "    if key is None:",
        (GATE + "test_a_key_that_is_disconnected_while_his_order_is_being_sent_sends_nothing",),
    ),
    Mutant(
        "claims an entry without its key's row",
        ENTRIES,
        'also = ("credential", "credential__user__risk",',
        'also = ("credential__user__risk",',
        (RACES + "test_no_key_is_disconnected_while_its_entry_is_claimed",),
        postgres=True,
    ),
    Mutant(
        "fences with an answer that has to make sense",
        "trading/services/private.py",
        "kraken.reach(nonce=nonce)",
        "kraken.balance_ex(nonce=nonce)",
        (BAD_DAYS + "test_an_answer_that_makes_no_sense_fences_a_lane_all_the_same",),
    ),
    Mutant(
        "confirms by a key with query dates that an order does not exist",
        "trading/services/undecided.py",
        "    if not key.sees_all:\n",
        "    if not key.sees_all and verdict is Verdict.EXISTS:\n",
        (UNDECIDED + "test_a_key_that_sees_only_some_dates_proves_no_absence_to_a_person_either",),
    ),
    Mutant(
        "lets the levels of dust decide over what is being bought",
        "trading/services/levels.py",
        "if newest is not None and newest.filled and newest.state in order_state.FINAL else None",
        "if newest is not None and newest.filled else None",
        ("tests/trading/services/test_levels.py",),
    ),
    Mutant(
        "sizes the master's entry by a balance read before the price",
        "trading/services/master_orders.py",
        "            setattr(account, name, getattr(locked, name))\n",
        "            getattr(locked, name)\n",
        ("tests/trading/services/test_master_orders.py",),
    ),
    Mutant(
        "counts what was lost in a silence as lost today",
        "trading/selectors/profit.py",
        "before if at_midnight or created_at >= midnight else first",
        "before if at_midnight or created_at >= midnight or first is None else first",
        ("tests/trading/services/test_loss_limits.py",),
    ),
    Mutant(
        "switches copying on by a form that was opened before",
        "accounts/forms.py",
        'seen=cleaned["seen"]',
        "seen=None",
        ("tests/accounts/test_admin.py",),
    ),
    # Arithmetic.
    Mutant(
        "adds quantities as floats",
        POSITION,
        "return replace(state, managed=state.managed + quantity,",
        "return replace(state, managed=Quantity(str(float(state.managed.value) + float(quantity.value))),",
        ("tests/trading/domain/test_position.py",),
    ),
    Mutant(
        "rounds a quantity up",
        "trading/domain/instrument.py",
        "self.lot_size, ROUND_FLOOR",
        "self.lot_size, ROUND_CEILING",
        ("tests/trading/domain/test_instrument.py",),
    ),
    Mutant(
        "rounds a buy limit up and a sell limit down",
        "trading/domain/instrument.py",
        "ROUND_FLOOR if side is Side.BUY else ROUND_CEILING",
        "ROUND_CEILING if side is Side.BUY else ROUND_FLOOR",
        ("tests/trading/domain/test_instrument.py",),
    ),
    Mutant(
        "a fee that is earned",
        POSITION,
        "realised=state.realised + notional - fee - cost,",
        "realised=state.realised + notional + fee - cost,",
        ("tests/trading/domain/test_position.py",),
    ),
    Mutant(
        "takes the master's share of what is left after his sale",
        "trading/services/signals.py",
        "(Quantity(position.managed) + quantity).value",
        "max(Quantity(position.managed), quantity).value",
        (OBLIGATIONS + "test_three_partial_exits_close_the_masters_fraction_within_a_lot",),
    ),
    Mutant(
        "calls a position closed when dust is left",
        "trading/services/positions.py",
        "    is_open = bool(state.managed)\n",
        '    is_open = state.managed > Quantity(Decimal("1000"))\n',
        (OBLIGATIONS + "test_dust_is_shown_kept_and_not_retried",),
    ),
)
