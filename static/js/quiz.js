// Keys of the onboarding quiz, as on the judging pages. Without this file every button still works.
"use strict";

(() => {
  // As on the judging pages: a key pressed twice, or too long for the page before, answers nothing on this one.
  const TOO_SOON_MS = 150;
  let sent = false;
  const settle = () => {
    delete document.body.dataset.ready;
    setTimeout(() => { document.body.dataset.ready = ""; }, TOO_SOON_MS);
  };
  settle();
  // As chosen on the judging pages.
  const keysOff = () => {
    try { return localStorage.getItem("pairloop-view-keysoff") === "1"; } catch { return false; }
  };
  document.body.classList.toggle("view-keysoff", keysOff());
  document.querySelector("[data-focus]")?.focus({ preventScroll: true });
  document.addEventListener("submit", (event) => {
    // The second half of a double click; the server keeps the first answer anyway.
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener("pageshow", () => { sent = false; settle(); });
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key.length === 1 && keysOff()) return;
    if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
    // Wide code and tables scroll sideways with the arrows once they have the focus.
    if (event.key.startsWith("Arrow") && event.target.closest("pre, table, math")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const found = [...document.querySelectorAll("[data-keys]")].find((element) => element.dataset.keys.split(" ").includes(key));
    if (!found) return;
    event.preventDefault();
    if (!("ready" in document.body.dataset)) return;
    found.click();
  });
})();
