// The page of a charging session.

import { ask, Problem } from "./api.js";
import { curveOf } from "./curve.js";
import { at, deviceLink, make, put, putWords } from "./dom.js";
import { duration, minute, money, number, sized, words } from "./format.js";
import { repeat } from "./frame.js";

const id = document.body.dataset.session;
const FOUND_BY = { ac: "AC energy", dc: "DC energy", soc: "state of charge", link: "its link" };

let curve = null;
let drawn = null;

repeat(
  5,
  async () => {
    let session;
    try {
      session = await ask(`/v1/sessions/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof Problem) || ![404, 422].includes(error.status)) throw error;
      put("unknown", error.status === 404 ? "No session has this id." : "No session can have this id.");
      at("unknown").hidden = false;
      at("known").hidden = true;
      return;
    }
    at("unknown").hidden = true;
    at("known").hidden = false;
    show(session);
    await showCurve(session);
  },
  { isPulse: true },
);

function show(session) {
  const isRatio = session.efficiencyPercent !== null;
  at("rated").className = `value is-${session.status}`;
  if (isRatio) put("rated", number(session.efficiencyPercent, 1), words(session.status));
  else putWords("rated", words(session.status), "");
  put("reason", session.reason === "rated" ? "" : session.reasonText);
  showDevices(session);
  put("time", `${minute(session.begins)} to ${session.ends === null ? "now" : minute(session.ends)}`);
  put("lasted", duration(session.durationSeconds), session.ends === null ? "goes on" : "");
  put("charging", duration(session.chargingSeconds));
  put("plugged", duration(session.pluggedSeconds));
  put("ac", sized(session.energyAcKwh));
  put("dc", sized(session.energyDcKwh));
  put("loss", sized(session.lossKwh));
  put("cost", money(session.costOfEnergy && Number(session.costOfEnergy), session.currency));
  put("charge", `${number(session.socFrom, 0)} → ${number(session.socTo, 0)}`);
  put("power", `${number(session.meanPowerAcKw, 1)} · ${number(session.peakPowerAcKw, 1)}`);
  put("warmth", `${number(session.batteryTempMin, 0)} to ${number(session.batteryTempMax, 0)}`);
  put("coverage", `${number(100 * session.coverageAc)} · ${number(100 * session.coverageDc)}`);
  const evidence = session.evidence.split("+").map((name) => FOUND_BY[name]);
  put("evidence", `Found by ${evidence.join(", ")}.`);
}

function showDevices(session) {
  const key = [session.vehicleId, ...session.meterIds].join("\n");
  if (at("devices").dataset.key === key) return;
  at("devices").dataset.key = key;
  const meters = session.meterIds.flatMap((meter) => [", ", deviceLink("meter", meter)]).slice(1);
  at("devices").replaceChildren(
    deviceLink("vehicle", session.vehicleId),
    ...(meters.length ? [" at ", make("span", {}, ...meters)] : []),
  );
}

async function showCurve(session) {
  if (drawn === session.links.curve) return;
  curve ??= curveOf(session.vehicleId);
  try {
    curve.show(await ask(session.links.curve));
    drawn = session.links.curve;
  } catch (error) {
    if (!(error instanceof Problem) || ![404, 422].includes(error.status)) throw error;
    curve.clear(error.message);
    drawn = session.links.curve;
  }
}
