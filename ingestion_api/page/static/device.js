// What the pages of a vehicle and of a meter have in common.

import { ask, Problem, said } from "./api.js";
import { at, make, put } from "./dom.js";
import { duration, minute } from "./format.js";
import { repeat } from "./frame.js";

/** Keep live state up to date; `show` puts what only this kind of device has. */
export function watchLive(kind, id, show) {
  repeat(
    1.5,
    async () => {
      const live = await known(ask(`/v1/analytics/${kind}/${encodeURIComponent(id)}/live`));
      if (!live) return;
      at("unknown").hidden = true;
      at("known").hidden = false;
      put("live-age", `${duration(live.ageSeconds)} ago`, minute(live.timestamp));
      showConnection(live.connection);
      show(live);
    },
    { isPulse: true },
  );
}

/** The answer; null, and a hint in place of the figures, where there is no such device. */
export async function known(task) {
  try {
    return await task;
  } catch (error) {
    if (!(error instanceof Problem) || ![404, 422].includes(error.status)) throw error;
    at("unknown").textContent = said(error);
    at("unknown").hidden = false;
    at("known").hidden = true;
    return null;
  }
}

function showConnection(name) {
  const badge = at("connection");
  if (badge.dataset.name === name) return;
  badge.dataset.name = name;
  badge.hidden = false;
  badge.replaceChildren(make("i", { className: `key ${name}` }), name);
}
