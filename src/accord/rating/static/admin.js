// The numbers of the admin page renew themselves: every part marked data-live is taken from a fresh copy of the page.

import "./copy.js";
import "./dialogs.js";

const PAUSE_MS = 5000;
const live = (page) => new Map([...page.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));

async function renew() {
  const response = await fetch(`${location.pathname}?refresh`, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const fresh = live(new DOMParser().parseFromString(await response.text(), "text/html"));
  for (const [name, part] of live(document)) {
    const theirs = fresh.get(name);
    if (theirs && theirs.innerHTML !== part.innerHTML) part.replaceChildren(...theirs.childNodes);
  }
}

async function keepRenewing() {
  if (document.visibilityState === "visible") {
    try {
      await renew();
      document.body.classList.remove("unsent");
    } catch {
      document.body.classList.add("unsent");
      document.getElementById("status").textContent = "No connection: these numbers are not the newest.";
    }
  }
  setTimeout(keepRenewing, PAUSE_MS);
}

setTimeout(keepRenewing, PAUSE_MS);
