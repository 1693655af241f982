// The curve of a vehicle in a window: its energy, efficiency, state of charge and temperature.

import { bars, Chart, line, timeOf } from "./charts.js";
import { put } from "./dom.js";
import { duration, minute, number } from "./format.js";

/** The charts of a vehicle, which `show` an answer of its curve, or `clear` with a reason. */
export function curveOf(id) {
  const charts = [
    new Chart(
      "energy",
      bars(`AC energy into ${id} and DC energy to its battery, kWh in each step`, 120),
      (point) => [timeOf(point), number(point.ac, 3), number(point.dc, 3)],
    ),
    new Chart(
      "efficiency",
      line(`Efficiency of ${id} while it charges, percent`, 120, "efficiency", "var(--line)", {
        about: [80, 95],
      }),
      (point) => [timeOf(point), number(point.efficiency, 1)],
    ),
    new Chart(
      "soc",
      line(`State of charge of ${id}, percent`, 120, "soc", "var(--dc)", {
        about: [0, 100],
      }),
      (point) => [timeOf(point), number(point.soc, 1)],
    ),
    new Chart(
      "temperature",
      line(`Battery temperature of ${id}, °C`, 120, "temperature", "var(--line)", {
        about: [15, 35],
      }),
      (point) => [timeOf(point), number(point.temperature, 1)],
    ),
  ];

  function show(found) {
    const step = found.stepSeconds * 1000;
    const points = found.points.map((point) => {
      const begins = Date.parse(point.begins);
      return {
        at: begins + step / 2,
        from: begins,
        until: begins + step,
        ac: point.energyAcKwh,
        dc: point.energyDcKwh,
        efficiency: point.efficiencyPercent,
        soc: point.soc,
        temperature: point.batteryTemp,
        hint: {
          [minute(point.begins)]: "",
          "AC": `${number(point.energyAcKwh, 3)} kWh`,
          "DC": `${number(point.energyDcKwh, 3)} kWh`,
          "efficiency": `${number(point.efficiencyPercent, 1)} %`,
          "state of charge": `${number(point.soc, 1)} %`,
          "battery": `${number(point.batteryTemp, 1)} °C`,
        },
      };
    });
    for (const chart of charts) chart.show(points);
    put(
      "step-note",
      `Steps of ${duration(found.stepSeconds).replace(/ 0 (s|min|h)$/, "")}; where nothing is known of a step, the curve has a gap.`,
    );
  }

  function clear(reason) {
    put("step-note", "");
    for (const chart of charts) chart.show([], reason);
  }

  return { show, clear };
}
