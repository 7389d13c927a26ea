-- What surrounds the trades of `make bench-pages`: people in every state, balances, curves, alerts, checks, cycles, candles.

UPDATE trading_account SET created_at = %(now)s::timestamptz - interval '800 days', balances_as_of = %(now)s, balances_tried_at = %(now)s;

UPDATE accounts_risksettings r SET
    state = CASE mod(w.number, 100) WHEN 11 THEN 'close_only' WHEN 12 THEN 'close_only' WHEN 13 THEN 'off' ELSE r.state END,
    stopped_at = CASE WHEN mod(w.number, 100) IN (21, 22, 23) THEN %(now)s::timestamptz - interval '5 minutes' END,
    close_only_until = CASE WHEN mod(w.number, 100) = 31 THEN %(now)s::timestamptz + interval '6 hours' END,
    close_only_reason = CASE WHEN mod(w.number, 100) = 31 THEN 'Today''s loss of $5.10 reached your limit' ELSE '' END,
    allocation = CASE WHEN mod(w.number, 10) = 4 THEN 400 END
FROM who w WHERE w.user_id = r.user_id AND w.number > 0;

UPDATE accounts_credential c SET
    status = CASE mod(w.number, 100) WHEN 41 THEN 'disconnected' ELSE c.status END,
    entries_blocked_reason = CASE mod(w.number, 100) WHEN 42 THEN 'The key may withdraw funds.' ELSE '' END
FROM who w WHERE w.user_id = c.user_id AND w.number > 0;

UPDATE trading_account a SET held_at = %(now)s::timestamptz - interval '1 hour', held_reason = 'a balance does not fit the books'
FROM who w WHERE w.account_id = a.id AND mod(w.number, 500) = 51;

INSERT INTO trading_assetbalance (account_id, asset, total, hold, as_of)
SELECT p.account_id, i.base_asset, p.managed, 0, %(now)s
FROM trading_position p JOIN trading_instrument i ON i.id = p.instrument_id WHERE p.is_open;

INSERT INTO trading_assetbalance (account_id, asset, total, hold, as_of)
SELECT account_id, 'AIR' || n, n, 0, %(now)s FROM who CROSS JOIN generate_series(1, 3) AS n;

-- For those whose curves are drawn what is kept: a point every half minute of a day, two of each hour before (equity.thin).
-- Some for everybody else, in the order of time.
INSERT INTO trading_equitypoint (account_id, at, equity, cash, profit)
SELECT account_id, at, 500 + gained, 450 + gained / 2, gained
FROM (
    SELECT w.account_id, %(now)s::timestamptz - n * interval '30 s' AS at, 20 + 15 * sin(n / 700.0)::numeric(12, 6) AS gained
    FROM who w CROSS JOIN generate_series(1, %(points)s) AS n WHERE w.number IN (0, 1, %(followers)s) AND (n <= 2880 OR mod(n, 60) = 0)
    UNION ALL
    SELECT w.account_id, %(now)s::timestamptz - n * interval '12 hours' - w.number * interval '1 ms', mod(w.number + n, 40)
    FROM who w CROSS JOIN generate_series(1, %(points_of_others)s) AS n WHERE w.number NOT IN (0, 1, %(followers)s)
) AS p ORDER BY at;

INSERT INTO trading_event (at, kind, account_id, actor, message, subject, resolved_at, resolved_by, resolution, ended_at)
SELECT at, CASE WHEN mod(n, 9) = 0 THEN 'key' WHEN mod(n, 9) = 1 THEN 'lifted' WHEN mod(n, 9) = 2 THEN 'decided' ELSE 'alert' END,
       w.account_id, '', 'Event number ' || n, '', at + interval '1 minute', 'it passed', '', at + interval '1 minute'
FROM (SELECT n, %(now)s::timestamptz - (%(events)s - n + 60) * interval '1 minute' AS at FROM generate_series(1, %(events)s) AS n) AS e
JOIN who w ON w.number = 1 + mod(e.n, %(followers)s) ORDER BY n;

INSERT INTO trading_event (at, kind, account_id, actor, message, subject, resolved_by, resolution)
SELECT %(now)s::timestamptz - n * interval '20 s', CASE WHEN mod(w.number, 500) = 51 THEN 'held' ELSE 'alert' END, w.account_id, '',
       'The Kraken key may open nothing new: it may withdraw funds.', 'key:' || w.account_id, '', ''
FROM (SELECT row_number() OVER (ORDER BY number) AS n, * FROM who WHERE mod(number, 100) = 42 OR mod(number, 500) = 51) AS w;

INSERT INTO trading_inspection (kind, asked_at, asked_by, started_at, finished_at, findings_count, report)
SELECT 'books', at, '', at + interval '1 s', at + interval '20 s', 0, %(report)s::jsonb
FROM (SELECT %(now)s::timestamptz - n * interval '10 minutes' AS at FROM generate_series(1, %(inspections)s) AS n) AS i ORDER BY at;

INSERT INTO trading_strategycycle (due_at, started_at, finished_at, strategy, version, parameters_hash, profile, equity, problem)
SELECT at, at, at + interval '1 s', 'apex', '1', repeat('0', 64), 'LOW_CAPITAL', 2400, ''
FROM (SELECT %(now)s::timestamptz - (%(cycles)s - n) * interval '1 minute' AS at FROM generate_series(1, %(cycles)s) AS n) AS c;

INSERT INTO trading_candidate (cycle_id, instrument_id, candle_at, score, parts, vetoes)
SELECT c.id, i.id, c.due_at, mod(c.id * 7 + i.id * 13, 100), %(parts)s::jsonb,
       jsonb_build_array(jsonb_build_object('code', 'weak_trend', 'sentence', 'The trend is weak: ADX 14 is 11.2, and 20 is the least.'),
                         jsonb_build_object('code', CASE WHEN c.id = (SELECT min(id) FROM trading_strategycycle) THEN 'edge' ELSE 'volume' END,
                                            'sentence', 'Volume is 0.6 times its average, and 0.8 is the least.'))
FROM trading_strategycycle c CROSS JOIN (SELECT id FROM trading_instrument ORDER BY id LIMIT 6) AS i ORDER BY c.id, i.id;

INSERT INTO trading_candle (instrument_id, interval_min, starts_at, open, high, low, close, volume)
SELECT i.id, 1, date_trunc('minute', %(now)s::timestamptz) - n * interval '1 minute', p.bid, p.bid * 1.001, p.bid * 0.999, p.bid, 1000
FROM generate_series(1, %(candles)s) AS n CROSS JOIN (SELECT DISTINCT instrument_id AS id FROM trading_position WHERE is_open) AS i
JOIN trading_marketprice p ON p.instrument_id = i.id;
