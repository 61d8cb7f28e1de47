// Ranking by keyboard, in the queue and in the quiz: a digit ranks the marked answer and moves the mark on, Enter saves. Without this file the ranks
// are radio buttons and the form says what is missing.
"use strict";

(() => {
  const work = document.getElementById("work");

  const decision = () => document.getElementById("decision");
  const answers = () => [...work.querySelectorAll(".ranked .answer")];
  const radios = (answer) => [...answer.querySelectorAll("input[type=radio]")];
  const rankOf = (answer) => Number(radios(answer).find((radio) => radio.checked)?.value ?? 0);
  const marked = () => work.querySelector(".ranked .marked");

  function mark(answer, focus) {
    if (!answer) return;
    marked()?.classList.remove("marked");
    answer.classList.add("marked");
    if (focus) {
      answer.focus({ preventScroll: true });
      answer.scrollIntoView({ block: "nearest" });
    }
  }
  function move(steps) {
    const all = answers();
    mark(all[Math.min(Math.max(all.indexOf(marked()) + steps, 0), all.length - 1)], true);
  }
  function rank(answer, value) {
    for (const radio of radios(answer)) radio.checked = radio.value === value;
    document.getElementById("announce").textContent = value ? `${answer.dataset.letter}: ${value}` : "";
    changed();
  }

  // --- The order so far: "B › A = C" ---

  function changed() {
    const said = work.querySelector(".rank-order");
    if (!said) return;
    said.hidden = false;
    const ranked = answers().filter(rankOf).sort((one, other) => rankOf(one) - rankOf(other));
    if (ranked.length === answers().length) {
      said.textContent = ranked.reduce((text, answer, place) => {
        const sign = place === 0 ? "" : rankOf(ranked[place - 1]) === rankOf(answer) ? " = " : " › ";
        return text + sign + answer.dataset.letter;
      }, "");
    } else {
      said.textContent = [ranked.length, answers().length].reduce((text, n) => text.replace("%s", n), said.dataset.missing);
    }
    keep();
  }

  // --- Drafts, beside those of judge.js, which also forgets the old ones ---

  const submitId = () => decision()?.elements.client_id?.value;
  const draftKey = (id) => `pairloop-draft-${id}-ranks`;
  let sentId = null;

  function stored(action) {
    try { return action(localStorage); } catch { return null; }
  }
  function keep() {
    const ranks = answers().map(rankOf);
    if (!submitId()) return;
    if (!ranks.some(Boolean)) stored((store) => store.removeItem(draftKey(submitId())));
    else stored((store) => store.setItem(draftKey(submitId()), JSON.stringify({ ranks, at: Date.now() })));
  }
  function prepare() {
    if (!answers().length) return;
    const draft = submitId() && stored((store) => JSON.parse(store.getItem(draftKey(submitId()))));
    answers().forEach((answer, place) => {
      for (const radio of draft ? radios(answer) : []) radio.checked = Number(radio.value) === draft.ranks[place];
    });
    changed();
    mark(answers().find((answer) => !rankOf(answer)) ?? answers()[0], false);
  }
  document.addEventListener("submit", (event) => {
    if (event.target === decision()) sentId = submitId();
  }, true);
  for (const name of ["htmx:response:error", "htmx:error"]) document.addEventListener(name, () => { sentId = null; });
  document.addEventListener("htmx:after:swap", (event) => {
    const context = event.detail.ctx;
    if (context?.target !== work) return;
    if (context.response?.status === 200 && sentId) stored((store) => store.removeItem(draftKey(sentId)));
    sentId = null;
    prepare();
  });

  // --- Pointer and keys ---

  document.addEventListener("change", (event) => {
    if (!event.target.closest(".ranks")) return;
    mark(event.target.closest(".answer"), false);
    changed();
  });
  document.addEventListener("pointerdown", (event) => mark(event.target.closest(".ranked .answer"), false));
  document.addEventListener("focusin", (event) => mark(event.target.closest(".ranked .answer"), false));

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229 || event.repeat) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !answers().length) return;
    if (document.querySelector("dialog[open]") || work.querySelector(".skip[open]")) return;
    if (event.key.length === 1 && document.body.classList.contains("view-keysoff")) return;
    const radio = event.target.closest("input[type=radio]");
    if (!radio && event.target.closest("input, textarea, select, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    if (/^[1-6]$/.test(key)) {
      if (Number(key) > answers().length) return;
      rank(marked(), key);
      const rest = answers().slice(answers().indexOf(marked()) + 1);
      const next = rest.find((answer) => !rankOf(answer)) ?? answers().find((answer) => !rankOf(answer));
      // After the last one the mark stays: the next key is Enter, or a correction.
      mark(next ?? marked(), true);
    } else if (key === "backspace") rank(marked(), "");
    else if (key === "arrowleft" || key === "arrowright") {
      if (radio || event.target.closest("pre, table, math")) return;
      move(key === "arrowleft" ? -1 : 1);
    } else if (key === "enter") {
      // A link or a button that has the focus is what Enter means.
      if (event.target.closest("a, button, summary")) return;
      decision().querySelector("[value=ranked]").click();
    } else {
      const named = answers().find((answer) => answer.dataset.letter.toLowerCase() === key);
      if (!named) return;
      mark(named, true);
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  prepare();
})();
