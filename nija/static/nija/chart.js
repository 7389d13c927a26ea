/*
Figures over time. <div class="chart" data-chart="ID"> reads {"t": [seconds], "series": [{"label", "values", "tone"}], "unit"} from the JSON
script with that id, again after every live update. "fill" draws an area; "marks" draws points without a line, whose "told" is what the
legend says of each; "unit" is "%" or left out for dollars. Charts of one page share their crosshair. The page shows the same numbers in a
table below.
*/
(function () {
  "use strict";
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function two(n) { return (n < 10 ? "0" : "") + n; }
  /* Away from the curve the legend shows the newest point. */
  function newest(u, value, series, index) { return index === null || index === undefined ? u.data[series][u.data[series].length - 1] : value; }
  function perCent(value) { return value === null || value === undefined ? "–" : (value < 0 ? "−" : "") + Math.abs(value).toFixed(1) + " %"; }
  function toned(name, opacity) { var hex = colour(name); return /^#[0-9a-f]{6}$/i.test(hex) ? hex + opacity : hex; }
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
    /* Marks come and go with the range: other lines are another chart. */
    var lines = told.series.map(function (s) { return s.label; }).join();
    box.told = told;
    if (box.plot && drawnBefore && box.lines === lines) { box.plot.setData(columns); return; }
    box.lines = lines;
    var inUnit = told.unit === "%" ? perCent : inDollars, low = box.classList.contains("low");
    function value(u, seen, series, index) { return inUnit(newest(u, seen, series, index)); }
    function markValue(u, seen, series, index) {
      var amounts = box.told.series[series - 1].told;
      return index === null || index === undefined || seen === null || seen === undefined ? "–" : inUnit(amounts[index]);
    }
    function line(s) {
      if (s.marks) return { label: s.label, stroke: colour(s.tone), width: 2, value: markValue, paths: function () { return null; }, points: { show: true, size: 11, width: 2, stroke: colour(s.tone), fill: colour("--raised") } };
      return { label: s.label, stroke: colour(s.tone || "--accent"), fill: s.fill ? toned(s.tone || "--accent", "22") : undefined, width: 2, value: value, points: { show: told.t.length < 3 } };
    }
    function range(u, least, most) {
      if (told.unit === "%") return [Math.min(least * 1.15, -0.5), 0];
      var room = Math.max((most - least) * 0.12, Math.abs(most) * 0.002, 0.01);
      return [least - room, most + room];
    }
    var axis = { stroke: colour("--muted"), grid: { stroke: colour("--border"), width: 1 }, ticks: { stroke: colour("--border"), width: 1 }, font: "12px system-ui, sans-serif" };
    var options = {
      width: box.clientWidth, height: low ? 110 : box.clientWidth < 500 ? 200 : 260,
      tzDate: function (seconds) { return uPlot.tzDate(new Date(seconds * 1000), "UTC"); },
      cursor: { drag: { x: false, y: false }, sync: { key: "nija" } },
      scales: { y: { range: range } },
      axes: [
        Object.assign({}, axis, { space: 84, values: [
          [86400, "{DD} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
          [60, "{HH}:{mm}", "\n{DD} {MMM}", null, "\n{DD} {MMM}", null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", null, null, "\n{DD} {MMM}", null, null, null, 1]
        ] }),
        Object.assign({}, axis, { size: 64, values: function (u, splits) { return splits.map(inUnit); } })
      ],
      series: [{ label: "Time (UTC)", value: instant }].concat(told.series.map(line))
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
