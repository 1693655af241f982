// A vehicle's page.

import { watchAlerts } from "./alerts.js";
import { ask } from "./api.js";
import { watchCondition } from "./condition.js";
import { curveOf } from "./curve.js";
import { known, watchLive } from "./device.js";
import { at, deviceLink, put, putWords } from "./dom.js";
import { duration, number, sized, UNKNOWN, words } from "./format.js";
import { repeat } from "./frame.js";
import { watchSessions } from "./session_rows.js";

const id = document.body.dataset.vehicle;
const path = encodeURIComponent(id);

let hours = 24; // what is asked for
let shown = 24; // what the figures are of
let linked = null;

function showLive(live) {
  put("live-soc", number(live.soc, 1));
  put("live-temp", number(live.batteryTemp, 1));
  put("live-energy", number(live.kwhDeliveredDc, 3), live.readingType);
  showMeter(live.meterId ? { meterId: live.meterId, source: "heartbeat" } : linked);
}

function showWindow(found) {
  const isRatio = found.efficiencyPercent !== null;
  const isRated = found.reason.code === "rated";
  const efficiency = at("window-efficiency");
  efficiency.className = `value is-${found.status}`;
  if (isRatio) put("window-efficiency", number(found.efficiencyPercent, 1), words(found.status));
  else putWords("window-efficiency", words(found.status), "");
  put("window-reason", isRated ? "" : found.reason.text);
  put("window-ac", sized(found.energyConsumedAc));
  put("window-dc", sized(found.energyDeliveredDc));
  put("window-loss", sized(isRatio ? found.matchedEnergyAcKwh - found.matchedEnergyDcKwh : null));
  put("window-coverage", `${percent(found.coverage.ac)} · ${percent(found.coverage.dc)}`);
  put("window-gap", duration(found.longestGapSeconds));
  linked = found.links.at(-1) ?? null;
}

function showMeter(link) {
  const sources = { rule: "guessed by its number", link: "by a link", heartbeat: "named by the vehicle" };
  const meter = link?.meterId ?? UNKNOWN;
  if (link && at("live-meter").textContent !== meter) {
    at("live-meter").replaceChildren(deviceLink("meter", meter));
  }
  put("live-meter", meter, sources[link?.source] ?? "");
}

const percent = (share) => number(share === null ? null : 100 * share, 0);

const curve = curveOf(id);

async function watchWindow() {
  const wanted = hours;
  try {
    // By the collector's clock, and the same for both calls.
    const day = await known(ask(`/v1/analytics/performance/${path}`));
    if (!day) return;
    const window = new URLSearchParams(wanted === 24 ? day.period : until(day.period.end, wanted));
    const [found, points] = await Promise.all([
      wanted === 24 ? day : ask(`/v1/analytics/performance/${path}?${window}`),
      ask(`/v1/analytics/vehicle/${path}/curve?${window}`),
    ]);
    if (wanted !== hours) return;
    showTitle(wanted);
    showWindow(found);
    curve.show(points);
  } catch (error) {
    if (wanted !== hours) return;
    if (wanted !== shown) {
      showTitle(wanted);
      showNothing();
    }
    throw error;
  }
}

/** So many hours up to a time, both ends in whole milliseconds; the end is rounded up. */
function until(time, hours) {
  const end = Date.parse(time) + 1;
  const [start, exactly] = [end - hours * 3_600_000, end].map((at) => new Date(at).toISOString());
  return { start, end: exactly };
}

/** The figures' window; they and its name change together. */
function showTitle(hours) {
  shown = hours;
  put("window-title", `Last ${hours <= 24 ? `${hours} hours` : `${hours / 24} days`}`);
  at("window").setAttribute("aria-busy", "false");
}

function showNothing() {
  at("window-efficiency").className = "value";
  put("window-efficiency", UNKNOWN, "");
  for (const name of ["ac", "dc", "loss", "coverage", "gap"]) put(`window-${name}`, UNKNOWN);
  curve.clear("Nothing was answered for this window.");
}

watchLive("vehicle", id, showLive);
const windowNow = repeat(20, watchWindow, { section: "window" });
at("windows").addEventListener("change", (event) => {
  hours = Number(event.target.value);
  at("window").setAttribute("aria-busy", String(hours !== shown));
  windowNow();
});
watchCondition("vehicle", id);
watchSessions({ vehicleId: id });
watchAlerts({ kind: "vehicle", device: id });
