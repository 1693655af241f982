// Whom to visit: chargers and vehicles that lose more than they should, or measure wrongly.

import { ask, Problem, said } from "./api.js";
import { at, cell, deviceLink, make, put, rows } from "./dom.js";
import { counted, number, sure, UNKNOWN, wholeMoney, words } from "./format.js";
import { repeat } from "./frame.js";

const STEP = matchMedia("(max-width: 40rem)").matches ? 10 : 50;
const MOST = 1000; // the API's longest page
const WEEK_SECONDS = 7 * 86_400;
const WEEKS = 9; // eight for a trend, one until a visit opens
const EMPTY = {
  open: "Nobody is to be visited.",
  waiting: "Nothing is seen that is not sure yet.",
  closed: "No visit is closed.",
};

let wanted = STEP;

const chosen = (name) => document.querySelector(`[name=${name}]:checked`).value;

async function list(state, kind, limit) {
  const query = new URLSearchParams({ state, limit, ...(kind && { deviceKind: kind }) });
  return ask(`/v1/maintenance?${query}`);
}

async function show() {
  const [state, kind, limit] = [chosen("state"), chosen("kind"), wanted];
  const [open, found] = await Promise.all([
    list("open", "", state === "open" && !kind ? limit : 1),
    state === "open" && !kind ? null : list(state, kind, limit),
  ]);
  if (state !== chosen("state") || kind !== chosen("kind") || limit !== wanted) return; // asked again
  showFigures(open);
  const { rows: visits, nextCursor } = found ?? open;
  put("basis", open.date ? `by the sessions up to the end of ${open.date}` : "");
  at("visits-table").hidden = visits.length === 0;
  put("visits-none", visits.length ? "" : nothing(open, state));
  const isMore = nextCursor !== null && limit < MOST;
  put("visits-rest", nextCursor && !isMore ? `The first ${MOST}; GET /v1/maintenance has all.` : "");
  put("visits-more", `Show ${STEP} more`);
  if (!isMore && document.activeElement === at("visits-more")) at("visits-title").focus();
  at("visits-more").hidden = !isMore;
  rows(
    "visits-rows",
    visits.map((visit) => ({ key: visit, make: () => row(visit) })),
  );
}

function showFigures({ totals, date, sessions }) {
  const of = (kind) => added(totals.filter((total) => total.deviceKind === kind), "visits");
  put(
    "open-count",
    date ? number(added(totals, "visits")) : UNKNOWN,
    date ? `${counted(of("meter"), "charger")}, ${counted(of("vehicle"), "vehicle")}` : "",
  );
  const note = date ? `${counted(sessions, "session")} of a year looked at` : "";
  showStake("open-stake", totals, "atStakeAYear", "atStakeKwhAYear", date, note);
  showStake("open-saves", totals, "mendingSavesAYear", "mendingSavesKwhAYear", date, "");
}

const added = (totals, name) => totals.reduce((sum, total) => sum + total[name], 0);

/** The sum of money where all have one currency, else of energy. */
function showStake(id, totals, ofMoney, ofEnergy, isKnown, note) {
  const sum = (name) => added(totals, name);
  const energy = `${number(sum(ofEnergy))} kWh`;
  const currencies = new Set(totals.map((total) => total.currency));
  const [currency] = currencies;
  if (!isKnown) put(id, UNKNOWN, "");
  else if (currencies.size !== 1 || currency === null) put(id, energy, note);
  else put(id, wholeMoney(sum(ofMoney), currency), energy);
}

function nothing({ date, sessions, firstSessionAt }, state) {
  const needs =
    "A visit needs 200 sessions of five vehicles, and nine weeks of them: eight for a trend, and one " +
    "in which it stays.";
  if (!date) return `No list is made yet; that is done each night. ${needs}`;
  const weeks = firstSessionAt
    ? (Date.parse(`${date}T24:00:00Z`) - Date.parse(firstSessionAt)) / 1000 / WEEK_SECONDS
    : 0;
  if (state === "closed" || (weeks >= WEEKS && sessions >= 200)) return EMPTY[state];
  return `${EMPTY[state]} ${needs} So far there are ${counted(sessions, "session")} in ${counted(Math.ceil(weeks), "week")}.`;
}

function row(visit) {
  const kind = visit.deviceKind === "meter" ? "charger" : "vehicle";
  const device = make(
    "span",
    {},
    deviceLink(visit.deviceKind, visit.deviceId),
    make("span", { className: "note" }, [kind, visit.depot, visit.group].filter(Boolean).join(", ")),
  );
  return make(
    "tr",
    {},
    cell(device, "id"),
    make(
      "td",
      { className: "what" },
      make("b", {}, words(visit.kind)),
      " ",
      visit.reason,
      make("span", { className: "note" }, evidence(visit)),
      closed(visit),
    ),
    cell(visit.since.slice(0, 10), "tight since"),
    cell(sure(visit.confidence), "n sure"),
    cell(stake(visit), "n stake"),
    cell(action(visit), "n"),
  );
}

function evidence(visit) {
  const about = [counted(visit.sessions, "session")];
  if (visit.medianPowerKw !== null) about.push(`${number(visit.medianPowerKw, 1)} kW`);
  if (visit.medianTemperature !== null) about.push(`${number(visit.medianTemperature, 0)} °C`);
  if (visit.meanCoverage !== null) about.push(`${number(100 * visit.meanCoverage, 0)} % covered`);
  if (visit.shareLinkedByRule > 0) {
    about.push(`${number(100 * visit.shareLinkedByRule, 0)} % linked by a guess`);
  }
  return about.join(", ");
}

function closed(visit) {
  if (visit.state !== "closed") return null;
  const by = visit.closedBy ? ` by ${visit.closedBy}` : "";
  const text = `Closed ${visit.closedAt.slice(0, 10)}${by}: ${visit.closedReason}`;
  return make("span", { className: "note is-closed" }, text);
}

function stake(visit) {
  if (!visit.atStakeKwhAYear) return UNKNOWN;
  const energy = `${number(visit.atStakeKwhAYear)} kWh`;
  const [first, second] =
    visit.atStakeAYear === null
      ? [energy, ""]
      : [wholeMoney(visit.atStakeAYear, visit.currency), energy];
  const isLost = visit.mendingSavesKwhAYear > 0;
  const what = isLost ? "mending saves it" : "measured wrongly";
  const notes = [second, what].filter(Boolean).map((text) => make("span", { className: "note" }, text));
  return make("span", {}, first, ...notes);
}

function action(visit) {
  const about = `${visit.deviceKind} ${visit.deviceId}`;
  const button = (label, act) => {
    const made = make("button", { type: "button" }, label);
    made.setAttribute("aria-label", `${label}: ${about}`);
    made.addEventListener("click", () => act(made));
    return made;
  };
  if (visit.state === "open") return button("Close", () => askForReason(visit));
  if (visit.state === "closed" && visit.closedBy) return button("Open again", (made) => reopen(visit, made));
  return "";
}

const path = (visit) => `/v1/maintenance/${visit.deviceKind}/${encodeURIComponent(visit.deviceId)}`;

function refusal(error) {
  const isForbidden = error instanceof Problem && error.status === 403;
  return isForbidden ? "That takes a key with the scope admin." : `Not done: ${said(error)}.`;
}

let asked = null; // the visit that the dialog is about

function askForReason(visit) {
  asked = visit;
  const kind = visit.deviceKind === "meter" ? "charger" : "vehicle";
  put("closing-title", `Close the visit of ${kind} ${visit.deviceId}`);
  put("closing-about", visit.reason);
  put("closing-said", "");
  at("closing-reason").value = "";
  at("closing").showModal();
}

at("closing-cancel").addEventListener("click", () => at("closing").close());
at("closing-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = event.submitter;
  if (submit) submit.disabled = true;
  try {
    const body = { reason: at("closing-reason").value };
    await ask(`${path(asked)}/close`, { method: "POST", body });
    at("closing").close();
    done(`Closed: ${asked.deviceKind} ${asked.deviceId}.`);
  } catch (error) {
    put("closing-said", refusal(error));
  } finally {
    if (submit) submit.disabled = false;
  }
});

async function reopen(visit, button) {
  button.disabled = true;
  try {
    await ask(`${path(visit)}/reopen`, { method: "POST" });
    done(`Open again: ${visit.deviceKind} ${visit.deviceId}.`);
  } catch (error) {
    button.disabled = false;
    button.after(make("span", { className: "refusal", role: "alert" }, refusal(error)));
  }
}

function done(text) {
  put("visits-said", text);
  at("visits-title").focus(); // the button goes; who used the keyboard goes on from here
  again();
}

const again = repeat(5, show, { isPulse: true, section: "visits" });
at("choices").addEventListener("change", () => {
  wanted = STEP;
  again();
});
at("visits-more").addEventListener("click", () => {
  wanted = Math.min(wanted + STEP, MOST);
  again();
});
