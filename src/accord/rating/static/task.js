// A page of the study: digits choose, Enter goes on, left goes back, and every change is sent at once.

import "./dialogs.js";
import { createQueue } from "./queue.js";

const page = document.getElementById("task");
const questions = [...page.querySelectorAll("fieldset.question")];
const status = document.getElementById("status");
const notice = document.getElementById("notice");
const urls = page.dataset;
let current = 0;
let leavingFor = null; // where to go as soon as everything is confirmed
let isUnsent = false;
let nEvents = 0; // changes made and changes confirmed: what was asked for before the last of them may be old

const queue = createQueue(`accord ${urls.answers}`, { csrf: () => urls.csrf, renew: refresh, notify: hear });

// -- answers --------------------------------------------------------------------------------------------------------

const radios = (question) => [...question.querySelectorAll("input[type=radio]")];
const chosen = (question) => radios(question).find((radio) => radio.checked);
const slotOf = (question) => `${question.dataset.item} ${question.dataset.question}`;
const isOpen = (question) => !(chosen(question) || question.disabled || "optional" in question.dataset);

function save(question) {
  nEvents += 1;
  leavingFor = null;
  mark(question, "waiting");
  status.textContent = "Saving…";
  const { item, question: name } = question.dataset;
  const answer = { item, question: name, label: chosen(question).value, sent: new Date().toISOString() };
  queue.put(slotOf(question), urls.answers, "PUT", answer);
}

function mark(question, state) {
  question.dataset.state = state;
  question.querySelector(".state").textContent = { saved: "Saved", waiting: "Not saved yet" }[state] ?? "";
}

/** Show what the server has, except where a newer change is still on its way. */
function show(question, savedLabel) {
  const waiting = queue.get(slotOf(question));
  const label = waiting ? waiting.body.label : savedLabel;
  for (const radio of radios(question)) radio.checked = radio.value === label;
  mark(question, waiting ? "waiting" : label ? "saved" : "");
}

function showCount() {
  const nSaved = questions.filter((question) => question.dataset.state === "saved").length;
  status.textContent = `Saved ${nSaved} of ${questions.length}`;
}

/** What became of the changes that were sent. */
function hear(event) {
  if (event.kind !== "elsewhere") isUnsent = event.kind === "waiting";
  document.body.classList.toggle("unsent", isUnsent);
  HEARD[event.kind](event);
}

const HEARD = {
  saved({ entry, answer }) {
    nEvents += 1;
    const question = questions.find((found) => slotOf(found) === entry.slot);
    if (question && !queue.get(entry.slot)) mark(question, "saved");
    if (answer?.of) Object.assign(document.getElementById("progress"), { max: answer.of, value: answer.answered });
  },
  empty() {
    for (const question of questions.filter((found) => found.dataset.state === "waiting")) mark(question, "saved");
    showCount();
    if (leavingFor) location.assign(leavingFor);
  },
  elsewhere() {
    if (document.visibilityState === "visible") refresh();
  },
  waiting({ status: code, text }) {
    const n = queue.size();
    const kept = n === 1 ? "1 answer is kept on this device" : `${n} answers are kept on this device`;
    const why = code === 0 ? "No connection" : (text ?? "The server is busy").replace(/[.:]$/, "");
    status.textContent = `${why}: ${kept} and will be sent.${leavingFor ? " Then the next page opens." : ""}`;
  },
  stopped({ text }) {
    warn(text ?? "The server takes no more answers from this page. Please load it again.");
  },
  refused({ entry, text }) {
    leavingFor = null;
    warn(`${text ?? "The server refused an answer."} Please look at your answers on this page again.`);
    const question = questions.find((found) => slotOf(found) === entry.slot);
    if (question) mark(question, "");
    refresh();
  },
};

function warn(text) {
  notice.hidden = false;
  notice.textContent = text;
  notice.scrollIntoView({ block: "nearest" });
}

// -- the server's side: other tabs and devices -----------------------------------------------------------------------

/** Show the answers that the server has by now; whether it could be asked. */
async function refresh() {
  const nBefore = nEvents;
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.ok || response.redirected) return false;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    urls.csrf = fresh.getElementById("task").dataset.csrf;
    if (nEvents === nBefore) {
      for (const question of questions) {
        const theirs = fresh.getElementById(question.id);
        if (theirs) show(question, chosen(theirs)?.value);
      }
      if (queue.size() === 0) showCount();
    }
    return true;
  } catch {
    return false;
  }
}

// -- going about -----------------------------------------------------------------------------------------------------

function goTo(index) {
  current = index;
  for (const question of questions) question.toggleAttribute("data-current", question === questions[index]);
}

function focusOn(index) {
  const question = questions[index];
  const startsText = index !== current && questions[index - 1]?.dataset.item !== question.dataset.item;
  goTo(index);
  (chosen(question) ?? radios(question)[0]).focus({ preventScroll: true });
  if (startsText) question.closest("article").scrollIntoView({ block: "start" });
  else question.scrollIntoView({ block: "nearest" });
}

function goOn({ mayPass }) {
  const question = questions[current];
  if (!mayPass && isOpen(question)) {
    const keys = radios(question).map((radio) => radio.dataset.key);
    status.textContent = `Choose an answer first: ${keys[0]} to ${keys.at(-1)}.`;
    focusOn(current);
  } else if (current + 1 < questions.length) {
    focusOn(current + 1);
  } else {
    nextPage();
  }
}

function nextPage() {
  const open = questions.filter(isOpen);
  if (open.length) {
    status.textContent = open.length === 1 ? "One question is still open." : `${open.length} questions are still open.`;
    focusOn(questions.indexOf(open[0]));
  } else {
    leave(urls.next);
  }
}

function goBack() {
  if (current > 0) focusOn(current - 1);
  else if (urls.previous) leave(`${urls.previous}#last`);
}

/** Go to another page as soon as nothing is on its way any more. */
function leave(url) {
  leavingFor = url;
  if (queue.size() === 0) location.assign(url);
  else queue.flush();
}

/** The digit of a key, also on keyboards that write it with Shift only; undefined for other keys. */
function digitOf({ key, code, shiftKey }) {
  return /^[0-9]$/.test(key) ? key : shiftKey ? undefined : /^Digit([0-9])$/.exec(code)?.[1];
}

function choose(digit) {
  const radio = radios(questions[current]).find((found) => found.dataset.key === digit && !found.matches(":disabled"));
  if (!radio) return;
  focusOn(current);
  radio.focus({ preventScroll: true });
  radio.click();
}

function onKey(event) {
  const typing = event.target.closest("input:not([type=radio]), textarea, select");
  const isOurs = !(event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing || typing);
  if (!isOurs || document.querySelector("dialog[open]")) return;
  const digit = digitOf(event);
  if (digit !== undefined) {
    choose(digit);
  } else if (event.key === "Enter" && !event.target.closest("a, button, summary")) {
    goOn({ mayPass: false });
  } else if (event.key === "ArrowRight") {
    goOn({ mayPass: true });
  } else if (event.key === "ArrowLeft") {
    goBack();
  } else {
    return;
  }
  event.preventDefault();
}

// -- skipping --------------------------------------------------------------------------------------------------------

document.getElementById("skip-form").addEventListener("submit", (event) => {
  const { reason, words } = Object.fromEntries(new FormData(event.target));
  leavingFor = urls.next;
  queue.put(`skip ${urls.skip}`, urls.skip, "POST", { reason: words ? `${reason}: ${words}` : reason });
});

// -- start -------------------------------------------------------------------------------------------------------------

// A browser that comes back to a page may restore radios as they were left; the page's own source says what is saved.
for (const question of questions) {
  show(question, radios(question).find((radio) => radio.defaultChecked)?.value);
  question.addEventListener("change", () => save(question));
  question.addEventListener("focusin", () => goTo(questions.indexOf(question)));
}
document.addEventListener("keydown", onKey);
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => focusOn(current));
document.getElementById("next").addEventListener("click", nextPage);
addEventListener("focus", refresh);
addEventListener("pageshow", (event) => event.persisted && refresh());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
addEventListener("beforeunload", (event) => isUnsent && event.preventDefault());

const firstOpen = questions.findIndex(isOpen);
if (location.hash === "#last") focusOn(questions.length - 1);
else if (firstOpen > 0) focusOn(firstOpen);
else goTo(0);
showCount();
if (queue.size()) queue.flush();
document.documentElement.dataset.ready = "";
