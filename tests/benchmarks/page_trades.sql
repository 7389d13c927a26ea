-- The trades of `make bench-pages`: what the master did and what it meant for each follower, written set by set and in the order
-- in which the engine would have written it. Everything follows from numbers, so that two runs make the same books.

CREATE TEMP TABLE who AS
SELECT substring(a.iban FROM 3)::int AS number, a.id AS account_id, a.user_id, l.id AS lane_id
FROM trading_account a
JOIN accounts_credential c ON c.user_id = a.user_id
JOIN trading_lane l ON l.credential_id = c.id;

-- Round trips of the master, one after the other. The last ones go to everybody, and of these the last three are still open.
CREATE TEMP TABLE trip AS
SELECT k, i.id AS instrument_id, p.bid AS price_in, round(p.bid * (1 + (mod(k, 7) - 3) * 0.002), 6) AS price_out,
       k > %(trips)s - %(whole)s AS everybody, k > %(trips)s - 3 AS open, k = %(trips)s - 2 AS half
FROM generate_series(1, %(trips)s) AS k
JOIN trading_instrument i ON i.id = (SELECT min(id) FROM trading_instrument) + mod(k, %(instruments)s)
JOIN trading_marketprice p ON p.instrument_id = i.id;

-- Their signals: an entry, and an exit of the whole; of the oldest open one an exit of the half.
CREATE TEMP TABLE told AS
SELECT s.*, %(now)s::timestamptz - interval '10 minutes' - (max(signal_id) OVER () - signal_id) * %(step)s::interval AS at
FROM (
    SELECT row_number() OVER (ORDER BY k, leg) AS signal_id, k, leg, instrument_id, open, half, everybody,
           CASE leg WHEN 1 THEN price_in ELSE price_out END AS price,
           row_number() OVER (PARTITION BY instrument_id ORDER BY k, leg) AS sequence,
           row_number() OVER (PARTITION BY instrument_id, leg ORDER BY k) AS leg_number,
           CASE WHEN half AND leg = 2 THEN 0.5 ELSE 1 END AS share,
           trunc(100 / price_in, 6) * 2 AS held
    FROM trip CROSS JOIN (VALUES (1), (2)) AS legs (leg)
    WHERE leg = 1 OR half OR NOT open
) AS s;

-- Who copied which: everybody the last ones, the first follower all of them, the others some, spread evenly.
CREATE TEMP TABLE pair AS
SELECT k, number FROM trip CROSS JOIN who WHERE everybody AND number > 0
UNION
SELECT k, 1 FROM trip
UNION
SELECT 1 + i::bigint * (%(trips)s - %(whole)s - 1) / %(sampled)s,
       2 + mod(hashint8extended(i, 1) & 9223372036854775807, %(followers)s - 2)
FROM generate_series(1, %(sampled)s) AS i;

-- What became of the entry. The first and the last follower, whose pages are compared, hold what the master holds.
CREATE TEMP TABLE made AS
SELECT d.*, trunc(CASE outcome WHEN 'filled' THEN ordered WHEN 'partly' THEN ordered / 2 ELSE 0 END, 7) AS bought
FROM (
    SELECT k, number, instrument_id, price_in, open, half, spent, trunc(spent / price_in, 6) AS ordered,
           CASE WHEN everybody AND number IN (1, %(followers)s) THEN 'filled'
                WHEN luck < 70 THEN 'filled' WHEN luck < 74 THEN 'partly' WHEN luck < 77 THEN 'expired'
                WHEN luck < 78 THEN 'rejected' WHEN luck < 79 THEN 'not_placed'
                WHEN luck < 96 THEN 'skipped' ELSE 'missed' END AS outcome, luck
    FROM (
        SELECT k, number, instrument_id, price_in, open, half, everybody, 5 + mod(number * 7919, 45) AS spent,
               mod(hashint8extended(k::bigint * 1000003 + number, 2) & 9223372036854775807, 100) AS luck
        FROM pair JOIN trip USING (k)
    ) AS drawn
) AS d;

CREATE TEMP TABLE numbered AS
SELECT *, sum(CASE WHEN bought > 0 THEN 1 ELSE 0 END) OVER (PARTITION BY number, instrument_id ORDER BY k) AS round_trip
FROM made;

-- Every copy, and the order it led to. The master's own orders have the numbers of his signals.
CREATE TEMP TABLE leg AS
SELECT *, CASE WHEN state IS NOT NULL
          THEN %(signals)s + sum(CASE WHEN state IS NULL THEN 0 ELSE 1 END) OVER (ORDER BY copy_id) END AS order_id
FROM (
    SELECT row_number() OVER (ORDER BY t.signal_id, n.number) AS copy_id, t.signal_id, t.leg, t.at, t.sequence, t.price,
           n.number, n.instrument_id, n.outcome, n.spent, n.luck, n.round_trip, w.account_id, w.lane_id,
           CASE WHEN t.leg = 1 THEN n.ordered ELSE n.bought * t.share END AS quantity,
           CASE WHEN t.leg = 1 THEN n.bought ELSE n.bought * t.share END AS filled,
           CASE WHEN t.leg = 2 THEN CASE WHEN n.bought > 0 THEN 'filled' END
                WHEN n.outcome = 'partly' THEN 'canceled'
                WHEN n.outcome NOT IN ('skipped', 'missed') THEN n.outcome END AS state,
           interval '1 ms' * mod(hashint8extended(n.k::bigint * 1000003 + n.number, 3) & 9223372036854775807, 900) AS lag
    FROM numbered n JOIN told t USING (k) JOIN who w USING (number)
) AS l;

INSERT INTO trading_order (
    id, client_order_id, account_id, instrument_id, kind, origin, exit_number, side, quantity, limit_price, reason, strategy,
    strategy_version, parameters_hash, state, refusal, venue_order_id, venue_status, filled, filled_notional, fee, equity_before,
    nonce, lane_epoch, lane_id, sent_offset_ms, deadline, expires_at, created_at, sent_at, answered_at, booked_at, closed_at,
    lookups_empty, history_pages)
SELECT t.signal_id, gen_random_uuid(), w.account_id, t.instrument_id, CASE leg WHEN 1 THEN 'entry' ELSE 'exit' END, 'strategy',
       CASE leg WHEN 2 THEN leg_number END, CASE leg WHEN 1 THEN 'buy' ELSE 'sell' END, quantity, CASE leg WHEN 1 THEN price END,
       CASE leg WHEN 1 THEN 'apex: score 82 of 100, target 2.40 per cent above' ELSE 'Target 1 reached' END, 'apex', '1',
       repeat('0', 64), 'filled', '', 'OM' || lpad(t.signal_id::text, 8, '0'), 'closed', quantity, quantity * price,
       quantity * price * 0.004, 2400, 1000 + t.signal_id, t.signal_id, w.lane_id, 0, at, at + interval '1 minute',
       at - interval '200 ms', at - interval '150 ms', at - interval '60 ms', at, at, 0, 0
FROM (SELECT *, held * share AS quantity FROM told) AS t JOIN who w ON w.number = 0 ORDER BY t.signal_id;

INSERT INTO trading_signal (
    id, account_id, instrument_id, order_id, sequence, kind, quantity, price, notional, master_equity, managed_before, reason,
    strategy, strategy_version, parameters_hash, executed_at, created_at)
SELECT t.signal_id, w.account_id, t.instrument_id, t.signal_id, sequence, CASE leg WHEN 1 THEN 'entry' ELSE 'exit' END, quantity,
       price, quantity * price, CASE leg WHEN 1 THEN 2400 END, CASE leg WHEN 2 THEN held END,
       CASE leg WHEN 1 THEN 'apex: score 82 of 100, target 2.40 per cent above' ELSE 'Target 1 reached' END, 'apex', '1',
       repeat('0', 64), at - interval '20 ms', at
FROM (SELECT *, held * share AS quantity FROM told) AS t JOIN who w ON w.number = 0 ORDER BY t.signal_id;

INSERT INTO trading_order (
    id, client_order_id, account_id, instrument_id, kind, origin, signal_id, exit_number, side, quantity, limit_price, reason,
    strategy, strategy_version, parameters_hash, state, refusal, venue_order_id, venue_status, filled, filled_notional, fee,
    equity_before, nonce, lane_epoch, lane_id, sent_offset_ms, deadline, expires_at, created_at, sent_at, answered_at, booked_at,
    closed_at, lookups_empty, history_pages)
SELECT order_id, gen_random_uuid(), account_id, instrument_id, CASE leg WHEN 1 THEN 'entry' ELSE 'exit' END, 'copy',
       CASE leg WHEN 1 THEN signal_id END, CASE leg WHEN 2 THEN round_trip END, CASE leg WHEN 1 THEN 'buy' ELSE 'sell' END,
       quantity, CASE leg WHEN 1 THEN price END, 'Copy of the master', '', '', '', state,
       CASE state WHEN 'rejected' THEN 'Kraken refused it: EOrder:Insufficient funds'
                  WHEN 'not_placed' THEN 'The connection failed before it was written.' ELSE '' END,
       CASE WHEN state IN ('rejected', 'not_placed') THEN '' ELSE
           'O' || upper(substring(md5(order_id::text) FROM 1 FOR 5)) || '-' || upper(substring(md5(order_id::text) FROM 6 FOR 5))
           || '-' || upper(substring(md5(order_id::text) FROM 11 FOR 6)) END,
       'closed', filled, filled * price, filled * price * 0.004, spent * 12, 1000 + order_id, order_id, lane_id, 0,
       at + interval '5 s', CASE leg WHEN 1 THEN at + interval '30 s' END, at + interval '10 ms', at + interval '20 ms' + lag,
       at + interval '70 ms' + lag, at + interval '300 ms' + lag, at + interval '300 ms' + lag, 0, 0
FROM leg WHERE order_id IS NOT NULL ORDER BY order_id;

INSERT INTO copytrade_fanout (signal_id, claimed_at, followers)
SELECT signal_id, min(at) + interval '5 ms', count(*) FROM leg GROUP BY signal_id ORDER BY signal_id;

INSERT INTO copytrade_copyorder (
    id, signal_id, account_id, kind, status, reason, sentence, order_id, expires_at, equity, equity_as_of, equity_source,
    proportional, notional, cap, created_at, decided_at)
SELECT copy_id, signal_id, account_id, CASE leg WHEN 1 THEN 'entry' ELSE 'exit' END, status,
       CASE WHEN status = 'missed' THEN 'too_late' WHEN status = 'ordered' THEN ''
            WHEN leg = 2 THEN 'nothing_to_sell' WHEN luck < 84 THEN 'stopped_by_user'
            WHEN luck < 90 THEN 'below_notional_min' ELSE 'max_positions' END,
       CASE WHEN status = 'missed' THEN 'Missed: its time to live of 30 s was over before it could be sent.'
            WHEN status = 'ordered' THEN ''
            WHEN leg = 2 THEN 'Nothing to sell: the purchase was not copied.' WHEN luck < 84 THEN 'Skipped: you had stopped copying.'
            WHEN luck < 90 THEN 'Skipped: 10 per cent of $18.20 is less than the smallest order.'
            ELSE 'Skipped: 8 of 8 positions were open.' END,
       order_id, CASE leg WHEN 1 THEN at + interval '30 s' END, CASE leg WHEN 1 THEN spent * 12 END,
       CASE leg WHEN 1 THEN at - interval '4 s' END, CASE leg WHEN 1 THEN 'live' ELSE '' END,
       CASE leg WHEN 1 THEN spent * (CASE WHEN luck < 30 THEN 1.5 ELSE 1 END) END, CASE leg WHEN 1 THEN spent END,
       CASE WHEN leg = 2 THEN '' WHEN luck < 30 THEN 'max_risk' ELSE 'none' END, at + interval '5 ms', at + interval '12 ms'
FROM (SELECT *, CASE WHEN order_id IS NOT NULL THEN 'ordered' WHEN leg = 1 AND outcome = 'missed' THEN 'missed' ELSE 'skipped' END
             AS status FROM leg) AS l
ORDER BY copy_id;

-- A quarter of the orders fills in two parts.
INSERT INTO trading_execution (
    account_id, instrument_id, order_id, signal_id, trade_id, side, quantity, price, notional, fee, maker, executed_at, booked_at,
    round_trip)
SELECT account_id, instrument_id, order_id, signal_id, 'T' || order_id || '-' || part, side, quantity, price, quantity * price,
       quantity * price * 0.004, false, executed_at, booked_at, round_trip
FROM (
    SELECT w.account_id, t.instrument_id, t.signal_id AS order_id, t.signal_id, 1 AS part,
           CASE leg WHEN 1 THEN 'buy' ELSE 'sell' END AS side, held * share AS quantity, price, at - interval '20 ms' AS executed_at,
           at AS booked_at, CASE leg WHEN 1 THEN leg_number WHEN 2 THEN leg_number END AS round_trip
    FROM told t JOIN who w ON w.number = 0
    UNION ALL
    SELECT account_id, instrument_id, order_id, NULL, part, CASE leg WHEN 1 THEN 'buy' ELSE 'sell' END,
           CASE WHEN mod(copy_id, 4) <> 0 THEN filled WHEN part = 1 THEN trunc(filled / 3, 8) ELSE filled - trunc(filled / 3, 8) END,
           price, at + interval '60 ms' + lag, at + interval '300 ms' + lag, round_trip
    FROM leg JOIN (VALUES (1), (2)) AS parts (part) ON part = 1 OR mod(copy_id, 4) = 0
    WHERE filled > 0
) AS e
WHERE quantity > 0 ORDER BY booked_at, order_id, part;

-- Positions as booking leaves them: everything sold but for the trips that are open, of one of which half was sold.
INSERT INTO trading_position (
    account_id, instrument_id, managed, cost, realised, fees, is_open, opened_at, exit_count, signal_count, opened_sequence,
    round_trip, updated_at)
SELECT e.account_id, e.instrument_id, e.managed, coalesce(o.cost, 0), e.earned + coalesce(o.cost, 0), e.fees, o.cost IS NOT NULL,
       o.opened_at, e.exits, CASE WHEN e.account_id = m.account_id THEN s.signals ELSE 0 END,
       CASE WHEN e.account_id = m.account_id THEN NULL ELSE o.sequence END, e.trips, e.updated_at
FROM (
    SELECT account_id, instrument_id, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS managed,
           sum(CASE side WHEN 'buy' THEN -notional ELSE notional END - fee) AS earned, sum(fee) AS fees,
           count(DISTINCT order_id) FILTER (WHERE side = 'sell') AS exits, max(round_trip) AS trips, max(booked_at) AS updated_at
    FROM trading_execution GROUP BY account_id, instrument_id
) AS e
JOIN (SELECT instrument_id, max(sequence) AS signals FROM told GROUP BY instrument_id) AS s ON s.instrument_id = e.instrument_id
JOIN who m ON m.number = 0
LEFT JOIN (
    SELECT x.account_id, x.instrument_id, t.sequence, sum(x.notional + x.fee) * CASE WHEN t.half THEN 0.5 ELSE 1 END AS cost,
           min(x.booked_at) AS opened_at
    FROM told t JOIN trading_execution x ON x.instrument_id = t.instrument_id AND x.side = 'buy' AND x.executed_at >= t.at - interval '1 s'
    WHERE t.open AND t.leg = 1 GROUP BY x.account_id, x.instrument_id, t.sequence, t.half
) AS o ON o.account_id = e.account_id AND o.instrument_id = e.instrument_id;

-- Of the newest entry some orders are still being looked up, or wait for a person.
UPDATE trading_order SET state = CASE mod(id, 2) WHEN 0 THEN 'manual' ELSE 'unknown' END, refusal = '', closed_at = NULL,
    unknown_at = sent_at, alerted_at = %(now)s
WHERE state = 'not_placed' AND signal_id = (SELECT max(signal_id) FROM told);

UPDATE trading_account a SET last_fill_at = e.at
FROM (SELECT account_id, max(booked_at) AS at FROM trading_execution GROUP BY account_id) AS e WHERE e.account_id = a.id;

UPDATE trading_lane l SET last_nonce = o.nonce, epoch = o.epoch
FROM (SELECT lane_id, max(nonce) AS nonce, max(lane_epoch) AS epoch FROM trading_order GROUP BY lane_id) AS o WHERE o.lane_id = l.id;

SELECT setval(pg_get_serial_sequence('trading_order', 'id'), (SELECT max(id) FROM trading_order)),
       setval(pg_get_serial_sequence('trading_signal', 'id'), (SELECT max(id) FROM trading_signal)),
       setval(pg_get_serial_sequence('copytrade_copyorder', 'id'), (SELECT max(id) FROM copytrade_copyorder));
