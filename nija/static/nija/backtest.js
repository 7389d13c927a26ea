/*
A backtest's report: equity and drawdown as curves, each pair's candles with its fills. All numbers are in the JSON of #figures; the
same ones stand in the tables of the page and in the CSV files beside it.
*/
(function () {
  "use strict";
  var told = JSON.parse(document.getElementById("figures").textContent);
  var library = window.LightweightCharts;
  var box = document.getElementById("candles"), values = document.getElementById("candle-values");
  var chart = null, series = null, marks = null, pair = null, picked = 0, plots = [];

  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function two(n) { return (n < 10 ? "0" : "") + n; }
  function instant(seconds) {
    var at = new Date(seconds * 1000);
    return at.toISOString().slice(0, 10) + " " + two(at.getUTCHours()) + ":" + two(at.getUTCMinutes());
  }
  function dollars(value) { return (value < 0 ? "−$" : "$") + Math.abs(value).toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 }); }
  function percent(value) { return value.toFixed(2).replace("-", "−") + " %"; }

  function curve(id, label, numbers, tone, shown, height) {
    var place = document.getElementById(id);
    var axis = { stroke: colour("--muted"), grid: { stroke: colour("--border"), width: 1 }, ticks: { stroke: colour("--border"), width: 1 }, font: "12px system-ui, sans-serif" };
    function newest(u, value, index, at) { return at === null || at === undefined ? u.data[index][u.data[index].length - 1] : value; }
    plots.push(new uPlot({
      width: place.clientWidth, height: height,
      tzDate: function (seconds) { return uPlot.tzDate(new Date(seconds * 1000), "UTC"); },
      cursor: { drag: { x: false, y: false }, sync: { key: "report" } },
      scales: { y: { range: function (u, low, high) { var room = Math.max((high - low) * 0.08, 0.01); return [low - room, id === "drawdown" ? 0 : high + room]; } } },
      axes: [
        Object.assign({}, axis, { space: 84, values: [[86400, "{DD} {MMM}", "\n{YYYY}", null, null, null, null, null, 1], [60, "{HH}:{mm}", "\n{DD} {MMM}", null, "\n{DD} {MMM}", null, null, null, 1]] }),
        Object.assign({}, axis, { size: 76, values: function (u, splits) { return splits.map(shown); } })
      ],
      series: [
        { label: "Time (UTC)", value: function (u, v, s, i) { return instant(newest(u, v, s, i)); } },
        { label: label, stroke: colour(tone), fill: colour(tone + "-soft"), width: 1.5, points: { show: false }, value: function (u, v, s, i) { return shown(newest(u, v, s, i)); } }
      ]
    }, [told.equity.t, numbers], place));
  }
  function curves() {
    plots.forEach(function (plot) { plot.destroy(); });
    plots = [];
    curve("equity", "Equity", told.equity.equity, "--accent", dollars, 280);
    curve("drawdown", "Drawdown", told.equity.drawdown, "--negative", percent, 170);
  }

  function looks() {
    return {
      layout: { background: { type: "solid", color: "transparent" }, textColor: colour("--muted"), attributionLogo: false, fontFamily: "system-ui, sans-serif" },
      grid: { vertLines: { color: colour("--border") }, horzLines: { color: colour("--border") } },
      rightPriceScale: { borderColor: colour("--border") },
      timeScale: { borderColor: colour("--border"), timeVisible: true, secondsVisible: false, minBarSpacing: 0.05 }
    };
  }
  function body() {
    return { upColor: colour("--positive"), borderUpColor: colour("--positive"), wickUpColor: colour("--positive"), downColor: colour("--negative"), borderDownColor: colour("--negative"), wickDownColor: colour("--negative") };
  }
  function priced(ticks) { return (ticks * pair.tick).toFixed(pair.places); }
  function make() {
    chart = library.createChart(box, Object.assign(looks(), {
      autoSize: true, handleScroll: { mouseWheel: false, vertTouchDrag: false }, handleScale: { mouseWheel: false },
      localization: { locale: "en-GB", timeFormatter: instant }
    }));
    series = chart.addSeries(library.CandlestickSeries, Object.assign(body(), { priceLineVisible: false, lastValueVisible: false }));
    marks = library.createSeriesMarkers(series, []);
    chart.subscribeCrosshairMove(function (where) { say(where.time); });
  }
  function named(fill) { return fill.why + " at " + fill.price; }
  function say(time) {
    var index = time === undefined ? -1 : pair.t.indexOf(time);
    var text;
    if (index < 0) text = pair.symbol + ", candles of " + pair.minutes + " minutes, " + pair.fills.length + " fills. Choose a trade in the table to see it here.";
    else {
      var bar = pair.candles[index];
      text = instant(time) + " UTC: open " + priced(bar[0]) + ", high " + priced(bar[1]) + ", low " + priced(bar[2]) + ", close " + priced(bar[3]);
    }
    var chosen = pair.fills.filter(function (fill) { return fill.trade === picked; });
    if (chosen.length) text = "Trade " + picked + ": " + chosen.map(named).join(", ") + ". " + text;
    if (index >= 0) pair.fills.forEach(function (fill) { if (fill.t === time) text += " · " + fill.trade + ": " + named(fill); });
    values.textContent = text;
  }
  function mark() {
    marks.setMarkers(pair.fills.map(function (fill) {
      var chosen = fill.trade === picked;
      return {
        time: fill.t, position: fill.buy ? "belowBar" : "aboveBar", shape: fill.buy ? "arrowUp" : "arrowDown", size: chosen ? 1.4 : 0.6,
        text: chosen ? fill.why : "", color: colour(chosen ? (fill.buy ? "--accent" : "--warning") : "--border-strong")
      };
    }));
  }
  function show(symbol) {
    pair = told.pairs.filter(function (each) { return each.symbol === symbol; })[0];
    if (!chart) make();
    series.applyOptions({ priceFormat: { type: "price", precision: pair.places, minMove: pair.tick } });
    series.setData(pair.candles.map(function (bar, i) {
      return { time: pair.t[i], open: bar[0] * pair.tick, high: bar[1] * pair.tick, low: bar[2] * pair.tick, close: bar[3] * pair.tick };
    }));
    mark();
    say(undefined);
    box.dataset.bars = String(pair.t.length);
    document.querySelectorAll("[data-pair]").forEach(function (chip) { chip.setAttribute("aria-pressed", String(chip.dataset.pair === symbol)); });
  }
  function whole(symbol) {
    picked = 0;
    show(symbol);
    chart.timeScale().fitContent();
    press();
  }
  function press() {
    document.querySelectorAll("[data-trade]").forEach(function (button) { button.setAttribute("aria-pressed", String(Number(button.dataset.trade) === picked)); });
  }
  function pick(trade, symbol) {
    picked = trade;
    show(symbol);
    var fills = pair.fills.filter(function (fill) { return fill.trade === trade; });
    var from = pair.t.indexOf(fills[0].t), until = pair.t.indexOf(fills[fills.length - 1].t);
    chart.timeScale().setVisibleLogicalRange({ from: from - 40, to: until + 40 });
    press();
    box.scrollIntoView({ block: "center" });
  }

  document.querySelectorAll("[data-pair]").forEach(function (chip) { chip.addEventListener("click", function () { whole(chip.dataset.pair); }); });
  document.querySelectorAll("[data-trade]").forEach(function (button) {
    button.addEventListener("click", function () { pick(Number(button.dataset.trade), button.dataset.symbol); });
  });
  curves();
  whole(told.pairs[0].symbol);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
    curves();
    chart.applyOptions(looks());
    series.applyOptions(body());
    mark();
  });
  var waiting = null;
  window.addEventListener("resize", function () { window.clearTimeout(waiting); waiting = window.setTimeout(curves, 150); });
})();
