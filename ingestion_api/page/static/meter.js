// A meter's page: a charger as it is, and whom it fed.

import { watchAlerts } from "./alerts.js";
import { ask } from "./api.js";
import { watchCondition } from "./condition.js";
import { watchLive } from "./device.js";
import { at, cell, deviceLink, make, put, rows, status } from "./dom.js";
import { minute, number, sized, words } from "./format.js";
import { repeat } from "./frame.js";
import { watchSessions } from "./session_rows.js";

const id = document.body.dataset.meter;

function showLive(live) {
  put("live-voltage", number(live.voltage, 1));
  put("live-energy", number(live.kwhConsumedAc, 3), live.readingType);
}

async function showHours() {
  const answer = await ask(`/v1/analytics/efficiency/chargers?meterId=${encodeURIComponent(id)}`);
  const hours = answer.rows;
  at("hours-table").hidden = hours.length === 0;
  put("hours-none", hours.length ? "" : "No hour of the last 24 is computed for this meter.");
  rows(
    "hours-rows",
    hours.map((hour) => ({
      key: hour,
      make: () =>
        make(
          "tr",
          {},
          cell(minute(hour.hourStart), "tight"),
          cell(vehicles(hour.vehicleIds), "id"),
          cell(sized(hour.energyAcKwh), "n ac-of"),
          cell(sized(hour.energyDcKwh), "n dc-of"),
          cell(number(hour.efficiencyPercent, 1), "n percent-of"),
          cell(status(hour.status, words(hour.status))),
        ),
    })),
  );
}

function vehicles(ids) {
  const links = ids.flatMap((vehicle) => [", ", deviceLink("vehicle", vehicle)]);
  return make("span", {}, ...links.slice(1));
}

watchLive("meter", id, showLive);
repeat(30, showHours, { section: "hours" });
watchCondition("meter", id);
watchSessions({ meterId: id });
watchAlerts({ kind: "meter", device: id });
