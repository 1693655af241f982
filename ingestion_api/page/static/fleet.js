// The fleet's page.

import { watchAlerts } from "./alerts.js";
import { ask } from "./api.js";
import { bars, Chart, line, withGaps } from "./charts.js";
import { at, cell, deviceLink, make, put, rows } from "./dom.js";
import { clock, counted, duration, minute, money, number, secondsBetween, sized, words } from "./format.js";
import { repeat, tellBehind } from "./frame.js";
import { Shares } from "./shares.js";

const HOUR = 3_600_000;
const STATUSES = [
  "excellent",
  "good",
  "warning",
  "critical",
  "idle",
  "insufficient_data",
  "unmapped",
  "implausible",
];

let hours = null; // the window of the computed hours, as a query, that all figures of a day are of
let dayRuns = null;
let newestHour = null;

function showNow(fleet) {
  const { now, ingest, vehicles, meters } = fleet;
  put("now-efficiency", number(now.efficiencyPercent, 1));
  put("now-ac", sized(now.powerAcKw));
  put("now-dc", sized(now.powerDcKw));
  put("now-charging", number(now.vehiclesCharging));
  const of = `${counted(now.meters, "meter")} and ${counted(now.vehicles, "vehicle")}`;
  put("now-basis", now.meters + now.vehicles ? `by the newest interval readings of ${of}` : "");
  put("ingest-rate", number(ingest.recordsPerSecond, 1));
  put("ingest-lag", duration(ingest.lagSeconds), `${counted(ingest.waiting, "heartbeat")} to flush`);
  const { newest } = ingest;
  at("nothing").hidden = newest !== null;
  put(
    "ingest-newest",
    newest ? `${duration(secondsBetween(newest.receivedAt, fleet.at))} ago` : "none yet",
    newest ? newest.id : "",
  );
  showConnections("vehicles", vehicles);
  showConnections("meters", meters);
}

/** Say where the computed figures end, if that is not where they should. */
function showFigures({ figures, at: now }) {
  const time = (iso) => (iso.slice(0, 10) === now.slice(0, 10) ? clock(iso) : minute(iso));
  const end = figures?.endAt ? `Figures end at ${time(figures.endAt)}` : "No figures yet";
  const notes = {
    late: () =>
      `${end}. Later hours are not computed yet` +
      `${figures.waitingSince ? `; they wait since ${time(figures.waitingSince)}` : ""}.`,
    silent: () => `No heartbeat has come since ${time(figures.lastHeartbeatAt)}. ${end}.`,
  };
  const note = notes[figures?.state]?.() ?? "";
  tellBehind(note && (figures.state === "silent" ? `Silent since ${time(figures.lastHeartbeatAt)}` : end));
  at("day-behind").hidden = !note;
  if (at("day-behind").textContent !== note) put("day-behind", note);
}

const heardFrom = (kind) => (connection, limit) =>
  `/v1/analytics/fleet/live?${new URLSearchParams({ kind, connection, sort: "age", order: "desc", limit })}`;
const lastHeard = (device) => minute(device.timestamp);
const connections = {
  vehicles: new Shares("vehicles", "vehicles by last heartbeat", heardFrom("vehicle"), lastHeard),
  meters: new Shares("meters", "meters by last heartbeat", heardFrom("meter"), lastHeard),
};

function showConnections(name, found) {
  const flags = ["online", "late", "silent"];
  put(`${name}-count`, number(flags.reduce((sum, flag) => sum + found[flag], 0)));
  connections[name].show(flags.map((flag) => [flag, flag, found[flag]]));
}

const statuses = new Shares(
  "status",
  "vehicles of that hour",
  (status, limit) => {
    const hour = Date.parse(newestHour);
    const [start, end] = [hour, hour + HOUR].map((at) => new Date(at).toISOString());
    return `/v1/analytics/efficiency/vehicles?${new URLSearchParams({ status, start, end, limit })}`;
  },
  (row) => (row.efficiencyPercent === null ? "" : `${number(row.efficiencyPercent, 1)} %`),
);

function showDay(fleet) {
  const day = fleet.last24Hours;
  put("day-efficiency", number(day.efficiencyPercent, 1));
  // What the meters counted and what is paid for, also what went into no vehicle.
  put("day-ac", sized(day.energyAcKwh === null ? null : day.energyAcKwh + day.unlinkedEnergyAcKwh));
  put("day-dc", sized(day.energyDcKwh));
  put("day-loss", sized(day.lossKwh));
  put("day-unlinked", sized(day.unlinkedEnergyAcKwh));
  const newest = fleet.newestHour;
  followHours(day);
  put(
    "day-basis",
    day.hours
      ? `${day.hours} of 24 hours are computed, up to ${clock(Date.parse(day.lastHour) + HOUR)}`
      : "no hour is computed yet; the first one is some minutes after its end",
  );
  newestHour = newest?.hourStart ?? null;
  put("status-hour", newest ? `in the hour from ${minute(newestHour)}` : "no hour is computed yet");
  statuses.show(STATUSES.map((name) => [name, words(name), newest?.vehiclesByStatus[name] ?? 0]));
}

/** Ask for what hangs on the computed hours, anew when these are others. */
function followHours({ firstHour, lastHour }) {
  const end = lastHour && new Date(Date.parse(lastHour) + HOUR).toISOString();
  const window = lastHour ? String(new URLSearchParams({ start: firstHour, end })) : "";
  if (window === hours) return;
  hours = window;
  if (dayRuns) {
    for (const run of dayRuns) run();
    return;
  }
  dayRuns = [
    repeat(30, showHours, { section: "hours" }),
    repeat(30, showMoney, { section: "day" }),
    repeat(30, showDepots, { section: "depots" }),
    repeat(30, showChargers, { section: "chargers" }),
  ];
}

const hourOf = (point) => (point.hour ? minute(point.hour) : "");
const efficiencies = new Chart(
  "hours-efficiency",
  line(
    "Efficiency of the fleet in each computed hour, percent",
    90,
    "efficiency",
    "var(--line)",
    { about: [80, 95], size: 28 },
  ),
  (point) => [hourOf(point), number(point.efficiency, 1), number(point.loss, 1)],
);
const energies = new Chart(
  "hours-energy",
  bars("AC energy to vehicles and DC energy to batteries in each computed hour, kWh", 130, {
    apart: 4,
  }),
  (point) => [hourOf(point), number(point.ac, 1), number(point.dc, 1)],
);

async function showHours() {
  const answer = await ask(`/v1/analytics/efficiency/fleet?${hours}`);
  const points = answer.rows.map((row) => ({
    at: Date.parse(row.hourStart) + HOUR / 2,
    hour: row.hourStart,
    from: Date.parse(row.hourStart),
    until: Date.parse(row.hourStart) + HOUR,
    ac: row.energyAcKwh,
    dc: row.energyDcKwh,
    loss: row.lossKwh,
    efficiency: row.efficiencyPercent,
    hint: {
      [minute(row.hourStart)]: "",
      "efficiency": `${number(row.efficiencyPercent, 1)} %`,
      "AC": `${sized(row.energyAcKwh)} kWh`,
      "DC": `${sized(row.energyDcKwh)} kWh`,
    },
  }));
  points.sort((one, other) => one.at - other.at);
  const spaced = withGaps(points, HOUR);
  efficiencies.show(spaced);
  energies.show(spaced);
}

/** What the day's energy and losses cost, and what is worth it to improve. */
async function showMoney() {
  const { currency, total, totals, onePercentagePointPerYear: point } = await ask(
    `/v1/analytics/losses?${hours}`,
  );
  const price = (name) => {
    if (currency) return money(total[name], currency);
    const parts = totals.map((one) => money(one[name], one.currency));
    return parts.join(" + ") || "no tariff is set";
  };
  put("day-ac-note", price("costOfEnergy"));
  put("day-loss-note", price("costOfLosses"));
  const energy = point ? `${sized(point.energyKwh)} kWh` : "–";
  if (point && point.cost !== null) {
    put("day-point", money(point.cost, currency), `a year, ${energy}`);
  } else {
    put("day-point", energy, point ? "a year" : "");
  }
}

/** The chargers of each depot; of a fleet without depots nothing. */
async function showDepots() {
  const found = (await ask(`/v1/analytics/losses?by=depot&limit=100&${hours}`)).rows;
  const depots = found.filter((row) => row.depot !== null);
  at("depots").hidden = depots.length === 0;
  put("depots-basis", "by what they lost over the computed hours of the last 24");
  rows(
    "depots-rows",
    depots.map((row) => ({
      key: row,
      make: () =>
        make(
          "tr",
          {},
          cell(row.depot, "id"),
          cell(number(row.efficiencyPercent, 1), "n"),
          cell(sized(row.energyAcKwh + row.unlinkedEnergyAcKwh), "n"),
          cell(sized(row.lossKwh), "n"),
          cell(money(row.costOfEnergy, row.currency), "n"),
        ),
    })),
  );
}

async function showChargers() {
  const { currency, rows: worst } = await ask(
    `/v1/analytics/efficiency/worst?of=chargers&count=10&${hours}`,
  );
  at("chargers-none").hidden = worst.length > 0;
  put("chargers-none", "No charger has an hour with a believable ratio yet.");
  at("chargers-table").hidden = worst.length === 0;
  put("chargers-basis", worst.length ? "over the computed hours of the last 24" : "");
  put("chargers-cost", currency ? `Cost, ${currency}` : "Cost");
  rows(
    "chargers-rows",
    worst.map((row) => ({
      key: row,
      make: () =>
        make(
          "tr",
          {},
          cell(deviceLink("meter", row.meterId), "id"),
          cell(number(row.efficiencyPercent, 1), "n"),
          cell(sized(row.lossKwh), "n"),
          cell(
            currency || !row.currency
              ? number(row.costOfLosses, 2)
              : money(row.costOfLosses, row.currency),
            "n",
          ),
        ),
    })),
  );
}

repeat(
  1.5,
  async () => {
    const fleet = await ask("/v1/analytics/overview");
    showNow(fleet);
    showDay(fleet);
    showFigures(fleet);
  },
  { isPulse: true },
);
repeat(60, async () => {
  const { links, unpaired, hint } = (await ask("/v1/status")).guessedLinks;
  const alone = unpaired ? `, and ${counted(unpaired, "device")} left alone` : "";
  const text = hint ? `${counted(links, "link")} of a vehicle to a meter${alone}: ${hint}.` : "";
  at("guessed").hidden = !text;
  put("guessed", text);
});
watchAlerts({});
