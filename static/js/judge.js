// Keys, focus and time on the judging pages. The server does the rest; without this file every button still works.
"use strict";

(() => {
  const work = document.getElementById("work");
  const help = document.getElementById("help");
  const toasts = document.getElementById("toasts");
  const announce = document.getElementById("announce");

  // A person who has seen nothing of an item cannot have judged it: what comes sooner after it appeared is the second
  // half of a double click, or a key that bounced.
  const TOO_SOON_MS = 150;
  // Reading needs no mouse, but after so long without any sign nobody may be there.
  const IDLE_MS = 30000;

  // After a failed send it is tried again so much later, doubled each time.
  const FIRST_RETRY_MS = 1000;
  const LAST_RETRY_MS = 60000;
  // Drafts that nobody came back to are forgotten after two weeks.
  const DRAFT_MS = 14 * 24 * 3600 * 1000;

  // Of the first item after a page load nothing is too soon: the press that led here was on another page.
  let shownAt = -Infinity;
  let lastSign = performance.now();
  let activeMs = 0;
  let lastButton = null;

  const decision = () => document.getElementById("decision");
  const skip = () => work.querySelector("details.skip");

  // Says on the page which item takes choices now: the browser tests press no key before.
  let settling = null;
  function settle(ms) {
    clearTimeout(settling);
    settling = setTimeout(() => { work.dataset.ready = submitId() ?? ""; }, ms);
  }

  // --- Time with the page visible and a person at it ---

  function signOfLife() {
    const now = performance.now();
    if (!document.hidden) activeMs += Math.min(now - lastSign, IDLE_MS);
    lastSign = now;
  }
  for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart"]) {
    document.addEventListener(name, signOfLife, { passive: true, capture: true });
  }
  document.addEventListener("visibilitychange", () => {
    // While it was hidden nobody looked; until it is hidden somebody did.
    if (document.hidden) {
      activeMs += Math.min(performance.now() - lastSign, IDLE_MS);
    }
    lastSign = performance.now();
  });

  // --- Sending ---

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#decision button, #undo button, button[form=decision]");
    if (!button) return;
    if (performance.now() - shownAt < TOO_SOON_MS || event.detail > 1) event.preventDefault();
    else if (button.form === decision()) lastButton = button;
  }, true);

  document.addEventListener("submit", (event) => {
    if (event.target !== decision()) {
      // While a choice waits to be sent, nothing may put another item in its place; nor, until it is answered, hand
      // its item back.
      const stops = event.target.closest(".judging-tools");
      if (stops ? retryTimer || onTheWay : retryTimer && work.contains(event.target)) {
        event.preventDefault();
        event.stopImmediatePropagation();
        if (stops && retryTimer) sendAgain();
      }
      return;
    }
    signOfLife();
    stopWaiting(false);
    sentId = submitId();
    sentAs = spoken(event.submitter);
    event.target.elements.active_ms.value = Math.round(activeMs);
  }, true);

  // --- What a screen reader is told: what was saved, or what stands on the page now, and what comes next ---

  let sentAs = "";
  function spoken(button) {
    // The order of a ranking says more than its button.
    const order = button?.value === "ranked" ? work.querySelector(".rank-order") : null;
    const parts = [...((order ?? button)?.childNodes ?? [])].filter((node) => node.ariaHidden !== "true");
    return parts.map((node) => node.textContent.trim()).filter(Boolean).join(" ");
  }
  function say(saved) {
    const here = [...work.querySelectorAll("[data-spoken]")].map((element) => element.textContent.trim());
    const news = saved ? [work.dataset.saved.replace("%s", () => saved), ...here] : here;
    if (decision() && !here.length) news.push(work.dataset.next);
    // Emptied first, so that the same words are announced again.
    announce.textContent = "";
    if (news.length) setTimeout(() => { announce.textContent = news.join(" ").replace(/\s+/g, " "); }, 50);
  }

  // --- While pages differ by their pair only, the server sends the pair alone, and the rest is kept here ---

  let shell = null;

  const parsed = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };
  function keepShell(html) {
    const page = parsed(html);
    if (page.querySelector("[data-shell]") && page.querySelector("#undo")) shell = page;
  }
  function aroundThePair(html) {
    const pair = parsed(html).firstElementChild;
    const [conversation, ...answers] = pair.children;
    const page = document.createElement("div");
    page.append(shell.cloneNode(true));
    page.querySelector(".conversation").replaceWith(conversation);
    page.querySelectorAll(".answer").forEach((answer, number) => {
      answer.replaceChildren(answer.querySelector(".side"), ...answers[number].childNodes);
    });
    const { slot, id, undo } = pair.dataset;
    for (const [name, value] of Object.entries({
      slot, client_id: id, reported_slot: slot, reported_id: id, undone_id: undo,
    })) page.querySelector(`input[name=${name}]`).setAttribute("value", value);
    // One more than the page said so far: nobody has to count them for that.
    const today = work.querySelector("[data-hook=today]").textContent.replace(/\d+/, (number) => Number(number) + 1);
    page.querySelector("[data-hook=today]").textContent = today;
    return page.innerHTML;
  }
  keepShell(work.innerHTML);
  document.addEventListener("htmx:config:request", (event) => {
    const context = event.detail.ctx;
    if (!shell || context.sourceElement !== decision()) return;
    context.request.headers["Pairloop-Shell"] = shell.querySelector("[data-shell]").dataset.shell;
  });
  document.addEventListener("htmx:after:request", (event) => {
    const context = event.detail.ctx;
    if (context.target !== work || context.response.status !== 200) return;
    if (context.response.headers.get("Pairloop-Item")) context.text = aroundThePair(context.text);
    else keepShell(context.text);
  });

  function toast(name) {
    // Above the choices, so that the one that waits is seen.
    const bar = work.querySelector(".bar");
    toasts.style.bottom = bar ? `${bar.offsetHeight + 8}px` : "";
    toasts.replaceChildren(document.getElementById(name).content.cloneNode(true));
  }
  function failed(event) {
    const context = event.detail.ctx;
    const status = context?.response?.status;
    // It is not decided yet, and its draft stays, also when an undo leads away from it.
    sentId = null;
    if (context?.request === onTheWay) onTheWay = null;
    if (status === 409 || status === 422) return;
    if (context?.sourceElement === decision() && (status === 401 || !(status >= 400 && status < 500))) keep(context.request);
    if (status === 401) toast("toast-signed-out");
    // What nobody asked for, such as looking again, may fail quietly: it is repeated anyway.
    else if (context?.sourceElement?.tagName !== "FORM") return;
    else if (status >= 400 && status < 500) toast("toast-refused");
    else if (context.sourceElement === decision()) waitAndSend();
    else toast("toast-failed");
  }
  document.addEventListener("htmx:response:error", failed);
  document.addEventListener("htmx:error", failed);

  // --- Sending again, by itself and by the button, until the server has it ---

  let retryTimer = null;
  let retryMs = FIRST_RETRY_MS;

  function waitAndSend() {
    if (!toasts.querySelector("[data-retry]")) toast("toast-unsaved");
    lastButton?.classList.add("waiting");
    const until = performance.now() + retryMs;
    retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
    clearInterval(retryTimer);
    const tick = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left <= 0) return sendAgain();
      const said = toasts.querySelector("[data-wait]");
      if (said) said.textContent = said.dataset.in.replace("%s", left);
    };
    retryTimer = setInterval(tick, 250);
    tick();
  }
  function sendAgain() {
    clearInterval(retryTimer);
    retryTimer = null;
    // The same form with the same id: if the first try did arrive after all, this is the same judgment once more.
    if (lastButton?.isConnected) lastButton.click();
  }
  function stopWaiting(done) {
    clearInterval(retryTimer);
    retryTimer = null;
    work.querySelector(".waiting[name]")?.classList.remove("waiting");
    if (done) retryMs = FIRST_RETRY_MS;
  }
  window.addEventListener("online", () => { if (retryTimer) sendAgain(); });
  window.addEventListener("beforeunload", (event) => { if (retryTimer) event.preventDefault(); });
  toasts.addEventListener("click", (event) => {
    if (event.target.closest("[data-retry]")) sendAgain();
  });

  // --- A choice that got no answer outlives this page: the next one sends it first (unsent.js) ---

  // None where an old answer is changed. Whose the choices are stands in their names: the next person at this browser
  // looks for other names.
  const notes = document.getElementById("unsent");
  let onTheWay = null;

  // A browser may refuse to keep anything; nothing here depends on it.
  function kept(action) {
    try { return action(localStorage); } catch { return null; }
  }
  function keep({ action, body }) {
    // A token is the page's own, and belongs to a session.
    const fields = [...body].filter(([name]) => name !== "csrfmiddlewaretoken");
    const entry = { at: Date.now(), url: action, said: sentAs, fields };
    kept((store) => store.setItem(notes.dataset.prefix + body.get("client_id"), JSON.stringify(entry)));
  }
  document.addEventListener("htmx:before:request", (event) => {
    if (event.detail.ctx.sourceElement === decision()) onTheWay = event.detail.ctx.request;
  });
  window.addEventListener("pagehide", () => { if (onTheWay) keep(onTheWay); });
  function answered(request) {
    onTheWay = null;
    const id = request.body?.get("client_id");
    if (id) kept((store) => store.removeItem(notes.dataset.prefix + id));
  }

  // --- Drafts of what is typed: they survive a reload, and go when the decision is saved ---

  const submitId = () => decision()?.elements.client_id.value;
  const draftKey = (id) => `pairloop-draft-${id}`;
  const fields = () => [...(decision()?.elements ?? [])].filter((field) => ["rationale", "tags"].includes(field.name));
  let sentId = null;

  function saveDraft(event) {
    if (!["rationale", "tags"].includes(event.target.name) || !submitId()) return;
    const tags = fields().filter((field) => field.checked).map((field) => field.value);
    const draft = { rationale: decision().elements.rationale?.value ?? "", tags, at: Date.now() };
    kept((store) => store.setItem(draftKey(submitId()), JSON.stringify(draft)));
  }
  document.addEventListener("input", saveDraft);
  function restoreDraft() {
    const draft = submitId() && kept((store) => JSON.parse(store.getItem(draftKey(submitId()))));
    if (!draft) return;
    for (const field of fields()) {
      if (field.name === "rationale") field.value = draft.rationale;
      else field.checked = draft.tags.includes(field.value);
    }
    const why = work.querySelector("details.why");
    if (why) why.open = true;
  }
  kept((store) => {
    for (const key of Object.keys(store)) {
      if (!key.startsWith("pairloop-draft-")) continue;
      const draft = JSON.parse(store.getItem(key));
      if (!(Date.now() - draft.at < DRAFT_MS)) store.removeItem(key);
    }
  });
  if (notes && kept((store) => Object.keys(store).some((key) => key.startsWith(notes.dataset.prefix)))) {
    const script = document.createElement("script");
    script.src = notes.dataset.library;
    document.head.append(script);
  }
  restoreDraft();

  document.addEventListener("htmx:after:swap", (event) => {
    const context = event.detail.ctx;
    const status = context?.response?.status;
    // htmx says "after swap" also when it swapped nothing: an error, or a look at a queue that is still empty.
    if (context?.target !== work || ![200, 409, 422].includes(status)) return;
    stopWaiting(true);
    answered(context.request);
    toasts.replaceChildren();
    if (status === 422) {
      sentId = null;
      // The same item with what was typed; the field where something is missing has `autofocus`.
      lastSign = performance.now();
      return;
    }
    if (status === 200 && sentId) kept((store) => store.removeItem(draftKey(sentId)));
    const saved = status === 200 && sentId ? sentAs : "";
    sentId = null;
    shownAt = lastSign = performance.now();
    settle(TOO_SOON_MS + 10);
    activeMs = 0;
    restoreDraft();
    work.querySelector("[data-focus]")?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    say(saved);
  });

  // --- How it is shown: remembered on this device ---

  for (const button of document.querySelectorAll("[data-view]")) {
    const view = button.dataset.view;
    const show = (on) => {
      document.body.classList.toggle(`view-${view}`, on);
      button.setAttribute("aria-pressed", String(on));
    };
    button.hidden = false;
    show(kept((store) => store.getItem(`pairloop-view-${view}`)) === "1");
    button.addEventListener("click", () => {
      const on = !document.body.classList.contains(`view-${view}`);
      show(on);
      kept((store) => store.setItem(`pairloop-view-${view}`, on ? "1" : "0"));
    });
  }

  // A page from the browser's back cache shows an item of the past: fetch the one that is on now.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  // --- Help and reasons ---

  for (const opener of document.querySelectorAll("[data-opens]")) {
    opener.hidden = false;
    opener.addEventListener("click", () => {
      if (help.open) return help.close();
      help.showModal();
      // The button that has the focus stands at its end; it is read from its beginning.
      help.scrollTop = 0;
    });
  }
  help.addEventListener("click", (event) => {
    if (event.target === help || event.target.closest("[data-closes]")) help.close();
  });
  // What opens below the answers may open behind the bar.
  document.addEventListener("click", (event) => {
    const opened = event.target.closest(".extras summary")?.parentElement;
    if (opened) requestAnimationFrame(() => { if (opened.open) opened.scrollIntoView({ block: "nearest" }); });
  });
  document.addEventListener("click", (event) => {
    if (skip()?.open && !event.target.closest("details.skip")) skip().open = false;
  });

  // --- Keys ---

  function pressed(event) {
    if (event.key === "Escape" && skip()?.open) {
      skip().open = false;
      skip().querySelector("summary").focus();
      return null;
    }
    const plain = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Shift changes what a digit types, and differently on each layout: here it is the key that counts.
    const shifted = event.shiftKey && /^(Digit[12]|Arrow(Left|Right))$/.test(event.code);
    const key = shifted ? `Shift+${event.code.replace("Digit", "")}` : plain;
    const has = (element) => element.dataset.keys.split(" ").includes(key);
    const within = (root) => [...root.querySelectorAll("[data-keys]")];
    if (help.open) return key === "?" ? document.querySelector("[data-opens=help]") : null;
    // With the reasons open their numbers come first, and no other key decides anything by accident.
    if (skip()?.open) return within(skip()).find(has);
    return within(document).find((element) => has(element) && !element.closest(".skip-menu"));
  }
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.isComposing || event.keyCode === 229) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key.length === 1 && document.body.classList.contains("view-keysoff")) return;
    // Shift is part of "?" and "+", and of nothing else here.
    if (event.shiftKey && /^[a-z]$/i.test(event.key)) return;
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    if (field && event.key === "Escape") work.querySelector("[data-focus]")?.focus({ preventScroll: true });
    // Enter in a box would press the form's first button: where that one chooses nothing, it need not be sent.
    const blank = work.querySelector("button[form=decision][hidden]");
    if (blank && event.key === "Enter" && field?.type === "checkbox" && field.form === blank.form) event.preventDefault();
    // A box that is ticked takes the space bar and no other key.
    if (field && !(field.type === "checkbox" && event.key !== " ")) return;
    // Wide code and tables scroll sideways with the arrows once they have the focus.
    if (event.key.startsWith("Arrow") && event.target.closest("pre, table, math")) return;
    const found = pressed(event);
    if (!found || found.disabled) return;
    event.preventDefault();
    // Why: open it, and write.
    const why = found.closest("details.why");
    if (why) {
      why.open = true;
      (why.querySelector("textarea") ?? why.querySelector("input")).focus();
      why.scrollIntoView({ block: "nearest" });
    } else {
      found.click();
      // What has just opened is told, and Tab leads into it.
      if (found.tagName === "SUMMARY") found.focus({ preventScroll: true });
    }
  });
  // A guideline to read, a quiz, a pause: Tab leads into it, and not through all that stands above.
  if (!decision()) work.querySelector("[data-focus]")?.focus({ preventScroll: true });
  settle(0);
})();
