(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("scripted");

  var system = window.matchMedia("(prefers-color-scheme: dark)");
  var asked = /[?#&]theme=(light|dark)/.exec(location.search + location.hash);
  var kept = null;
  try { kept = localStorage.getItem("raytrain-theme"); } catch (refused) { kept = null; }
  if (asked) { root.dataset.theme = asked[1]; } else if (kept) { root.dataset.theme = kept; }
  document.getElementById("theme").addEventListener("click", function () {
    var now = root.dataset.theme || (system.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    try { localStorage.setItem("raytrain-theme", root.dataset.theme); } catch (refused) { return; }
  });

  document.getElementById("contents").open = window.innerWidth > 960;

  document.querySelectorAll(".chooser").forEach(function (chooser) {
    function show() {
      var chosen = chooser.querySelector("input:checked");
      Array.prototype.forEach.call(chooser.children, function (child) {
        if (child.classList.contains("choice")) { child.hidden = child.id !== chosen.value; }
      });
    }
    chooser.addEventListener("change", show);
    show();
  });

  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
})();
