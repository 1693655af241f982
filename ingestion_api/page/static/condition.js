// The condition of a device: its weekly levels beside the expected one, and what is wrong.

import { ask } from "./api.js";
import { Chart, line, timeOf, withGaps } from "./charts.js";
import { known } from "./device.js";
import { at, make, put } from "./dom.js";
import { number, sure, UNKNOWN, wholeMoney } from "./format.js";
import { repeat } from "./frame.js";

const DAY = 86_400_000;
const WEEK = 7 * DAY;
const FAR = 365; // nobody knows that far ahead

/** A line where everything arrives that should. */
function withExpected(spec) {
  const rule = {
    mark: { type: "rule", color: "var(--quiet)", strokeDash: [4, 3], aria: false },
    encoding: { y: { datum: 100 } },
  };
  return { ...spec, layer: [rule, ...spec.layer] };
}

/** Keep the condition of a device up to date: it changes once a night. */
export function watchCondition(kind, id) {
  const path = `/v1/maintenance/${kind}/${encodeURIComponent(id)}`;
  const what = `Of what should arrive by ${id}, what does each week, percent`;
  const drawn = line(what, 130, "value", "var(--line)", { about: [94, 102] });
  const chart = new Chart("levels", withExpected(drawn), (point) => [
    timeOf(point).slice(0, 10),
    number(point.value, 1),
  ]);
  repeat(
    60,
    async () => {
      const found = await known(ask(path));
      if (found) show(found, chart);
    },
    { section: "condition" },
  );
}

function show({ date, visit, anomaly, trend }, chart) {
  put("condition-basis", date ? `by the sessions up to the end of ${date}` : "");
  at("condition-reasons").replaceChildren(...reasons(visit, anomaly, trend).map((text) => make("p", {}, text)));
  at("condition-figures").hidden = trend === null;
  const none = date
    ? "Nobody knows yet whether it loses more than it should: it takes eight weeks with charging sessions that are measured on both sides."
    : "Nothing is known yet: each night the sessions of a year are looked at, of nine weeks at least.";
  put("condition-none", trend === null ? none : "");
  at("levels").hidden = trend === null;
  if (trend === null) return;
  put("condition-efficiency", number(trend.efficiencyPercent, 1));
  put("condition-level", signed(trend.levelPercent), `of four weeks, ± ${number(trend.levelError && 1.96 * trend.levelError, 1)}`);
  put("condition-slope", signed(isFound(trend) ? trend.slopePercentAMonth : null), isFound(trend) ? "" : "none that is sure");
  put("condition-limit", ...limit(trend));
  chart.show(points(trend, date));
}

// A change that is more than chance; of others slope and limit say nothing.
const isFound = (trend) => trend.z !== null && Math.abs(trend.z) >= 5;

const signed = (value) => (value === null ? UNKNOWN : `${value > 0 ? "+" : ""}${number(value, 1)}`);

function limit(trend) {
  const { daysToLimit: days, daysToLimitLow: low, daysToLimitHigh: high } = trend;
  if (days === 0) return ["reached", ""];
  if (!isFound(trend) || days === null || days > FAR) return [UNKNOWN, "not in sight"];
  const isBetween = low !== null && high !== null && high <= FAR;
  return [`${number(days, 0)} d`, isBetween ? `${number(low, 0)} to ${number(high, 0)} d, 95 %` : ""];
}

function reasons(visit, anomaly, trend) {
  const texts = [];
  const seen = anomaly ?? (visit?.state === "open" ? visit : null);
  if (seen) texts.push(`${seen.reason} ${sure(seen.confidence)} sure.`);
  else if (trend) texts.push("Nothing is wrong, as far as its sessions show.");
  if (visit?.state === "open") {
    const amount =
      visit.atStakeAYear === null
        ? `${number(visit.atStakeKwhAYear)} kWh`
        : wholeMoney(visit.atStakeAYear, visit.currency);
    const stake = visit.atStakeKwhAYear ? `, ${amount} a year at stake` : "";
    texts.push(`To be visited since ${visit.openedAt.slice(0, 10)}${stake}.`);
  } else if (visit?.state === "closed" && visit.closedBy) {
    texts.push(`Closed ${visit.closedAt.slice(0, 10)} by ${visit.closedBy}: ${visit.closedReason}`);
  }
  return texts;
}

function points(trend, date) {
  const end = Date.parse(date) + DAY;
  const weeks = trend.weeklyLevelPercent;
  const all = weeks.map((level, week) => {
    const from = end - (weeks.length - week) * WEEK;
    const value = level === null ? null : 100 * Math.exp(level / 100);
    const hint = value === null ? null : { "week from": new Date(from).toISOString().slice(0, 10), arrives: `${number(value, 1)} %` };
    return { at: from + WEEK / 2, from, until: from + WEEK, value, hint };
  });
  const first = all.findIndex((point) => point.value !== null);
  return withGaps(all.slice(Math.max(first, 0)), WEEK);
}
