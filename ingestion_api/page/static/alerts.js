// Open alerts, of the fleet or of a device, with buttons that acknowledge and silence.

import { ask, Problem, said } from "./api.js";
import { at, cell, deviceLink, make, put, rows } from "./dom.js";
import { duration, minute, secondsBetween } from "./format.js";
import { repeat } from "./frame.js";

const FEW = matchMedia("(max-width: 40rem)").matches ? 4 : 8; // what leaves room for the rest
const COUNTED = 50; // up to here it is told how many there are
const STEP = 100;
const PAGE = 1000; // the API's longest
const RANK = { critical: 0, warning: 1, info: 2 };

let wanted = FEW;
const refusals = new Map(); // what was refused of an alert, by its id

/** Keep the table of alerts up to date; of one device also those that are resolved. */
export function watchAlerts({ kind, device } = {}) {
  // A meter may have a vehicle's id.
  const base = device ? { deviceKind: kind, deviceId: device } : { state: "open" };
  const look = repeat(
    1.5,
    async () => {
      const [asked, most] = [wanted, Math.max(wanted, COUNTED)];
      const all = await newest(base, most + 1);
      const alerts = all.length <= most ? inOrder(all) : await gravest(base, asked + 1);
      if (asked !== wanted) return; // it is asked again
      show(alerts, all.length <= most ? all.length : null, most, device, look);
    },
    { section: "alerts" },
  );
  at("alerts-more").addEventListener("click", () => {
    wanted = wanted < COUNTED ? COUNTED : wanted + STEP;
    look();
  });
  at("alerts-fewer").addEventListener("click", () => {
    wanted = FEW;
    at("alerts-title").focus();
    look();
  });
}

/** The newest so many alerts. */
async function newest(filters, count) {
  const found = [];
  let cursor = null;
  do {
    const limit = Math.min(PAGE, count - found.length);
    const query = new URLSearchParams({ ...filters, limit, ...(cursor && { cursor }) });
    const page = await ask(`/v1/alerts?${query}`);
    found.push(...page.alerts);
    cursor = page.nextCursor;
  } while (cursor && found.length < count);
  return found;
}

/** The first so many in the order in which they are shown, where there are too many to sort here. */
async function gravest(base, count) {
  const groups = [false, true].flatMap((acknowledged) =>
    Object.keys(RANK).map((severity) => ({ ...base, state: "open", acknowledged, severity })),
  );
  if (!base.state) groups.push({ ...base, state: "resolved" });
  const found = [];
  for (const group of groups) {
    if (found.length < count) found.push(...(await newest(group, count - found.length)));
  }
  return found;
}

const inOrder = (alerts) =>
  alerts.sort(
    (one, other) =>
      (one.state === "resolved") - (other.state === "resolved") ||
      Boolean(one.acknowledgedAt) - Boolean(other.acknowledgedAt) ||
      RANK[one.severity] - RANK[other.severity] ||
      other.openedAt.localeCompare(one.openedAt),
  );

/** `count` is how many there are, null if there are more than `most`. */
function show(alerts, count, most, device, again) {
  const now = new Date();
  const found = alerts.slice(0, wanted);
  const open = alerts.filter((alert) => alert.state === "open").length;
  const isMoreOpen = count === null && open === alerts.length;
  put("alerts-count", isMoreOpen ? `more than ${device ? wanted : most}` : open ? String(open) : "");
  at("alerts-none").hidden = found.length > 0;
  put("alerts-none", device ? "No alert of this device." : "No alert is open.");
  at("alerts-table").hidden = found.length === 0;
  rows(
    "alerts-rows",
    found.map((alert) => ({
      key: [
        ...[alert.id, alert.state, alert.message, alert.acknowledgedAt, alert.severity],
        isSilenced(alert, now) && alert.silencedUntil,
      ],
      make: () => row(alert, now, device, again),
    })),
  );
  for (const alert of found) {
    const age = at(`alert-age-${alert.id}`);
    if (age) age.textContent = duration(secondsBetween(alert.openedAt, now));
  }
  const isMore = alerts.length > wanted;
  const first = device ? "open ones" : "the gravest";
  const of = count ?? `more than ${most}`;
  put("alerts-shown", isMore ? `${found.length} of ${of}, ${first} first.` : "");
  put(
    "alerts-more",
    count !== null ? `Show all ${count}` : `Show ${wanted < COUNTED ? COUNTED : `${STEP} more`}`,
  );
  if (!isMore && document.activeElement === at("alerts-more")) at("alerts-title").focus();
  at("alerts-more").hidden = !isMore;
  at("alerts-fewer").hidden = found.length <= FEW;
  put("alerts-fewer", `Show ${FEW} only`);
}

const isSilenced = (alert, now) => alert.silencedUntil !== null && new Date(alert.silencedUntil) > now;

function row(alert, now, device, again) {
  const isOpen = alert.state === "open";
  const where = device ? alert.deviceId : deviceLink(alert.deviceKind, alert.deviceId);
  const age = isOpen
    ? make("span", { id: `alert-age-${alert.id}`, title: `since ${minute(alert.openedAt)}` })
    : `resolved ${minute(alert.resolvedAt)}`;
  const silence = isOpen && isSilenced(alert, now) && ` Silenced until ${minute(alert.silencedUntil)}.`;
  return make(
    "tr",
    {},
    cell(make("span", { className: `severity-${alert.severity}` }, alert.severity), "tight"),
    make("td", {}, alert.message, silence ? make("span", { className: "quiet" }, silence) : null),
    cell(where, "id"),
    cell(age, "n"),
    cell(isOpen ? actions(alert, now, again) : "", "n"),
  );
}

function actions(alert, now, again) {
  const about = `${alert.message}, ${alert.deviceId}`;
  const refusal = make("span", { className: "refusal" }, refusals.get(alert.id));
  const action = (label, title, call, body, done) => {
    const button = make("button", { type: "button", title }, label);
    button.setAttribute("aria-label", `${label}: ${about}`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      refusals.delete(alert.id);
      refusal.textContent = "";
      refusal.setAttribute("role", "alert");
      try {
        await ask(`/v1/alerts/${alert.id}/${call}`, { method: "POST", body: body?.() });
        put("alerts-said", `${done}: ${about}.`);
        at("alerts-title").focus(); // the button goes; who used the keyboard goes on from here
        again();
      } catch (error) {
        const isForbidden = error instanceof Problem && error.status === 403;
        const reason = isForbidden ? "that takes a key with the scope admin" : said(error);
        refusals.set(alert.id, `Not ${done.toLowerCase()}: ${reason}.`);
        refusal.textContent = refusals.get(alert.id);
        button.disabled = false;
        if (button.isConnected) button.focus();
      }
    });
    return button;
  };
  const inAnHour = () => ({ until: new Date(Date.now() + 3_600_000).toISOString() });
  return make(
    "div",
    {},
    alert.acknowledgedAt
      ? acknowledged(alert)
      : action("Acknowledge", "Somebody cares", "acknowledge", null, "Acknowledged"),
    " ",
    isSilenced(alert, now)
      ? action("Unsilence", "Webhooks are told of it again", "unsilence", null, "Unsilenced")
      : action("Silence 1 h", "No webhook is told of it", "silence", inAnHour, "Silenced"),
    refusal,
  );
}

function acknowledged(alert) {
  const by = alert.acknowledgedBy ? ` by ${alert.acknowledgedBy}` : "";
  const title = `${minute(alert.acknowledgedAt)}${by}`;
  return make("span", { className: "quiet", title }, "acknowledged");
}
