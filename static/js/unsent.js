// Sends what a page before could not (judge.js kept it in this browser, and loads this file where there is something):
// the same submit again, with this page's token. While the server cannot be reached it waits, beside the item at hand.
"use strict";

(() => {
  const work = document.getElementById("work");
  const notes = document.getElementById("unsent");

  const RETRY_MS = 15000;
  const TIMEOUT_MS = 20000;
  // What a person typed, of all that is sent.
  const TYPED = ["rationale", "edited_a", "edited_b"];
  const PREFIX = notes.dataset.prefix;

  const onPage = () => PREFIX + document.getElementById("decision")?.elements.client_id.value;
  function stored(action) {
    try { return action(localStorage); } catch { return null; }
  }

  const waiting = new Set(stored((store) => Object.keys(store).filter((key) => key.startsWith(PREFIX))) ?? []);
  let sending = null;
  let retryTimer = null;

  function show(key, state) {
    let note = document.getElementById(key);
    if (!note) {
      note = document.getElementById("unsent-note").content.firstElementChild.cloneNode(true);
      note.id = key;
      notes.append(note);
    }
    note.dataset.state = state;
    for (const part of note.querySelectorAll("[data-when]")) part.hidden = !part.dataset.when.split(" ").includes(state);
    return note;
  }
  // Nobody shall decide anew what is just being sent.
  window.addEventListener("submit", (event) => {
    if (!sending || onPage() !== sending || !work.contains(event.target)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  function forget(key) {
    stored((store) => store.removeItem(key));
    waiting.delete(key);
    document.getElementById(key)?.remove();
  }

  async function sendAll() {
    if (sending) return;
    clearTimeout(retryTimer);
    for (const key of [...waiting]) {
      sending = key;
      await send(key);
    }
    sending = null;
    if (waiting.size) retryTimer = setTimeout(sendAll, RETRY_MS);
  }
  async function send(key) {
    const entry = stored((store) => JSON.parse(store.getItem(key)));
    // Another tab was faster, or the item on this page was decided anew.
    if (!entry) return forget(key);
    show(key, "sending");
    const body = new URLSearchParams(entry.fields);
    body.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
    // The item that is on this page stays the next one: no other is leased beside it.
    body.set("again", "1");
    let answer, text;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      answer = await fetch(entry.url, { method: "POST", body, headers: { "HX-Request": "true" }, signal });
      text = await answer.text();
    } catch {
      return void show(key, "waiting");
    }
    if (answer.status >= 500) return void show(key, "waiting");
    waiting.delete(key);
    if (answer.status === 401 || answer.status === 403) return void show(key, "signed-out");
    // The project asks something else by now, and leads there.
    if (answer.status === 200 && !answer.redirected) saved(key, entry);
    else refused(key, entry, text);
    if (onPage() === key && [200, 409].includes(answer.status)) {
      await window.htmx.ajax("GET", entry.url, { target: "#work", swap: "innerHTML" });
    }
  }
  function saved(key, { said }) {
    const drafts = `pairloop-draft-${key.slice(PREFIX.length)}`;
    stored((store) => {
      store.removeItem(key);
      for (const draft of Object.keys(store)) if (draft.startsWith(drafts)) store.removeItem(draft);
    });
    show(key, "saved").querySelector("[data-said]").textContent = said ?? "";
  }
  // It stays until the person has seen why, and what they wrote.
  function refused(key, { fields }, text) {
    const note = show(key, "refused");
    const page = document.createElement("template");
    page.innerHTML = text;
    const said = (selector) => [...page.content.querySelectorAll(selector)].map((node) => node.textContent.trim()).join(" ");
    const why = said("p[data-spoken], [role=alert]") || said("[data-spoken]");
    if (why) note.querySelector("[data-why]").textContent = why.replace(/\s+/g, " ");
    const box = note.querySelector("textarea");
    box.value = fields.filter(([name, value]) => TYPED.includes(name) && value.trim()).map(([, value]) => value).join("\n\n");
    box.closest("label").hidden = !box.value;
  }

  notes.addEventListener("click", (event) => {
    const note = event.target.closest("[data-state]");
    if (event.target.closest("[data-now]")) sendAll();
    else if (event.target.closest("[data-seen]")) forget(note.id);
    else return;
    // The button is gone: the keys go on with the item.
    work.querySelector("[data-focus]")?.focus({ preventScroll: true });
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const id = event.detail.ctx?.request.body?.get("client_id");
    if (!id || event.detail.ctx.response.status !== 200) return;
    // The next choice has arrived: what was said of the one before has been read, and this one needs no more saying.
    for (const note of notes.querySelectorAll("[data-state=saved]")) note.remove();
    forget(PREFIX + id);
  });
  window.addEventListener("online", () => { if (waiting.size) sendAll(); });
  sendAll();
})();
