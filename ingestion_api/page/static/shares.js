// A bar of shares with its legend; an entry of the legend leads to the devices that it counts.

import { ask, said } from "./api.js";
import { at, deviceLink, make, put } from "./dom.js";
import { number } from "./format.js";

const LISTED = 40;

/** Kept where it is while its counts change: who has the focus on an entry keeps it. */
export class Shares {
  #prefix;
  #what;
  #pathOf;
  #textOf;
  #counts = {};
  #chosen = null;

  /**
   * `pathOf(name, limit)` asks for the devices of an entry, which are `what`; `textOf` makes the
   * text that stands after the link of one that was found.
   */
  constructor(prefix, what, pathOf, textOf) {
    this.#prefix = prefix;
    this.#what = what;
    this.#pathOf = pathOf;
    this.#textOf = textOf;
  }

  /** `parts` are [name, label, count], the same ones each time. */
  show(parts) {
    const [bar, legend] = [at(`${this.#prefix}-bar`), at(`${this.#prefix}-legend`)];
    if (!legend.childElementCount) {
      bar.append(...parts.map(([name]) => make("span", { className: name })));
      legend.append(...parts.map((part) => this.#entry(part)));
    }
    for (const [n, [name, , count]] of parts.entries()) {
      bar.children[n].hidden = !count;
      bar.children[n].style.flexGrow = count;
      const button = legend.children[n].firstChild;
      button.classList.toggle("none", !count);
      put(button.lastChild.id, number(count));
      const isOther = this.#chosen?.name === name && this.#counts[name] !== count;
      if (isOther && !at(`${this.#prefix}-list`).contains(document.activeElement)) this.#list();
      this.#counts[name] = count;
    }
  }

  #entry([name, label]) {
    const list = `${this.#prefix}-list`;
    const button = make(
      "button",
      { type: "button" },
      make("i", { className: `key ${name}` }),
      make("span", {}, label),
      make("b", { id: `${this.#prefix}-${name}` }),
    );
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", list);
    button.addEventListener("click", () => {
      const isNew = this.#chosen?.name !== name;
      this.#chosen?.button.setAttribute("aria-expanded", "false");
      this.#chosen = isNew ? { name, label, button } : null;
      at(list).hidden = !isNew;
      at(list).replaceChildren();
      if (!isNew) return;
      button.setAttribute("aria-expanded", "true");
      this.#list();
    });
    return make("li", {}, button);
  }

  async #list() {
    const { name, label } = this.#chosen;
    let children;
    try {
      const answer = await ask(this.#pathOf(name, LISTED));
      const found = answer.devices ?? answer.rows;
      const more = answer.nextCursor ? `The first ${LISTED}; the search finds the others.` : "";
      children = [
        make("p", {}, `${found.length ? "" : "no "}${label} ${this.#what}`),
        make("ul", {}, ...found.map((one) => this.#item(one))),
        make("p", { className: "quiet" }, more),
      ];
    } catch (error) {
      children = [make("p", { className: "refusal", role: "alert" }, `Not listed: ${said(error)}.`)];
    }
    if (this.#chosen?.name === name) at(`${this.#prefix}-list`).replaceChildren(...children);
  }

  #item(one) {
    const [kind, id] = one.vehicleId === undefined ? ["meter", one.meterId] : ["vehicle", one.vehicleId];
    return make("li", {}, deviceLink(kind, id), make("span", { className: "quiet" }, this.#textOf(one)));
  }
}
