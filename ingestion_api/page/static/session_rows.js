// Charging sessions as rows of a table, of the whole fleet or of one device.

import { ask } from "./api.js";
import { at, cell, deviceLink, make, put, rows, status } from "./dom.js";
import { duration, minute, number, sized, words } from "./format.js";
import { repeat } from "./frame.js";

const DAY = 86_400_000;
const MOST = 100;

/** Show the sessions of the last days; `about` are more parameters of the call. */
export async function showSessions(days, about) {
  const start = new Date(Date.now() - days * DAY).toISOString();
  const query = new URLSearchParams({ start, limit: MOST, ...about });
  const { rows: sessions, nextCursor, computedUntil } = await ask(`/v1/sessions?${query}`);
  at("sessions-table").hidden = sessions.length === 0;
  const of = days === 1 ? "last 24 hours" : `last ${days} days`;
  put("sessions-none", sessions.length ? "" : `No session of the ${of} is known.`);
  const more = nextCursor ? `The newest ${MOST} are shown; GET /v1/sessions has all. ` : "";
  const until = computedUntil ? `Known until ${minute(computedUntil)} UTC.` : "";
  put("sessions-more", more + until);
  rows(
    "sessions-rows",
    sessions.map((session) => ({
      key: session,
      make: () =>
        make(
          "tr",
          {},
          cell(time(session), "begin"),
          cell(partner(session, about), "id"),
          cell(sized(session.energyAcKwh), "n ac-of"),
          cell(sized(session.energyDcKwh), "n dc-of"),
          cell(number(session.efficiencyPercent, 1), "n percent-of"),
          cell(status(session.status, words(session.status))),
        ),
    })),
  );
}

/** Keep the sessions of a device up to date. */
export function watchSessions(about) {
  const all = at("sessions-all");
  all.href = `/sessions?${new URLSearchParams(about)}`;
  repeat(30, () => showSessions(7, about), { section: "sessions" });
}

const lasted = (session) =>
  `${duration(session.durationSeconds)}${session.ends === null ? ", goes on" : ""}`;

function time(session) {
  const href = `/sessions/${session.sessionId}`;
  const link = make("a", { href }, minute(session.begins));
  return make("span", {}, link, " ", make("span", { className: "aside" }, lasted(session)));
}

/** The other end: of a vehicle's sessions the meters, else the vehicle. */
function partner(session, about) {
  if (!about.vehicleId) return deviceLink("vehicle", session.vehicleId);
  const links = session.meterIds.flatMap((meter) => [", ", deviceLink("meter", meter)]);
  return make("span", {}, ...links.slice(1));
}
