// What the pages of a vehicle and of a meter have in common.

import { ask, Problem } from "./api.js";
import { at, make, put } from "./dom.js";
import { duration, minute } from "./format.js";
import { repeat, searchFor } from "./frame.js";

/** Keep live state up to date; `show` puts what only this kind of device has. */
export function watchLive(kind, id, show) {
  repeat(
    1.5,
    async () => {
      let live;
      try {
        live = await ask(`/v1/analytics/${kind}/${encodeURIComponent(id)}/live`);
      } catch (error) {
        if (!(error instanceof Problem) || ![404, 422].includes(error.status)) throw error;
        showUnknown(kind, id, error.status);
        return;
      }
      at("unknown").hidden = true;
      at("known").hidden = false;
      put("live-age", `${duration(live.ageSeconds)} ago`, minute(live.timestamp));
      showConnection(live.connection);
      show(live);
    },
    { isPulse: true },
  );
}

/** The answer; null where there is no such device, which live state tells. */
export async function known(task) {
  try {
    return await task;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

function showUnknown(kind, id, status) {
  if (!at("unknown").hidden) return;
  put(
    "unknown-reason",
    status === 404
      ? `No heartbeat of ${kind} ${id} has come in yet; the page shows it as soon as one does. ` +
          "Is the id written as the device sends it, also in capitals?"
      : `No ${kind} can have this id: an id is 1 to 64 printable ASCII characters without a space ` +
          "at either end.",
  );
  at("unknown-search").onclick = () => searchFor(status === 404 ? id : "");
  at("unknown").hidden = false;
  at("known").hidden = true;
}

function showConnection(name) {
  const badge = at("connection");
  if (badge.dataset.name === name) return;
  badge.dataset.name = name;
  badge.hidden = false;
  badge.replaceChildren(make("i", { className: `key ${name}` }), name);
}
