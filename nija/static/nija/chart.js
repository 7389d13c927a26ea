/*
Equity as a line over time. <div class="chart" data-chart="ID"> reads {"t": [seconds], "series": [{"label", "values", "tone"}]} from the
JSON script with that id, again after every live update. The page shows the same numbers in a table below.
*/
(function () {
  "use strict";
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function two(n) { return (n < 10 ? "0" : "") + n; }
  /* Away from the curve the legend shows the newest point. */
  function newest(u, value, series, index) { return index === null || index === undefined ? u.data[series][u.data[series].length - 1] : value; }
  function dollars(u, value, series, index) { return inDollars(series === undefined ? value : newest(u, value, series, index)); }
  function inDollars(value) { return value === null || value === undefined ? "–" : (value < 0 ? "−$" : "$") + Math.abs(value).toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 }); }
  function instant(u, value, series, index) {
    var seconds = newest(u, value, series, index);
    if (seconds === null || seconds === undefined) return "–";
    var at = new Date(seconds * 1000);
    return at.toISOString().slice(0, 10) + " " + two(at.getUTCHours()) + ":" + two(at.getUTCMinutes()) + ":" + two(at.getUTCSeconds());
  }

  function draw(box) {
    var data = document.getElementById(box.dataset.chart);
    if (!data || box.dataset.drawn === data.textContent) return;
    var told = JSON.parse(data.textContent);
    var drawnBefore = box.dataset.drawn !== undefined;
    box.dataset.drawn = data.textContent;
    if (!told.t.length) return;
    var columns = [told.t].concat(told.series.map(function (s) { return s.values; }));
    if (box.plot && drawnBefore) { box.plot.setData(columns); return; }
    var axis = { stroke: colour("--muted"), grid: { stroke: colour("--border"), width: 1 }, ticks: { stroke: colour("--border"), width: 1 }, font: "12px system-ui, sans-serif" };
    var options = {
      width: box.clientWidth, height: box.clientWidth < 500 ? 200 : 260,
      tzDate: function (seconds) { return uPlot.tzDate(new Date(seconds * 1000), "UTC"); },
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: function (u, low, high) { var room = Math.max((high - low) * 0.12, Math.abs(high) * 0.002, 0.01); return [low - room, high + room]; } } },
      axes: [
        Object.assign({}, axis, { space: 84, values: [
          [86400, "{DD} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
          [60, "{HH}:{mm}", "\n{DD} {MMM}", null, "\n{DD} {MMM}", null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", null, null, "\n{DD} {MMM}", null, null, null, 1]
        ] }),
        Object.assign({}, axis, { size: 64, values: function (u, splits) { return splits.map(function (v) { return inDollars(v); }); } })
      ],
      series: [{ label: "Time (UTC)", value: instant }].concat(told.series.map(function (s) {
        return { label: s.label, stroke: colour(s.tone || "--accent"), fill: s.fill ? colour("--accent-soft") : undefined, width: 2, value: dollars, points: { show: told.t.length < 3 } };
      }))
    };
    if (box.plot) { box.plot.destroy(); }
    box.plot = new uPlot(options, columns, box);
  }
  function all(again) {
    document.querySelectorAll("[data-chart]").forEach(function (box) {
      if (again) { delete box.dataset.drawn; }
      draw(box);
    });
  }
  if (window.uPlot) {
    all(false);
    document.addEventListener("nija:swapped", function () { all(false); });
    document.addEventListener("nija:theme", function () { all(true); });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { all(true); });
    var waiting = null;
    window.addEventListener("resize", function () { window.clearTimeout(waiting); waiting = window.setTimeout(function () { all(true); }, 150); });
  }
})();
