// Improving an answer: E, then the key of the side, opens its box; what is written there survives a reload. Without this
// file the boxes open by their headings, and are sent with every choice.
"use strict";

(() => {
  const work = document.getElementById("work");
  const announce = document.getElementById("announce");
  const SIDES = { ArrowLeft: "A", 1: "A", a: "A", ArrowRight: "B", 2: "B", b: "B" };

  const decision = () => document.getElementById("decision");
  const boxes = () => [...work.querySelectorAll("details.improve")];
  const field = (box) => box.querySelector("textarea");
  const question = () => work.querySelector(".improve-ask");
  // What a box holds when it comes from the server is the answer itself, or what the person wrote before.
  const untouched = (box) => "untouched" in field(box).dataset && field(box).value === field(box).defaultValue;

  function prepare() {
    for (const hidden of work.querySelectorAll(".improve [hidden]")) hidden.hidden = false;
    restore();
  }

  // --- Which one ---

  function ask(on) {
    if (!question()) return;
    question().hidden = !on;
    announce.textContent = on ? question().textContent : "";
  }
  function open(box) {
    ask(false);
    box.open = true;
    field(box).focus();
    box.scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229 || event.altKey || document.querySelector("dialog[open]")) return;
    const box = event.target.closest("details.improve");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (!box || event.repeat) return;
      event.preventDefault();
      box.querySelector("button[name=choice]").click();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key.length === 1 && document.body.classList.contains("view-keysoff")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (question() && !question().hidden) {
      // Until it is answered no key decides anything.
      event.preventDefault();
      event.stopImmediatePropagation();
      if (event.repeat || event.key === "Shift") return;
      const chosen = boxes().find((each) => each.dataset.side === SIDES[key]);
      if (chosen) open(chosen);
      else ask(false);
      return;
    }
    if (key !== "e" || event.shiftKey || event.repeat || !boxes().length || work.querySelector(".skip[open]")) return;
    event.preventDefault();
    const begun = boxes().filter((each) => each.open && !untouched(each));
    if (begun.length === 1) open(begun[0]);
    else ask(true);
  }, true);
  document.addEventListener("pointerdown", () => ask(false));

  document.addEventListener("click", (event) => {
    const box = event.target.closest("[data-resets]")?.closest("details.improve");
    if (!box) return;
    field(box).value = field(box).dataset.original ?? field(box).defaultValue;
    keep();
    field(box).focus();
  });

  // --- What is sent: an answer that nobody touched needs no way back to the server ---

  document.addEventListener("formdata", (event) => {
    if (event.target !== decision()) return;
    for (const box of boxes()) if (untouched(box)) event.formData.delete(field(box).name);
  });

  // --- Drafts, beside those of judge.js, which also forgets the old ones ---

  const submitId = () => decision()?.elements.client_id.value;
  const draftKey = (id) => `pairloop-draft-${id}-improved`;
  let sentId = null;

  function stored(action) {
    try { return action(localStorage); } catch { return null; }
  }
  function keep() {
    const id = submitId();
    if (!id) return;
    const draft = { at: Date.now() };
    for (const box of boxes()) if (!untouched(box)) draft[box.dataset.side] = field(box).value;
    stored((store) => store.setItem(draftKey(id), JSON.stringify(draft)));
  }
  function restore() {
    const id = submitId();
    const draft = id && stored((store) => JSON.parse(store.getItem(draftKey(id))));
    for (const box of draft ? boxes() : []) {
      if (!(box.dataset.side in draft)) continue;
      field(box).value = draft[box.dataset.side];
      box.open = true;
    }
  }
  document.addEventListener("input", (event) => { if (event.target.closest("details.improve")) keep(); });
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
  prepare();
})();
