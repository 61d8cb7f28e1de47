// Passkeys: asks the browser for one, and sends what it says. Every page that uses this works without it, by a code or a password.
"use strict";

(() => {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const said = form.querySelector("[data-said]"), field = form.querySelector("[name=credential]");
    const button = form.querySelector("button");
    const say = (text) => { said.textContent = text; said.hidden = !text; };
    // A passkey is for a name: browsers make none for 127.0.0.1.
    const named = !/^[\d.]+$|:/.test(location.hostname.replace(/[[\]]/g, ""));
    const able = named && window.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials;
    // Nobody who signs in otherwise needs to read what their browser lacks.
    form.hidden = !able && Boolean(form.dataset.ask);
    if (!able) {
      button.disabled = true;
      say(form.dataset.unable);
    }

    const options = async () => {
      if (form.dataset.options) return JSON.parse(form.dataset.options).publicKey;
      const answer = await fetch(form.dataset.ask, { headers: { "X-Requested-With": "XMLHttpRequest" } });
      if (!answer.ok) throw new Error(answer.statusText);
      return (await answer.json()).request_options.publicKey;
    };

    const ask = async () => {
      const wanted = await options();
      if (form.dataset.passkey !== "new") {
        return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(wanted) });
      }
      if (form.elements.passwordless?.checked) {
        // A key that is found without a name, and asks for a finger, a face or a PIN: then it is enough alone.
        Object.assign(wanted.authenticatorSelection, { residentKey: "required", requireResidentKey: true, userVerification: "required" });
      }
      return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(wanted) });
    };

    form.addEventListener("submit", (event) => {
      if (field.value) return;
      event.preventDefault();
      say("");
      button.disabled = true;
      ask().then((credential) => {
        field.value = JSON.stringify(credential);
        form.submit();
      }).catch((error) => {
        button.disabled = false;
        const why = { InvalidStateError: "known", SecurityError: "unable" }[error.name] || "failed";
        say(form.dataset[why]);
      });
    });
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) { field.value = ""; button.disabled = false; }
    });
  }
})();
