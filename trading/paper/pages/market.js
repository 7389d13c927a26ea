"use strict";
/* Reads /paper/market/view again and again and draws it; buttons post to the control API. */
(function () {
  const byId = (id) => document.getElementById(id);
  const query = new URLSearchParams(window.location.search);
  const chosen = { pair: query.get("pair") || "", interval: query.get("interval") || "" };
  const SOON_MS = 1000, LATER_MS = 3000;
  let chart = null, series = null, marks = null, told = null, drawn = "", timer = 0;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const utc = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function looks() {
    const line = colour("--border");
    return {
      layout: { background: { type: "solid", color: "transparent" }, textColor: colour("--muted"), attributionLogo: false, fontFamily: "system-ui, sans-serif" },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: false },
    };
  }
  function bodies() {
    const up = colour("--positive"), down = colour("--negative");
    return { upColor: up, borderUpColor: up, wickUpColor: up, downColor: down, borderDownColor: down, wickDownColor: down };
  }

  function draw() {
    if (!window.LightweightCharts) return;
    const library = window.LightweightCharts;
    const bars = told.candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close }));
    if (!chart) {
      chart = library.createChart(byId("chart"), Object.assign(looks(), {
        autoSize: true,
        handleScroll: { mouseWheel: false, vertTouchDrag: false },
        handleScale: { mouseWheel: false },
        localization: { locale: "en-GB", timeFormatter: utc },
      }));
      series = chart.addSeries(library.CandlestickSeries, bodies());
      marks = library.createSeriesMarkers(series, []);
      chart.subscribeCrosshairMove((where) => say(where.time));
    }
    const shape = told.pair.id + told.interval_min;
    series.applyOptions({ priceFormat: { type: "price", precision: told.pair.decimals, minMove: Number(told.pair.tick) } });
    series.setData(bars);
    marks.setMarkers(arrows());
    if (shape !== drawn) {
      drawn = shape;
      chart.timeScale().setVisibleLogicalRange({ from: Math.max(0, bars.length - (byId("chart").clientWidth < 500 ? 50 : 120)), to: bars.length + 3 });
    }
    byId("chart").dataset.bars = String(bars.length);
    say();
  }

  function arrows() {
    const first = told.candles.length ? told.candles[0][0] : 0;
    const found = new Map();
    for (const [time, buys] of told.marks) {
      const bar = time - (time % (told.interval_min * 60));
      if (bar < first) continue;
      const key = bar + (buys ? "b" : "s");
      const known = found.get(key);
      if (known) {
        known.count += 1;
        known.text = (buys ? "Buy ×" : "Sell ×") + known.count;
        continue;
      }
      found.set(key, {
        time: bar, count: 1, text: buys ? "Buy" : "Sell", shape: buys ? "arrowUp" : "arrowDown",
        position: buys ? "belowBar" : "aboveBar", color: colour(buys ? "--accent" : "--warning"),
      });
    }
    return [...found.values()].sort((a, b) => a.time - b.time);
  }

  function say(time) {
    const bar = told.candles.find((row) => row[0] === time) || told.candles[told.candles.length - 1];
    if (!bar) return;
    const [at, ...prices] = bar;
    const [open, high, low, close] = prices.map((price) => price.toFixed(told.pair.decimals));
    byId("values").textContent = `${utc(at).slice(0, 16)} UTC: open ${open}, high ${high}, low ${low}, close ${close}`;
  }

  function cells(row, values) {
    for (const [text, style] of values) {
      const cell = row.insertCell();
      cell.textContent = text;
      if (style) cell.className = style;
    }
    return row;
  }
  function fill(id, rows, write) {
    const body = byId(id);
    body.replaceChildren();
    for (const each of rows) write(body.insertRow(), each);
    const table = byId(id + "-table"), none = byId("no-" + id);
    if (table) table.hidden = !rows.length;
    if (none) none.hidden = rows.length > 0;
  }
  function link(pair, interval, text, current) {
    const anchor = document.createElement("a");
    anchor.href = `?pair=${encodeURIComponent(pair)}&interval=${interval}`;
    anchor.textContent = text;
    if (current) anchor.setAttribute("aria-current", "true");
    return anchor;
  }
  const side = (name) => [name === "buy" ? "Buy" : "Sell", name];

  function tables() {
    fill("pairs", told.pairs, (row, pair) => {
      row.insertCell().append(link(pair.id, told.interval_min, pair.name, pair.id === told.pair.id));
      cells(row, [[pair.bid, "number"], [pair.ask, "number"], [pair.spread_bps, "number"], [pair.pinned ? "set by hand" : "the market's"]]);
    });
    fill("orders", told.orders, (row, order) => cells(row, [
      [utc(order.time)], [order.account], side(order.side), [order.volume, "number"], [order.executed, "number"], [order.price, "number"], [order.order, "id"],
    ]));
    fill("trades", told.trades, (row, trade) => cells(row, [
      [utc(trade.time)], [trade.account], side(trade.side), [trade.volume, "number"], [trade.price, "number"], [trade.fee], [trade.order, "id"],
    ]));
    fill("faults", told.faults, (row, fault) => {
      cells(row, [
        [fault.kind, "id"], [fault.endpoint || "every endpoint"], [fault.account], [fault.delay_s, "number"],
        [`${fault.probability * 100} %`, "number"], [fault.times === null ? "until cleared" : fault.times, "number"], [fault.struck, "number"],
      ]);
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet small";
      button.textContent = "Clear";
      button.setAttribute("aria-label", `Clear the fault ${fault.kind}`);
      button.addEventListener("click", () => tell("DELETE", `/paper/faults/${fault.id}`));
      row.insertCell().append(button);
    });
  }

  function show() {
    byId("sentence").textContent = told.sentence;
    byId("pair-name").textContent = told.pair.name;
    const quote = told.pairs.find((pair) => pair.id === told.pair.id);
    byId("quote").textContent = `Bid ${quote.bid} · ask ${quote.ask} · spread ${quote.spread_bps} bps · last ${quote.last}`;
    byId("intervals").replaceChildren(...told.intervals.map((minutes) => link(told.pair.id, minutes, minutes < 60 ? `${minutes} min` : `${minutes / 60} h`, minutes === told.interval_min)));
    byId("advance").hidden = told.kind !== "replay";
    byId("pin").hidden = told.kind !== "pinned";
    byId("unpin").hidden = !quote.pinned;
    for (const [name, value] of [["bid", quote.bid], ["ask", quote.ask]]) {
      const field = byId("pin").elements[name];
      if (document.activeElement !== field && field.dataset.shown !== value) { field.value = value; field.dataset.shown = value; }
    }
    draw();
    if (!document.activeElement || !byId("faults").contains(document.activeElement)) tables();
  }

  function complain(text) {
    byId("problem").textContent = text;
    byId("problem").hidden = !text;
  }
  async function look() {
    window.clearTimeout(timer);
    try {
      const answer = await fetch(`/paper/market/view?pair=${encodeURIComponent(chosen.pair)}&interval=${encodeURIComponent(chosen.interval)}`);
      const view = await answer.json();
      if (view.error) { complain(`The exchange says: ${view.error}.`); return; }
      if (byId("problem").dataset.lost) { complain(""); delete byId("problem").dataset.lost; }
      told = view;
      show();
    } catch {
      byId("problem").dataset.lost = "yes";
      complain("The exchange does not answer; what is shown is old.");
    }
    timer = window.setTimeout(look, document.hidden || (told && told.kind !== "demo") ? LATER_MS : SOON_MS);
  }
  async function tell(method, path, fields) {
    complain("");
    const answer = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: fields && JSON.stringify(fields) });
    const said = await answer.json();
    if (said.error) complain(`Refused: ${said.error}.`);
    document.activeElement.blur();
    await look();
  }

  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => tell("POST", "/paper/market/advance", { candles: Number(button.dataset.advance) }));
  }
  byId("pin").addEventListener("submit", (event) => {
    event.preventDefault();
    const { bid, ask } = byId("pin").elements;
    tell("POST", "/paper/market/pin", { pair: told.pair.id, bid: bid.value.trim(), ask: ask.value.trim() });
  });
  byId("unpin").addEventListener("click", () => tell("POST", "/paper/market/pin", { pair: told.pair.id }));
  byId("fault").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("fault").elements, times = given.times.value.trim();
    tell("POST", "/paper/faults", {
      kind: given.kind.value, match: given.endpoint.value ? { endpoint: given.endpoint.value } : {},
      delay_s: Number(given.delay_s.value), probability: Number(given.chance.value) / 100, times: times === "" ? null : Number(times),
    });
  });
  byId("clear-faults").addEventListener("click", () => tell("DELETE", "/paper/faults"));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (chart) { chart.applyOptions(looks()); series.applyOptions(bodies()); marks.setMarkers(arrows()); }
  });
  look();
})();
