// The form for passkeys: the browser answers the question of the page, and the form is sent with the answer.
// Where there is no question, or it is too old, the form is sent without one; the page that comes has another.
"use strict";
(() => {
  const form = document.querySelector("form[data-passkey]");
  if (!form || !window.PublicKeyCredential || !navigator.credentials) return;

  const isNew = form.dataset.passkey === "create";
  const SENTENCES = {
    NotAllowedError: isNew
      ? "No passkey was set up: it was cancelled, or it took too long."
      : "No passkey was used: it was cancelled, it took too long, or there is none here.",
    InvalidStateError: "This device has a passkey for this account already.",
    SecurityError: "Passkeys do not work at this address. Open the page at its usual address.",
    NotSupportedError: "This device cannot make such a passkey.",
    ConstraintError: "This device cannot check who uses it. Set up a screen lock or a PIN first.",
  };
  const OTHERWISE = "The passkey could not be used.";
  const ADVICE = " Try again, or choose another way.";

  const question = form.dataset.question ? JSON.parse(form.dataset.question) : null;
  const notice = form.querySelector("[role=alert]");
  let isAsking = false;

  // By hand, because not every browser that knows passkeys reads and writes their JSON.
  const bytes = (text) => {
    const characters = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(characters, (character) => character.charCodeAt(0));
  };
  const text = (buffer) => {
    const characters = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
    return btoa(characters).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const withBytes = (named) => ({ ...named, id: bytes(named.id) });

  const read = (asked) => {
    const options = { ...asked, challenge: bytes(asked.challenge) };
    if (asked.user) options.user = withBytes(asked.user);
    if (asked.allowCredentials) options.allowCredentials = asked.allowCredentials.map(withBytes);
    if (asked.excludeCredentials) options.excludeCredentials = asked.excludeCredentials.map(withBytes);
    return options;
  };
  const written = (credential) => {
    const { id, rawId, type, response } = credential;
    const answer = { clientDataJSON: text(response.clientDataJSON) };
    for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[part]) answer[part] = text(response[part]);
    }
    if (response.getTransports) answer.transports = response.getTransports();
    const clientExtensionResults = credential.getClientExtensionResults();
    return JSON.stringify({ id, rawId: text(rawId), type, response: answer, clientExtensionResults });
  };

  // The server waits a little longer than it lets the browser wait, from when it made the page.
  const left = () => (question ? question.timeout - performance.now() : 0);
  const isFresh = () => question !== null && left() > question.timeout / 2;

  const ask = async () => {
    isAsking = true;
    notice.hidden = true;
    try {
      const publicKey = { ...read(question), timeout: Math.ceil(left()) };
      const asked = isNew ? navigator.credentials.create({ publicKey }) : navigator.credentials.get({ publicKey });
      form.elements.credential.value = written(await asked);
      form.submit();
    } catch (error) {
      notice.textContent = (SENTENCES[error.name] || OTHERWISE) + ADVICE;
      notice.hidden = false;
      notice.focus();
    } finally {
      isAsking = false;
    }
  };

  form.addEventListener("submit", (event) => {
    form.elements.credential.value = "";
    if (!isAsking && !isFresh()) return;
    event.preventDefault();
    if (!isAsking) ask();
  });

  for (const need of document.querySelectorAll("[data-passkey-needs]")) need.hidden = true;
  form.hidden = false;
  const failure = document.querySelector("main > [role=alert]");
  if ("starts" in form.dataset && isFresh()) ask();
  else if (question && failure) failure.focus();
})();
