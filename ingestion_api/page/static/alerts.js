// Open alerts, of the fleet or of a device, with a button that acknowledges.

import { ask, Problem, said } from "./api.js";
import { at, cell, deviceLink, make, put, rows } from "./dom.js";
import { duration, minute, secondsBetween } from "./format.js";
import { repeat } from "./frame.js";

const SHOWN = 50;
const RANK = { critical: 0, warning: 1, info: 2 };

/** Keep the table of alerts up to date; of one device also those that are resolved. */
export function watchAlerts({ kind, device } = {}) {
  const look = repeat(
    1.5,
    async () => {
      // A meter may have a vehicle's id.
      const alerts = device
        ? await newest({ deviceKind: kind, deviceId: device })
        : await gravest({ state: "open" });
      show(alerts, device, () => look());
    },
    { section: "alerts" },
  );
}

/** The newest alerts, one more than are shown if there are more. */
async function newest(filters) {
  const query = new URLSearchParams({ ...filters, limit: String(SHOWN + 1) });
  return (await ask(`/v1/alerts?${query}`)).alerts;
}

/** All of them, or those of the gravest severities: new warnings must not hide what is critical. */
async function gravest(filters) {
  const all = await newest(filters);
  if (all.length <= SHOWN) return all;
  const found = [];
  for (const severity of Object.keys(RANK)) {
    found.push(...(await newest({ ...filters, severity })));
    if (found.length > SHOWN) break;
  }
  return found;
}

function show(alerts, device, again) {
  const now = new Date();
  const found = alerts.slice(0, SHOWN).sort(
    (one, other) =>
      (one.state === "resolved") - (other.state === "resolved") ||
      Boolean(one.acknowledgedAt) - Boolean(other.acknowledgedAt) ||
      RANK[one.severity] - RANK[other.severity] ||
      other.openedAt.localeCompare(one.openedAt),
  );
  const open = found.filter((alert) => alert.state === "open").length;
  const isMore = alerts.length > SHOWN;
  put("alerts-count", open ? `${open}${isMore ? " and more" : ""}` : "");
  at("alerts-none").hidden = found.length > 0;
  put("alerts-none", device ? "No alert of this device." : "No alert is open.");
  at("alerts-table").hidden = found.length === 0;
  at("alerts-more").hidden = !isMore;
  put("alerts-more", `${device ? "The newest" : "The gravest"} ${SHOWN}; GET /v1/alerts has all.`);
  rows(
    "alerts-rows",
    found.map((alert) => ({
      key: [alert.id, alert.state, alert.message, alert.acknowledgedAt, alert.severity],
      make: () => row(alert, now, device, again),
    })),
  );
  for (const alert of found) {
    const age = at(`alert-age-${alert.id}`);
    if (age) age.textContent = duration(secondsBetween(alert.openedAt, now));
  }
}

function row(alert, now, device, again) {
  const isOpen = alert.state === "open";
  const where = device ? alert.deviceId : deviceLink(alert.deviceKind, alert.deviceId);
  const age = isOpen
    ? make("span", { id: `alert-age-${alert.id}`, title: `since ${minute(alert.openedAt)}` })
    : `resolved ${minute(alert.resolvedAt)}`;
  return make(
    "tr",
    {},
    cell(make("span", { className: `severity-${alert.severity}` }, alert.severity), "tight"),
    cell(alert.message),
    cell(where, "id"),
    cell(age, "n"),
    cell(isOpen ? action(alert, again) : "", "n"),
  );
}

function action(alert, again) {
  if (alert.acknowledgedAt) {
    const by = alert.acknowledgedBy ? ` by ${alert.acknowledgedBy}` : "";
    const title = `${minute(alert.acknowledgedAt)}${by}`;
    return make("span", { className: "quiet", title }, "acknowledged");
  }
  const button = make("button", { type: "button" }, "Acknowledge");
  button.setAttribute("aria-label", `Acknowledge ${alert.message}, ${alert.deviceId}`);
  button.addEventListener("click", () => acknowledge(alert, button, again));
  return button;
}

async function acknowledge(alert, button, again) {
  button.disabled = true;
  try {
    await ask(`/v1/alerts/${alert.id}/acknowledge`, { method: "POST" });
    tell(`Acknowledged: ${alert.message}, ${alert.deviceId}.`);
    at("alerts-title").tabIndex = -1;
    at("alerts-title").focus(); // the button is gone; who used the keyboard goes on from here
    again();
  } catch (error) {
    button.disabled = false;
    const isForbidden = error instanceof Problem && error.status === 403;
    const advice = isForbidden
      ? "This key may look, not acknowledge: that takes a key with the scope admin."
      : said(error);
    tell(`Not acknowledged. ${advice}`, true);
    button.focus();
  }
}

function tell(text, isBad = false) {
  at("alerts-said").textContent = text;
  at("alerts-said").classList.toggle("is-bad", isBad);
}
