(function () {
  "use strict";
  var root = document.documentElement;
  function recall(key) {
    try { return localStorage.getItem("flywheel-report-" + key); } catch (e) { return null; }
  }
  function keep(key, value) {
    try { localStorage.setItem("flywheel-report-" + key, value); } catch (e) { return; }
  }
  function speak(lang) {
    root.dataset.lang = lang;
    root.lang = lang === "zh" ? "zh-CN" : "en";
  }
  function asked(name) {
    var match = new RegExp("[#&]" + name + "=([a-z]+)").exec(location.hash);
    return match && match[1];
  }
  var first = (navigator.language || "en").toLowerCase().indexOf("zh") === 0 ? "zh" : "en";
  speak(asked("lang") || recall("lang") || first);
  var theme = asked("theme") || recall("theme");
  if (theme === "dark" || theme === "light") { root.dataset.theme = theme; }
  document.getElementById("lang").addEventListener("click", function () {
    var next = root.dataset.lang === "zh" ? "en" : "zh";
    speak(next);
    keep("lang", next);
  });
  document.getElementById("theme").addEventListener("click", function () {
    var dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    keep("theme", root.dataset.theme);
  });
})();
