/*
Live pages. On "changed" from the stream, and on a slow poll besides, the page fetches itself and swaps its [data-live] regions by id.
While that fails, the page says since when it is stale and dims its figures.
*/
(function () {
  "use strict";
  var POLL_MS = 5000, POLL_STREAMING_MS = 15000, SILENCE_MS = 25000, FETCH_MS = 8000;
  var source = document.currentScript.dataset.source;
  var bar = document.getElementById("stale-bar");
  var stream = null, lastHeard = 0, lastFetch = Date.now(), lastGood = Date.now();
  var running = false, again = false, pointerDown = false, failures = 0;

  function regions() { return document.querySelectorAll("[data-live][id]"); }
  function clockOf(page) {
    var meta = page.querySelector('meta[name="server-time"]');
    return meta ? Date.parse(meta.content) : NaN;
  }
  function tellClock(page) {
    var at = clockOf(page);
    if (!isNaN(at)) document.dispatchEvent(new CustomEvent("nija:clock", { detail: at }));
  }
  function two(n) { return (n < 10 ? "0" : "") + n; }
  function setStale(stale) {
    document.body.classList.toggle("is-stale", stale);
    if (stale && bar.hidden) {
      var at = new Date(lastGood);
      bar.textContent = "Stale since " + two(at.getUTCHours()) + ":" + two(at.getUTCMinutes()) + ":" + two(at.getUTCSeconds()) +
        " UTC: NIJA does not answer this page. Orders do not depend on it. Trying again.";
      bar.hidden = false;
    }
    if (!stale) bar.hidden = true;
  }

  function isBusy(region) {
    /* The form that a dialog asks about must still be there when it is answered. */
    if (document.querySelector("dialog[open]")) return true;
    var active = document.activeElement;
    if (active && region.contains(active) && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return true;
    var selection = window.getSelection();
    return Boolean(selection && !selection.isCollapsed && region.contains(selection.anchorNode));
  }
  function keysOf(region) {
    var keys = {};
    region.querySelectorAll("tr[data-key]").forEach(function (row) { keys[row.dataset.key] = true; });
    return keys;
  }
  function swap(old, fresh) {
    var known = keysOf(old);
    old.querySelectorAll("details[open][id]").forEach(function (details) {
      var same = fresh.querySelector("#" + CSS.escape(details.id));
      if (same) same.open = true;
    });
    fresh.querySelectorAll("tr[data-key]").forEach(function (row) {
      if (!known[row.dataset.key]) row.classList.add("fresh");
    });
    var active = document.activeElement, focus = null;
    if (active && active !== document.body && old.contains(active)) {
      if (active.id) focus = "#" + CSS.escape(active.id);
      else if (active.getAttribute("href")) focus = 'a[href="' + CSS.escape(active.getAttribute("href")) + '"]';
      else if (active.dataset.copy) focus = '[data-copy="' + CSS.escape(active.dataset.copy) + '"]';
      else if (active.tagName === "SUMMARY" && active.parentNode.id) focus = "#" + CSS.escape(active.parentNode.id) + " > summary";
    }
    var scrolled = [];
    old.querySelectorAll(".table-box").forEach(function (box) { scrolled.push(box.scrollLeft); });
    old.replaceWith(fresh);
    fresh.querySelectorAll(".table-box").forEach(function (box, i) { if (scrolled[i]) box.scrollLeft = scrolled[i]; });
    if (focus) { var target = fresh.querySelector(focus); if (target) target.focus({ preventScroll: true }); }
  }
  function show(page) {
    var delayed = pointerDown;
    regions().forEach(function (old) {
      var fresh = page.getElementById(old.id);
      if (!fresh || old.isEqualNode(fresh)) return;
      if (pointerDown || isBusy(old)) { delayed = true; return; }
      swap(old, document.importNode(fresh, true));
    });
    document.dispatchEvent(new CustomEvent("nija:swapped"));
    return delayed;
  }

  function refresh() {
    if (running) { again = true; return; }
    running = true; again = false; lastFetch = Date.now();
    var limit = new AbortController();
    var timer = window.setTimeout(function () { limit.abort(); }, FETCH_MS);
    fetch(window.location.href, { headers: { "X-Live": "1" }, credentials: "same-origin", cache: "no-store", signal: limit.signal })
      .then(function (response) {
        if (response.redirected && new URL(response.url).pathname !== window.location.pathname) { window.location.reload(); return null; }
        if (!response.ok) throw new Error("status " + response.status);
        return response.text();
      })
      .then(function (text) {
        if (text === null) return;
        var page = new DOMParser().parseFromString(text, "text/html");
        lastGood = Date.now(); failures = 0;
        tellClock(page);
        if (show(page)) window.setTimeout(refresh, 1000);
        setStale(false);
      })
      .catch(function () { failures += 1; if (failures > 1 || Date.now() - lastGood > POLL_STREAMING_MS) setStale(true); })
      .finally(function () {
        window.clearTimeout(timer); running = false;
        if (again) window.setTimeout(refresh, 200);
      });
  }

  function open() {
    if (stream || document.hidden || !window.EventSource) return;
    stream = new EventSource(source);
    lastHeard = Date.now();
    stream.addEventListener("changed", function () { lastHeard = Date.now(); refresh(); });
    stream.addEventListener("heartbeat", function () { lastHeard = Date.now(); });
    stream.onerror = function () { if (stream && stream.readyState === EventSource.CLOSED) close(); };
  }
  function close() { if (stream) { stream.close(); stream = null; } }
  function streaming() { return stream !== null && stream.readyState === EventSource.OPEN && Date.now() - lastHeard < SILENCE_MS; }

  function tick() {
    if (document.hidden) return;
    if (stream && !streaming() && Date.now() - lastHeard > SILENCE_MS) close();
    if (!stream && Date.now() - lastHeard > POLL_MS) open();
    if (Date.now() - lastFetch >= (streaming() ? POLL_STREAMING_MS : POLL_MS)) refresh();
  }

  tellClock(document);
  if (!regions().length) return;
  document.addEventListener("pointerdown", function () { pointerDown = true; });
  ["pointerup", "pointercancel"].forEach(function (name) { document.addEventListener(name, function () { window.setTimeout(function () { pointerDown = false; }, 50); }); });
  /* Browsers allow six connections to one host: hidden pages give theirs back. */
  document.addEventListener("visibilitychange", function () { if (document.hidden) close(); else { open(); refresh(); } });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", function (event) { if (event.persisted) { open(); refresh(); } });
  open();
  window.setInterval(tick, 1000);
})();
