// The list of charging sessions.

import { at, put } from "./dom.js";
import { repeat } from "./frame.js";
import { showSessions } from "./session_rows.js";

const asked = new URLSearchParams(location.search);
const about = {};
for (const name of ["vehicleId", "meterId"]) if (asked.get(name)) about[name] = asked.get(name);
put("about", Object.values(about).join(", "));
put("partner", about.vehicleId ? "Meter" : "Vehicle");

const again = repeat(
  5,
  () => {
    const days = Number(document.querySelector("[name=days]:checked").value);
    const which = document.querySelector("[name=which]:checked").value;
    return showSessions(days, which === "ongoing" ? { ...about, ongoing: "true" } : about);
  },
  { isPulse: true },
);
at("choices").addEventListener("change", again);
