// What all pages have: the key, the state of the connection, the search, and what is repeated.

import { ask, forgetKey, Problem, said, storedKey, storeKey } from "./api.js";
import { at, make, put, status } from "./dom.js";
import { devicePath, duration, secondsBetween } from "./format.js";

const STALE_SECONDS = 6;
const SHOWN_OF_A_KIND = 8;
const IN_AN_ID = /^[ -~]+$/;
const again = new Set();
let lastGood = null;
let trouble = null;
let behind = null;

/**
 * Do something now and then for as long as somebody looks. The pulse tells whether the page is live;
 * what else fails is told in its `section`, whose figures are then old ones.
 */
export function repeat(seconds, task, { isPulse = false, section } = {}) {
  let timer = null;
  let isRunning = false;
  let isWanted = false;
  async function run() {
    clearTimeout(timer);
    if (isRunning) {
      isWanted = true;
      return;
    }
    isRunning = true;
    isWanted = false;
    try {
      await task();
      if (isPulse) heard();
      if (section) tell(section, null);
    } catch (error) {
      failed(error, isPulse, section);
    } finally {
      isRunning = false;
    }
    if (document.hidden || !at("ask-key").hidden) return;
    timer = setTimeout(run, isWanted ? 0 : seconds * 1000);
  }
  again.add(run);
  run();
  return run;
}

function heard() {
  if (lastGood === null) {
    performance.mark("figures");
    at("link").dataset.state = "";
  }
  lastGood = Date.now();
  trouble = null;
  at("content").setAttribute("aria-busy", "false");
  showLink();
}

function failed(error, isPulse, section) {
  if (error instanceof Problem && error.status === 401) {
    askForKey(storedKey() ? error.message : "");
    return;
  }
  const isTold = error instanceof Problem || error instanceof TypeError || error.name === "TimeoutError";
  if (!isTold) reportError(error); // a fault of this page
  const reason = isTold ? said(error) : "this page has a fault; reload it";
  if (isPulse) {
    trouble = reason;
    showLink();
  }
  if (section) tell(section, reason);
}

function tell(section, reason) {
  at(section).classList.toggle("is-stale", reason !== null);
  const note = at(`${section}-trouble`);
  note.hidden = reason === null;
  put(note.id, reason === null ? "" : `Not up to date: ${reason}. It is asked again by itself.`);
}

/** Say how far the computed figures go, where that is not up to now; null: it is. */
export function tellBehind(text) {
  behind = text;
  showLink();
}

function showLink() {
  const age = lastGood === null ? null : (Date.now() - lastGood) / 1000;
  const isStale = age === null ? trouble !== null : age > STALE_SECONDS;
  const state = isStale ? "stale" : age === null ? "starting" : behind ? "behind" : "live";
  const text = { live: "Live", stale: "Not live", starting: "Connecting", behind }[state];
  at("link").dataset.state = state;
  if (at("link-text").textContent !== text) put("link-text", text);
  at("content").classList.toggle("is-stale", isStale);
  at("trouble").hidden = !isStale;
  if (isStale) {
    // The age changes each second, and is not announced each time.
    put("trouble-age", age === null ? "" : `These figures are ${duration(age)} old: `);
    put("trouble-reason", `${trouble ?? "the collector has not answered yet"}. It is asked again by itself.`);
  }
  const updated = lastGood === null || state === "behind" ? "" : new Date(lastGood).toISOString().slice(11, 19);
  if (at("link-time").textContent !== updated) at("link-time").textContent = updated;
}

function askForKey(reason) {
  if (!at("ask-key").hidden && !reason) return;
  at("ask-key").hidden = false;
  at("content").hidden = true;
  at("link-text").textContent = "Needs a key";
  at("key-said").textContent = reason;
  at("key").focus();
}

function startAgain() {
  for (const run of again) run();
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  storeKey(at("key").value.trim());
  at("key").value = "";
  at("ask-key").hidden = true;
  at("content").hidden = false;
  at("forget-key").hidden = false;
  startAgain();
});
at("forget-key").hidden = !storedKey();
at("forget-key").addEventListener("click", () => {
  forgetKey();
  location.reload();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) startAgain();
});

// -- search ----------------------------------------------------------------------------------------

const text = at("search-text");
const found = at("search-found");
let asked = 0;
let waiting = null;

/** Have devices looked up whose id holds this, by who then goes on in the search. */
export function searchFor(wanted) {
  text.value = wanted;
  text.select();
  text.focus();
  search();
}

/** Show what is found; null if that is not known, else the one device that was meant, if it is clear. */
async function search() {
  const mine = ++asked;
  const wanted = text.value.trim();
  if (!wanted) {
    close();
    return null;
  }
  if (!IN_AN_ID.test(wanted)) {
    const told = "No id holds that: an id is 1 to 64 printable ASCII characters.";
    show([make("li", {}, make("p", {}, told))], told);
    return null;
  }
  const contains = encodeURIComponent(wanted);
  const about = ["vehicle", "meter"].map((kind) =>
    ask(`/v1/analytics/devices?kind=${kind}&limit=${SHOWN_OF_A_KIND}&idContains=${contains}`),
  );
  let answers;
  try {
    answers = await Promise.all(about);
  } catch (error) {
    if (mine === asked) show([make("li", {}, make("p", {}, said(error)))], said(error));
    return null;
  }
  if (mine !== asked) return null;
  const now = new Date();
  const devices = answers.flatMap((answer) => answer.devices);
  devices.sort((one, other) => (other.id === wanted) - (one.id === wanted));
  const items = devices.map((device) =>
    make(
      "li",
      {},
      make(
        "a",
        { href: devicePath(device.kind, device.id) },
        make("span", {}, device.id),
        status(device.connection, `${device.kind}, ${duration(secondsBetween(device.timestamp, now))} ago`),
      ),
    ),
  );
  const isMore = answers.some((answer) => answer.truncated);
  const count = `${isMore ? "More than " : ""}${devices.length} found`;
  const told = !devices.length
    ? `No device’s id holds “${wanted}”.`
    : isMore
      ? `${count}; type more of the id, or choose one.`
      : `${count}${devices.length > 1 ? "; choose one." : "."}`;
  if (isMore || !devices.length) items.push(make("li", {}, make("p", { className: "quiet" }, told)));
  show(items, told);
  return meant(wanted, isMore ? [] : devices, devices);
}

/** The device with exactly this id, or the only one that was found. */
function meant(wanted, all, devices) {
  const exact = devices.filter((device) => device.id === wanted);
  if (exact.length) return exact.length === 1 ? exact[0] : null;
  return all.length === 1 ? all[0] : null;
}

function show(items, announced) {
  found.replaceChildren(...items);
  found.hidden = false;
  at("search-said").textContent = announced;
}

function close() {
  found.hidden = true;
  at("search-said").textContent = "";
}

text.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});
at("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(waiting);
  const device = await search();
  if (device) location.assign(devicePath(device.kind, device.id));
});
at("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    close();
    text.focus();
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || found.hidden) return;
  const links = [text, ...found.querySelectorAll("a")];
  const next = links.indexOf(document.activeElement) + step;
  if (next >= 0 && next < links.length) {
    event.preventDefault();
    links[next].focus();
  }
});
at("search").addEventListener("focusout", (event) => {
  if (!at("search").contains(event.relatedTarget)) close();
});

setInterval(() => {
  if (lastGood !== null && at("ask-key").hidden) showLink();
}, 1000);
