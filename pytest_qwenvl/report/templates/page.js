"use strict";
(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const languages = ["en", "zh"];

  function say(language) {
    const at = languages.indexOf(language);
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    const spans = document.querySelectorAll("[data-t]");
    for (const span of spans) {
      const its = words[span.dataset.t];
      if (!its) continue;
      const given = (span.dataset.a || "").split("\u241f");
      span.textContent = its[at].replace(/\{(\d)\}/g, (_, n) => given[n] ?? "");
      span.lang = document.documentElement.lang;
    }
    for (const named of document.querySelectorAll("[data-tl]")) {
      named.setAttribute("aria-label", words[named.dataset.tl][at]);
    }
    for (const button of document.querySelectorAll("[data-language]")) {
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    }
  }

  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => say(button.dataset.language));
  }
  const asked = new URLSearchParams(location.search).get("lang");
  const preferred = (navigator.languages && navigator.languages[0]) || "en";
  if ((asked || preferred).toLowerCase().startsWith("zh")) say("zh");

  // A link into closed parts of the page opens them, in browsers that do not by themselves.
  function reveal() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
    }
    target.scrollIntoView();
    const stop = target.matches("details") ? target.querySelector("summary") : null;
    if (stop) stop.focus({ preventScroll: true });
  }
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#"]');
    if (link && link.hash === location.hash) reveal();
  });
  reveal();

  // Where nothing is written, everything is shown, closed as it was made.
  const places = [...document.querySelectorAll(".place")];
  const filter = document.getElementById("filter");
  const nothing = document.getElementById("nothing");
  let rows = null;
  function text(row) {
    return (row.tagName === "DETAILS" ? row.firstElementChild : row).textContent.toLowerCase();
  }
  function narrow() {
    const wanted = filter.value.trim().toLowerCase();
    rows = rows || [...document.querySelectorAll("#results .row")].map((row) => [row, text(row)]);
    let shown = 0;
    for (const [row, its] of rows) {
      row.hidden = wanted !== "" && !its.includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    for (const part of document.querySelectorAll("#results .group, #results .place")) {
      part.hidden = wanted !== "" && !part.querySelector(".row:not([hidden])");
    }
    for (const place of places) place.open = wanted !== "" && !place.hidden;
    nothing.hidden = shown > 0 || wanted === "";
  }
  let waiting = 0;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(narrow, 120);
  });
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      for (const place of places) place.open = button.dataset.open === "1";
    });
  }

  // On paper nothing can be opened: what stands for each problem, and the plots, are.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("#problems > .problem > details:first-of-type, .load, .flips")) {
      part.open = true;
    }
  });
})();
