// Changes on their way to the server.
//
// What the server has not confirmed stands in localStorage, one entry per slot (an item's question), so that neither
// a lost network nor a closed tab loses it: the next page with the same link sends it. A newer change of a slot
// replaces the older one; the order of slots is the order of their last change. One tab sends at a time.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const TIMEOUT_MS = 15_000;

/**
 * @param {string} key what the queue belongs to; tabs with the same key share one queue
 * @param {{csrf: () => string, renew: () => Promise<boolean>, notify: (event: object) => void}} page
 *   `renew` fetches a new csrf token; `notify` hears {kind: "saved" | "empty" | "elsewhere" (by
 *   another tab) | "waiting" | "refused" | "stopped", ...}
 */
export function createQueue(key, page) {
  const store = openStore(key);
  let sending = null;
  let timer = null;
  let wait = FIRST_WAIT_MS;
  let lastOrder = 0;

  function put(slot, url, method, body) {
    lastOrder = Math.max(Date.now(), lastOrder + 1);
    store.set(slot, { slot, url, method, body, order: lastOrder });
    return flush();
  }

  function flush() {
    clearTimeout(timer);
    sending ??= oneTabAtATime(key, drain).then((isEmpty) => {
      sending = null;
      if (!isEmpty) return null;
      if (store.size()) return flush(); // came in after the last look
      page.notify({ kind: "empty" });
      return null;
    });
    return sending;
  }

  /** Send entry after entry; whether none is left (another tab may have sent some). */
  async function drain() {
    for (let entry = store.oldest(); entry; entry = store.oldest()) {
      if (!(await settle(entry, await send(entry)))) return false;
    }
    return true;
  }

  async function send(entry, mayRenew = true) {
    try {
      const response = await fetch(entry.url, {
        method: entry.method,
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...entry.body, csrf: page.csrf() }),
        keepalive: true,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if ([403, 404].includes(response.status) && mayRenew && (await page.renew())) {
        return { ...(await send(entry, false)), isRenewed: true };
      }
      const text = await response.text();
      return { status: response.status, retryAfter: Number(response.headers.get("Retry-After")), ...parsed(text) };
    } catch {
      return { status: 0 };
    }
  }

  /** Whether the next entry may be sent now. */
  async function settle(entry, answer) {
    if (answer.status >= 200 && answer.status < 300) {
      store.remove(entry);
      wait = FIRST_WAIT_MS;
      page.notify({ kind: "saved", entry, answer: answer.json });
      return true;
    }
    const isGone = answer.status === 404 && answer.isRenewed; // the page is there, what was answered on it is not
    if (isGone || [400, 405, 413, 415, 422].includes(answer.status)) {
      store.remove(entry); // would be refused for ever and hold up all others
      page.notify({ kind: "refused", entry, text: answer.error });
      return true;
    }
    if ([401, 403, 404, 409, 410].includes(answer.status)) {
      page.notify({ kind: "stopped", text: answer.error });
      return false;
    }
    timer = setTimeout(flush, Math.max(wait, 1000 * (answer.retryAfter || 0)));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    page.notify({ kind: "waiting", status: answer.status, text: answer.error });
    return false;
  }

  function retryNow() {
    wait = FIRST_WAIT_MS;
    if (store.size()) flush();
  }

  addEventListener("storage", (event) => {
    if (event.key?.startsWith(`${key} `) && event.newValue === null) page.notify({ kind: "elsewhere" });
  });
  addEventListener("online", retryNow);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && retryNow());
  return { put, flush, get: store.get, size: store.size };
}

function parsed(text) {
  try {
    const json = JSON.parse(text);
    return { json, error: json.error };
  } catch {
    return {};
  }
}

/**
 * Entries by slot in localStorage, each under a key of its own: two tabs never overwrite each other's. What does not
 * fit there (a full quota, or storage forbidden) stands in memory: it outlives a lost network but not a closed tab.
 */
function openStore(key) {
  const disk = localStorageOrNull();
  const memory = new Map();
  const name = (slot) => `${key} ${slot}`;
  const names = () => Array.from({ length: disk?.length ?? 0 }, (_, index) => disk.key(index));
  const read = (found) => JSON.parse(memory.get(found) ?? disk?.getItem(found) ?? null);
  const get = (slot) => read(name(slot));
  const all = () => [...new Set([...names(), ...memory.keys()])].filter((found) => found.startsWith(`${key} `)).map(read);

  function set(slot, entry) {
    const text = JSON.stringify(entry);
    try {
      disk.setItem(name(slot), text);
      memory.delete(name(slot));
    } catch {
      memory.set(name(slot), text); // an older one on the disk is removed with it, once this one is confirmed
    }
  }

  function remove(entry) {
    if (get(entry.slot)?.order !== entry.order) return;
    memory.delete(name(entry.slot));
    disk?.removeItem(name(entry.slot));
  }

  return { get, set, remove, oldest: () => all().sort((one, other) => one.order - other.order)[0], size: () => all().length };
}

function localStorageOrNull() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** Browsers offer locks on https and loopback only; elsewhere two tabs may both send, which the server allows. */
function oneTabAtATime(key, action) {
  return navigator.locks ? navigator.locks.request(key, action) : action();
}
