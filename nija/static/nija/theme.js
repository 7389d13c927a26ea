/* Loaded in the head, before the first paint: the reader's explicit choice of light or dark wins over the system's. */
(function () {
  "use strict";
  var choice = null;
  try { choice = window.localStorage.getItem("nija-theme"); } catch (error) { choice = null; }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
