/*
Candles with fills and levels. <div data-candles="URL" data-drawn="ID">: bars come from the URL (again from the newest one on after every
live update), marks and lines from the JSON script with that id. The page shows the same numbers in tables below.
*/
(function () {
  "use strict";
  var box = document.querySelector("[data-candles]");
  var values = document.getElementById("candle-values");
  if (!box || !window.LightweightCharts) return;
  var library = window.LightweightCharts;
  var still = window.matchMedia("(prefers-reduced-motion: reduce)");
  var chart = null, series = null, marks = null, lines = [], bars = [], told = null, shown = "", asking = false, at = -1;

  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function two(n) { return (n < 10 ? "0" : "") + n; }
  function instant(seconds) {
    var time = new Date(seconds * 1000);
    return time.toISOString().slice(0, 10) + " " + two(time.getUTCHours()) + ":" + two(time.getUTCMinutes());
  }
  function priced(value) { return value.toLocaleString("en-GB", { minimumFractionDigits: told.decimals, maximumFractionDigits: told.decimals }); }

  function looks() {
    return {
      layout: { background: { type: "solid", color: "transparent" }, textColor: colour("--muted"), attributionLogo: false, fontFamily: "system-ui, sans-serif" },
      grid: { vertLines: { color: colour("--border") }, horzLines: { color: colour("--border") } },
      rightPriceScale: { borderColor: colour("--border") },
      timeScale: { borderColor: colour("--border"), timeVisible: true, secondsVisible: false, rightOffset: 8 },
      crosshair: { vertLine: { color: colour("--border-strong"), labelBackgroundColor: colour("--border-strong") }, horzLine: { color: colour("--border-strong"), labelBackgroundColor: colour("--border-strong") } }
    };
  }
  function body() {
    return { upColor: colour("--positive"), borderUpColor: colour("--positive"), wickUpColor: colour("--positive"), downColor: colour("--negative"), borderDownColor: colour("--negative"), wickDownColor: colour("--negative") };
  }
  function make() {
    chart = library.createChart(box, Object.assign(looks(), {
      autoSize: true,
      handleScroll: { mouseWheel: false, pressedMouseMove: true, horzTouchDrag: true, vertTouchDrag: false },
      handleScale: { mouseWheel: false, pinch: true, axisPressedMouseMove: true, axisDoubleClickReset: true },
      kineticScroll: { touch: !still.matches, mouse: false },
      localization: { locale: "en-GB", timeFormatter: instant }
    }));
    series = chart.addSeries(library.CandlestickSeries, Object.assign(body(), {
      priceLineVisible: false, lastValueVisible: false,
      priceFormat: { type: "price", precision: told.decimals, minMove: told.step },
      autoscaleInfoProvider: withLevels
    }));
    marks = library.createSeriesMarkers(series, []);
    chart.subscribeCrosshairMove(function (where) { say(where.time === undefined ? -1 : indexOf(where.time)); });
    chart.subscribeClick(function (where) { if (where.time !== undefined) say(indexOf(where.time)); });
  }
  /* Levels that still lie ahead stay in sight. */
  function withLevels(usual) {
    var scale = usual();
    if (!scale || !scale.priceRange) return scale;
    told.lines.forEach(function (line) {
      if (line.hit) return;
      scale.priceRange.minValue = Math.min(scale.priceRange.minValue, line.price);
      scale.priceRange.maxValue = Math.max(scale.priceRange.maxValue, line.price);
    });
    return scale;
  }

  /* The newest bar that had begun by then. */
  function indexOf(seconds) {
    var low = 0, high = bars.length - 1, found = -1;
    while (low <= high) {
      var middle = (low + high) >> 1;
      if (bars[middle].time <= seconds) { found = middle; low = middle + 1; } else high = middle - 1;
    }
    return found;
  }
  function fillsOf(index) { return told.fills.filter(function (fill) { return Math.max(0, indexOf(fill.time)) === index; }); }

  function say(index) {
    at = index;
    var bar = bars[index < 0 ? bars.length - 1 : index];
    if (!bar) { values.textContent = ""; return; }
    var text = instant(bar.time) + " UTC: open " + priced(bar.open) + ", high " + priced(bar.high) + ", low " + priced(bar.low) + ", close " + priced(bar.close);
    if (index >= 0) {
      fillsOf(index).forEach(function (fill) {
        text += " · " + (fill.buys ? "Bought " : "Sold ") + fill.quantity + " " + told.base + " at " + fill.price + (fill.order ? ", order " + fill.order : "");
      });
    }
    if (values.textContent !== text) values.textContent = text;
  }

  function mark() {
    var seen = {};
    told.fills.forEach(function (fill) {
      var index = Math.max(0, indexOf(fill.time)), key = index + (fill.buys ? "b" : "s");
      if (!bars.length) return;
      if (seen[key]) { seen[key].text = (fill.buys ? "Buy ×" : "Sell ×") + (seen[key].count += 1); return; }
      seen[key] = {
        time: bars[index].time, count: 1, text: fill.buys ? "Buy" : "Sell", size: 1,
        position: fill.buys ? "belowBar" : "aboveBar", shape: fill.buys ? "arrowUp" : "arrowDown", color: colour(fill.buys ? "--accent" : "--warning")
      };
    });
    marks.setMarkers(Object.keys(seen).map(function (key) { return seen[key]; }).sort(function (a, b) { return a.time - b.time; }));
  }
  var TONES = { stop: "--negative", trailing: "--negative", target: "--positive", cost: "--accent", now: "--muted" };
  var DASHES = { stop: 2, trailing: 2, target: 2, cost: 0, now: 1 };
  function rule() {
    lines.forEach(function (line) { series.removePriceLine(line); });
    lines = told.lines.map(function (line) {
      return series.createPriceLine({
        price: line.price, title: line.hit ? "" : box.clientWidth < 500 ? line.short : line.label, lineWidth: 1, axisLabelVisible: !line.hit,
        lineStyle: line.hit ? 4 : DASHES[line.tone], color: line.hit ? colour("--border-strong") : colour(TONES[line.tone])
      });
    });
  }

  function retell() {
    var data = document.getElementById(box.dataset.drawn);
    if (data && data.textContent !== shown) { shown = data.textContent; told = JSON.parse(shown); return true; }
    return false;
  }
  function redraw() { if (chart) { mark(); rule(); say(at); } }

  function take(rows) {
    var fresh = rows.map(function (row) { return { time: row[0], open: row[1], high: row[2], low: row[3], close: row[4] }; });
    if (!chart) {
      bars = fresh;
      if (!bars.length) { values.textContent = "No candle has closed in this range yet."; return; }
      make();
      series.setData(bars);
      redraw();
      chart.timeScale().fitContent();
      box.dataset.bars = String(bars.length);
      return;
    }
    var added = false;
    fresh.forEach(function (bar) {
      var last = bars[bars.length - 1];
      if (bar.time < last.time) return;
      if (bar.time === last.time) bars[bars.length - 1] = bar; else { bars.push(bar); added = true; }
      series.update(bar);
    });
    box.dataset.bars = String(bars.length);
    if (added) redraw();
  }
  function ask() {
    if (asking) return;
    asking = true;
    var source = new URL(box.dataset.candles, window.location.href);
    if (bars.length) source.searchParams.set("from", String(bars[bars.length - 1].time));
    fetch(source, { credentials: "same-origin", cache: "no-store" })
      .then(function (response) { if (!response.ok) throw new Error("status " + response.status); return response.json(); })
      .then(function (answer) { take(answer.bars); })
      .catch(function () { if (!chart) values.textContent = "The candles could not be read. Trying again with the next update."; })
      .finally(function () { asking = false; });
  }

  function repaint() {
    if (!chart) return;
    chart.applyOptions(looks());
    series.applyOptions(body());
    redraw();
  }
  /* Arrow keys walk along the bars and read them out. */
  box.addEventListener("keydown", function (event) {
    var step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !chart) return;
    event.preventDefault();
    values.setAttribute("aria-live", "polite");
    var next = Math.max(0, Math.min(bars.length - 1, (at < 0 ? bars.length : at) + step));
    chart.setCrosshairPosition(bars[next].close, bars[next].time, series);
    say(next);
  });
  box.addEventListener("blur", function () { values.setAttribute("aria-live", "off"); if (chart) { chart.clearCrosshairPosition(); say(-1); } });
  document.addEventListener("nija:swapped", function () { if (retell()) redraw(); ask(); });
  document.addEventListener("nija:theme", repaint);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  retell();
  ask();
})();
