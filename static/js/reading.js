// How an item is read: layout, folds, differences, and a reminder to rest. Nothing here decides anything, and without
// this file everything is shown in full on one page.
"use strict";

(() => {
  const work = document.getElementById("work");
  const menu = document.querySelector("details.view");
  const announce = document.getElementById("announce");
  const wide = matchMedia("(min-width: 48rem)");
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);

  // Taller than this a turn is folded, to the height that the style sheet gives it; likewise all the turns before the
  // last message together.
  const FOLD_TURN_PX = 30 * rem;
  const FOLD_EARLIER_PX = 40 * rem;
  // So many unfolded places are remembered, of the items of this tab.
  const UNFOLDED = 100;
  // Words that only one of the two answers has: the search for them takes the square of their number, and 0.3 seconds
  // for so many. Beyond it nothing is marked, and a note says so.
  const MOST_DIFFERENT = 2000;
  // So long without a sign of anybody is a break; a shorter silence counts as work for at most a minute.
  const BREAK_MS = 5 * 60 * 1000;
  const SILENCE_MS = 60 * 1000;

  // A browser may refuse to keep anything; nothing here depends on it.
  function kept(action) {
    try { return action(localStorage, sessionStorage); } catch { return null; }
  }
  const text = (name) => work.dataset[name];
  const answers = () => [...work.querySelectorAll(".answers:not(.single) > .answer")];
  const inField = (target) => target.closest("input, textarea, select, button, summary, a, dialog, [contenteditable]");

  // --- The menu ---

  function closeMenu() {
    if (!menu.open) return;
    const within = menu.contains(document.activeElement);
    menu.open = false;
    if (within) (work.querySelector("[data-focus]") ?? menu.querySelector("summary")).focus({ preventScroll: true });
  }
  menu.hidden = false;
  document.addEventListener("click", (event) => {
    if (!event.target.closest("details.view")) menu.open = false;
    // Chosen with the mouse it is chosen; who goes through the choices with the arrow keys wants to go on.
    else if (event.detail && event.target.matches("input")) closeMenu();
  });
  // Before judge.js has closed what Escape means first.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (menu.open) closeMenu();
    else if (document.querySelector("dialog[open], .skip[open]")) return;
    else if (!inField(event.target) || reminder.contains(event.target)) stopReminding();
  }, true);

  // --- Layout: one page, panes that scroll together or alone, one answer above the other ---

  const layouts = [...document.querySelectorAll("input[name=layout]")];
  const inPanes = () => wide.matches && /\blayout-(together|alone)\b/.test(document.body.className);

  function lay(name) {
    for (const choice of layouts) {
      document.body.classList.toggle(`layout-${choice.value}`, choice.value === name);
      choice.checked = choice.value === name;
    }
    // What scrolls by itself must be reachable by keyboard.
    for (const pane of work.querySelectorAll(".answers:not(.single) > .answer, .conversation")) {
      if (inPanes()) pane.tabIndex = 0;
      else pane.removeAttribute("tabindex");
    }
    // What asks for the answers comes last in the conversation.
    const last = work.querySelector(".turn.last");
    if (inPanes() && last) last.parentElement.scrollTop = last.offsetTop - last.parentElement.offsetTop;
  }
  const layout = () => layouts.find((choice) => choice.checked)?.value;
  function choose(name) {
    lay(name);
    kept((store) => store.setItem("pairloop-layout", name));
  }
  for (const choice of layouts) choice.addEventListener("change", () => choose(choice.value));
  document.querySelector("[data-next-layout]")?.addEventListener("click", () => {
    const next = layouts[(layouts.findIndex((choice) => choice.checked) + 1) % layouts.length];
    choose(next.value);
    announce.textContent = next.closest("label").textContent.trim();
  });
  wide.addEventListener("change", () => lay(layout()));

  // Panes that scroll together do so in proportion: both begin and both end at the same time.
  const moved = new WeakMap();
  document.addEventListener("scroll", (event) => {
    const from = event.target;
    if (!document.body.classList.contains("layout-together") || !answers().includes(from)) return;
    const echo = moved.get(from);
    moved.delete(from);
    if (echo !== undefined && Math.abs(echo - from.scrollTop) < 2) return;
    const part = from.scrollTop / Math.max(1, from.scrollHeight - from.clientHeight);
    for (const to of answers()) {
      if (to === from) continue;
      const before = to.scrollTop;
      to.scrollTop = part * (to.scrollHeight - to.clientHeight);
      if (to.scrollTop !== before) moved.set(to, to.scrollTop);
    }
  }, { capture: true, passive: true });

  // With the focus on the whole item, the keys that scroll a page scroll both panes.
  document.addEventListener("keydown", (event) => {
    if (!inPanes() || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (inField(event.target) || event.target.closest(".answer, .conversation, pre, table, math")) return;
    if (document.querySelector("dialog[open]")) return;
    const page = 0.85 * (answers()[0]?.clientHeight ?? 0);
    const by = {
      ArrowDown: 40, ArrowUp: -40, PageDown: page, PageUp: -page, " ": event.shiftKey ? -page : page, End: 1e7, Home: -1e7,
    }[event.key];
    if (!by) return;
    event.preventDefault();
    const panes = answers().sort((a, b) => b.scrollHeight - a.scrollHeight);
    const together = document.body.classList.contains("layout-together");
    for (const pane of together ? panes.slice(0, 1) : panes) pane.scrollTop += by;
  });

  // --- Folds: what is very long shows its beginning, and how to see the rest; remembered for each item ---

  const itemId = () => work.querySelector("#decision [name=client_id]")?.value ?? "";
  const unfolded = () => kept((_, store) => JSON.parse(store.getItem("pairloop-unfolded"))) ?? [];

  function foldable(box, name, before, labels) {
    const key = `${itemId()} ${name}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button quiet small fold";
    const show = (open) => {
      box.classList.toggle("folded", !open);
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? labels.less : labels.more;
    };
    const remember = (open) => {
      show(open);
      const others = unfolded().filter((other) => other !== key).slice(-UNFOLDED);
      kept((_, store) => store.setItem("pairloop-unfolded", JSON.stringify(open ? [...others, key] : others)));
    };
    button.addEventListener("click", () => remember(button.getAttribute("aria-expanded") !== "true"));
    // A link in the hidden part that gets the focus must be seen.
    box.addEventListener("focusin", (event) => {
      if (event.target !== button && box.classList.contains("folded") && !event.target.matches("button")) remember(true);
    });
    if (before) box.prepend(button);
    else box.append(button);
    show(unfolded().includes(key));
  }
  function fold() {
    for (const conversation of work.querySelectorAll(".conversation:not([data-folds])")) {
      conversation.dataset.folds = "";
      const turns = [...conversation.querySelectorAll(".turn:not(.system)")];
      const earlier = turns.filter((turn) => !turn.classList.contains("last"));
      const tall = earlier.reduce((sum, turn) => sum + turn.offsetHeight, 0) > FOLD_EARLIER_PX;
      turns.forEach((turn, number) => {
        if (turn.offsetHeight <= FOLD_TURN_PX) return;
        foldable(turn, `turn ${number}`, false, { more: text("showAll"), less: text("showLess") });
      });
      if (tall && earlier.length > 1) {
        foldable(conversation, "earlier", true, { more: text("showEarlier"), less: text("hideEarlier") });
      }
    }
  }

  // --- Differences: words that only one of the two answers has ---

  const compare = document.querySelector("[data-view=diff]");
  let library = null;

  function load() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = compare.dataset.library;
      script.addEventListener("load", () => resolve(globalThis.Diff));
      script.addEventListener("error", reject);
      document.head.append(script);
    });
    return library;
  }
  // Words as the reader's language has them, where the browser knows; each with its place. A formula is one word.
  const segmenter = globalThis.Intl?.Segmenter && new Intl.Segmenter(undefined, { granularity: "word" });
  function* segments(string) {
    if (!segmenter) for (const match of string.matchAll(/\S+/g)) yield [match[0], match.index];
    else for (const { segment, index } of segmenter.segment(string)) if (segment.trim()) yield [segment, index];
  }
  function wordsOf(root) {
    const accept = (node) => {
      if (node.nodeName === "math") return NodeFilter.FILTER_ACCEPT;
      if (node.nodeType === Node.TEXT_NODE) return node.parentElement.closest("math") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
      return NodeFilter.FILTER_SKIP;
    };
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, accept);
    const words = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.nodeType !== Node.TEXT_NODE) words.push({ word: node.textContent, node });
      else for (const [word, start] of segments(node.data)) words.push({ word, node, start, end: start + word.length });
    }
    return words;
  }
  // Neighbours in one text become one mark, with what is between them.
  function mark(words, side) {
    const spans = [];
    for (const { node, start, end, last } of words) {
      const before = spans.at(-1);
      if (start !== undefined && before?.node === node && before.last === last - 1) Object.assign(before, { end, last });
      else spans.push({ node, start, end, last });
    }
    // From the end, because splitting a text moves what is behind.
    for (const { node, start, end } of spans.reverse()) {
      if (start === undefined) { node.classList.add("only"); continue; }
      const range = new Range();
      range.setStart(node, start);
      range.setEnd(node, end);
      const element = document.createElement("mark");
      element.className = "only";
      element.dataset.begins = text(side === 0 ? "onlyA" : "onlyB");
      element.dataset.ends = text("onlyEnd");
      range.surroundContents(element);
    }
  }
  function unmark() {
    for (const element of work.querySelectorAll("mark.only")) {
      const parent = element.parentNode;
      element.replaceWith(...element.childNodes);
      parent.normalize();
    }
    for (const element of work.querySelectorAll("math.only")) element.removeAttribute("class");
    work.querySelector(".differences")?.remove();
  }
  // Said aloud once; for the pairs that follow it stands before the answers.
  let aloud = false;
  function say(sentence) {
    if (aloud) announce.textContent = sentence;
    aloud = false;
    const note = document.createElement("p");
    note.className = "differences muted small";
    note.textContent = sentence;
    work.querySelector(".answers").before(note);
  }
  const shown = () => (document.body.classList.contains("view-raw") ? ".raw" : ".prose");
  async function differ() {
    const on = () => document.body.classList.contains("view-diff");
    if (!compare || !on()) return unmark();
    const panes = answers();
    if (panes.length !== 2) return;
    let Diff;
    try { Diff = await load(); } catch { library = null; }
    // Meanwhile another pair may be there, or the wish be gone.
    if (!on() || panes.some((pane) => !pane.isConnected)) return;
    unmark();
    if (!Diff) return say(text("differencesFailed"));
    const sides = panes.map((pane) => { const root = pane.querySelector(shown()); return root ? wordsOf(root) : []; });
    const changes = Diff.diffArrays(...sides.map((words) => words.map(({ word }) => word)), { maxEditLength: MOST_DIFFERENT });
    if (!changes) return say(text("differencesMany").replace("%s", MOST_DIFFERENT.toLocaleString(document.documentElement.lang)));
    const only = [[], []];
    let [a, b] = [0, 0];
    for (const { added, removed, count } of changes) {
      if (!added) { if (removed) for (let n = a; n < a + count; n += 1) only[0].push({ ...sides[0][n], last: n }); a += count; }
      if (!removed) { if (added) for (let n = b; n < b + count; n += 1) only[1].push({ ...sides[1][n], last: n }); b += count; }
    }
    only.forEach(mark);
    const counts = only.map((words) => words.length);
    say(counts[0] + counts[1] ? text("differences").replace("%a", counts[0]).replace("%b", counts[1]) : text("differencesNone"));
  }
  // judge.js has put the state on the body when the click gets here.
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-view=diff], [data-view=raw]")) return;
    aloud = true;
    differ();
  });

  // --- A reminder to rest, after so many minutes of work without a break; counted on this device alone ---

  const reminder = document.getElementById("rest");
  const minutes = document.querySelector("select[name=rest]");
  const worked = () => kept((store) => JSON.parse(store.getItem("pairloop-worked"))) ?? { ms: 0, at: Date.now() };
  let counted = 0;

  const count = (ms) => kept((store) => store.setItem("pairloop-worked", JSON.stringify({ ms, at: Date.now() })));
  function signOfLife() {
    // Once a second is exact enough. A clock that was put back counts for nothing.
    if (document.hidden || Math.abs(Date.now() - counted) < 1000) return;
    counted = Date.now();
    const { ms, at } = worked();
    const silence = Math.max(0, Date.now() - at);
    count(silence >= BREAK_MS ? 0 : ms + Math.min(silence, SILENCE_MS));
  }
  for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart"]) {
    document.addEventListener(name, signOfLife, { passive: true, capture: true });
  }
  function stopReminding() {
    if (!reminder.hasChildNodes()) return;
    if (reminder.contains(document.activeElement)) work.querySelector("[data-focus]")?.focus({ preventScroll: true });
    reminder.replaceChildren();
    count(0);
  }
  // Only between two items: nobody is interrupted while reading.
  function remind() {
    const [limit, done] = [Number(minutes.value), Math.floor(worked().ms / 60000)];
    if (!limit || done < limit || reminder.hasChildNodes()) return;
    const note = document.getElementById("rest-note").content.cloneNode(true);
    const sentence = note.querySelector("[data-said]");
    sentence.textContent = sentence.dataset.said.replace("%s", done);
    reminder.append(note);
  }
  const wanted = kept((store) => store.getItem("pairloop-rest"));
  if ([...minutes.options].some((option) => option.value === wanted)) minutes.value = wanted;
  minutes.addEventListener("change", () => {
    kept((store) => store.setItem("pairloop-rest", minutes.value));
    if (reminder.hasChildNodes()) stopReminding();
  });
  reminder.addEventListener("click", (event) => {
    if (event.target.closest("button")) stopReminding();
  });

  // --- Whatever is on the page now ---

  function fresh() {
    if (layouts.length) lay(layout());
    fold();
    // What scrolls sideways must be reachable by keyboard in every browser.
    for (const box of work.querySelectorAll(".prose :is(pre, table, math)")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    }
    if (document.body.classList.contains("view-diff")) differ();
    remind();
  }
  document.addEventListener("htmx:after:swap", (event) => {
    const target = event.detail.ctx?.target;
    if (target && (target === work || work.contains(target))) fresh();
  });
  const remembered = kept((store) => store.getItem("pairloop-layout"));
  if (layouts.length) lay(layouts.some((choice) => choice.value === remembered) ? remembered : layouts[0].value);
  fresh();
})();
