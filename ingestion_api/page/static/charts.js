// Charts by Vega-Lite. Colours are those of the style sheet, so that they follow its dark mode; the
// library's expressions are interpreted and its own styles left out, as the page's policy wants it.
// To a screen reader a chart is one thing with a name: its values are in the table below it.

import { at, cell, make } from "./dom.js";
import { minute, UNKNOWN } from "./format.js";

const HOUR = 3_600_000;
const INK = "var(--quiet)";
const RULE = "var(--rule)";
const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  padding: { left: 2, right: 6, top: 6, bottom: 2 },
  view: { stroke: null },
  axis: {
    aria: false,
    labelColor: INK,
    titleColor: INK,
    titleFontWeight: "normal",
    labelFontSize: 11,
    titleFontSize: 11,
    domainColor: RULE,
    gridColor: RULE,
    tickColor: RULE,
  },
  axisX: { grid: false },
};
const OPTIONS = {
  ast: true,
  actions: false,
  renderer: "svg",
  defaultStyle: false,
  logLevel: 1, // errors; that a line has no value yet is nothing to warn of
  tooltip: (_, event, __, value) => showHint(event, value),
};

let library = null;

/** The library, loaded once, and not before there is something to draw: figures come first. */
function loaded() {
  library ??= import(document.body.dataset.charts).then(
    () => globalThis.vegaEmbed,
    (error) => {
      library = null; // it is asked for again
      throw error;
    },
  );
  return library;
}

/** A chart with its table; drawn when there is something to draw, and again when that changes. */
export class Chart {
  #id;
  #spec;
  #row;
  #view = null;
  #isDrawing = false;
  #key = null;
  #points = [];
  #none = "";

  /** `spec` is Vega-Lite over the data set "points"; `row` makes the texts of a point's row. */
  constructor(id, spec, row) {
    this.#id = id;
    this.#spec = spec;
    this.#row = row;
  }

  /** Show these points, or why there are none; times are milliseconds, what is not known is null. */
  show(points, none = "Nothing is known yet.") {
    const key = JSON.stringify([points, none]);
    if (key === this.#key) return;
    this.#key = key;
    this.#none = none;
    const texts = points.map(this.#row);
    const known = texts.filter((row) => row.slice(1).some((text) => text !== UNKNOWN));
    this.#points = known.length ? points : [];
    at(`${this.#id}-rows`).replaceChildren(
      ...known
        .reverse()
        .map((row) => make("tr", {}, ...row.map((text, n) => cell(text, n ? "n" : "tight")))),
    );
    this.#draw();
  }

  async #draw() {
    if (this.#isDrawing) return; // it looks at the points when it is done
    const drawing = at(`${this.#id}-drawing`);
    if (!this.#points.length) {
      this.#view?.finalize();
      this.#view = null;
      drawing.replaceChildren(make("p", { className: "quiet" }, this.#none));
      return;
    }
    if (this.#view) {
      this.#view.data("points", copied(this.#points)).runAsync();
      return;
    }
    this.#isDrawing = true;
    const drawn = this.#points;
    try {
      const embed = await loaded();
      drawing.replaceChildren();
      ({ view: this.#view } = await embed(drawing, this.#whole(drawn), OPTIONS));
    } catch (error) {
      const text = "The chart can't be drawn; the table below has its figures.";
      drawing.replaceChildren(make("p", { className: "quiet" }, text));
      this.#key = null; // the next figures are drawn, though they be the same
      throw error;
    } finally {
      this.#isDrawing = false;
    }
    if (drawn !== this.#points) this.#draw();
  }

  #whole(points) {
    return {
      width: "container",
      autosize: { type: "fit-x", contains: "padding" },
      config: CONFIG,
      data: { name: "points", values: copied(points) },
      ...this.#spec,
    };
  }
}

// The library writes on what it is given.
const copied = (points) => points.map((point) => ({ ...point }));

const SPAN = "domain('x')[1] - domain('x')[0]";

/** The time axis of a chart, in UTC. */
const timeAxis = (field) => ({
  field,
  type: "temporal",
  scale: { type: "utc" },
  axis: {
    title: null,
    format: { minutes: "%H:%M", hours: "%H:%M", date: "%b %-d", week: "%b %-d", month: "%b", quarter: "%b" },
    labelOverlap: true,
    labelSeparation: 10,
    // As many as have room; of more than three hours none between full ones.
    tickCount: {
      expr: `max(1, min(width / 75, (${SPAN}) / (${SPAN} > ${3 * HOUR} ? ${HOUR} : ${HOUR / 12})))`,
    },
    labelFlush: true,
  },
});

/** An axis of values; all have the same room, so that charts above each other have one time axis. */
const valueAxis = (field, scale) => ({
  field,
  type: "quantitative",
  scale,
  axis: {
    title: null,
    tickCount: 4,
    minExtent: 42,
    maxExtent: 42,
    labelExpr: "replace(datum.label, /,/g, '\\u202f')",
  },
});

// From `from` to `until` of a point.
const STEP = { x: timeAxis("from"), x2: { field: "until" } };
// The whole height of a point's step shows its values to a pointer.
const POINTED_AT = {
  mark: { type: "rect", opacity: 0, aria: false },
  encoding: { ...STEP, tooltip: { field: "hint" } },
};

/** AC behind DC, as bars so many pixels apart. */
export const bars = (description, height, { apart = 0 } = {}) => ({
  description,
  height,
  layer: [
    ...["ac", "dc"].map((field) => ({
      // The line around each closes the seams between narrow ones.
      mark: {
        type: "bar",
        color: `var(--${field})`,
        stroke: `var(--${field})`,
        strokeWidth: apart ? 0 : 0.5,
        xOffset: apart / 2,
        x2Offset: -apart / 2,
        aria: false,
      },
      encoding: { ...STEP, y: valueAxis(field, { zero: true }), y2: { datum: 0 } },
    })),
    POINTED_AT,
  ],
});

/**
 * A line that breaks where nothing is known; a point shows what is known between two gaps. The axis
 * shows at least the values `about`, so that noise does not look like a change.
 */
export const line = (description, height, field, color, { about, size = 9 }) => {
  const encoding = { x: timeAxis("at"), y: valueAxis(field, { zero: false, nice: true }) };
  const { scale, ...y } = encoding.y;
  return {
    description,
    height,
    layer: [
      { mark: { type: "line", color, aria: false }, encoding },
      {
        mark: { type: "point", size, color, filled: true, opacity: 1, aria: false },
        encoding: { ...encoding, y: { ...y, scale: { ...scale, domain: { unionWith: about } } } },
      },
      POINTED_AT,
    ],
  };
};

/** Points with an empty one wherever the next is further away than a step: a line breaks there. */
export function withGaps(points, step) {
  const spaced = [];
  for (const point of points) {
    const last = spaced.at(-1);
    if (last && point.at - last.at > step) {
      const at = last.at + step;
      spaced.push({ at, from: at, until: at });
    }
    spaced.push(point);
  }
  return spaced;
}

export const timeOf = (point) => minute(point.from);

function showHint(event, value) {
  const hint = at("hint");
  hint.hidden = value === null || value === undefined || value === "";
  if (hint.hidden) return;
  hint.textContent =
    typeof value === "object"
      ? Object.entries(value)
          .map(([name, one]) => `${name}  ${one}`)
          .join("\n")
      : String(value);
  const room = document.documentElement;
  const left = Math.min(event.clientX + 14, room.clientWidth - hint.offsetWidth - 8);
  const top = Math.min(event.clientY + 14, room.clientHeight - hint.offsetHeight - 8);
  hint.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
}
