/* Small conveniences on every page: copy buttons, confirmation of dangerous forms, the colour switch, relative times. */
(function () {
  "use strict";

  function copy(button) {
    var said = button.textContent, label = button.getAttribute("aria-label");
    function show(word, name) {
      button.textContent = word;
      if (label) button.setAttribute("aria-label", name);
    }
    /* A second press while the answer shows must not take it for the button's own word. */
    if (button.dataset.said) return;
    button.dataset.said = said;
    function answer(word) {
      show(word, word);
      window.setTimeout(function () { show(said, label); delete button.dataset.said; }, 1500);
    }
    if (!navigator.clipboard) { answer("Copy by hand"); return; }
    navigator.clipboard.writeText(button.dataset.copy).then(function () { answer("Copied"); }, function () { answer("Copy by hand"); });
  }

  function storedTheme() {
    try { return window.localStorage.getItem("nija-theme") || "system"; } catch (error) { return "system"; }
  }
  function showTheme(choice) {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    document.querySelectorAll("[data-theme-choice]").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    });
  }
  function chooseTheme(choice) {
    try {
      if (choice === "system") window.localStorage.removeItem("nija-theme");
      else window.localStorage.setItem("nija-theme", choice);
    } catch (error) { /* private browsing: the choice holds for this page only */ }
    showTheme(choice);
    document.dispatchEvent(new CustomEvent("nija:theme"));
  }

  var confirmed = null;
  function ask(form, submitter) {
    var dialog = document.getElementById("confirm");
    document.getElementById("confirm-text").textContent = form.dataset.confirm;
    document.getElementById("confirm-title").textContent = form.dataset.confirmTitle || "Please confirm";
    var yes = dialog.querySelector("[data-confirm-yes]");
    yes.textContent = form.dataset.confirmAction || "Continue";
    yes.onclick = function () {
      confirmed = form;
      dialog.close();
      if (submitter) form.requestSubmit(submitter); else form.requestSubmit();
    };
    dialog.querySelector("[data-confirm-no]").onclick = function () { dialog.close(); };
    dialog.showModal();
  }

  document.addEventListener("click", function (event) {
    var target = event.target.closest("[data-copy], [data-theme-choice]");
    if (!target) return;
    if (target.dataset.copy) copy(target); else chooseTheme(target.dataset.themeChoice);
  });
  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (form.dataset.confirm && confirmed !== form) { event.preventDefault(); ask(form, event.submitter); return; }
    if (form.method === "post") {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "yes";
    }
  });
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[data-sent]").forEach(function (form) { delete form.dataset.sent; });
  });

  function words(seconds) {
    if (seconds < 60) return seconds + " s";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min";
    if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
    return Math.floor(seconds / 86400) + " d";
  }
  /* The server's clock is the one the figures carry; a wrong clock on the reader's machine must not age them. */
  var drift = 0;
  function tick() {
    var now = Date.now() + drift;
    document.querySelectorAll("time[data-relative]").forEach(function (time) {
      var age = Math.round((now - Date.parse(time.dateTime)) / 1000);
      var text;
      if (time.dataset.relative === "until") text = age >= 0 ? "now" : "in " + words(-age);
      else if (time.dataset.relative === "for") text = words(Math.max(0, age));
      else text = age <= 0 ? "just now" : words(age) + " ago";
      if (time.textContent !== text) time.textContent = text;
    });
  }
  document.addEventListener("nija:clock", function (event) { drift = event.detail - Date.now(); tick(); });
  document.addEventListener("nija:swapped", tick);
  showTheme(storedTheme());
  window.setInterval(tick, 1000);
})();
