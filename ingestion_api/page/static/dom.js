// The few things that every part of the page does with elements. Texts are only ever texts.

import { devicePath } from "./format.js";

export const at = (id) => document.getElementById(id);

/** An element with properties and children; a child may be a text or nothing. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put a text where it is not there already: what does not change is not announced or selected away. */
export function put(id, text, note) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
  if (note !== undefined && at(`${id}-note`).textContent !== note) {
    at(`${id}-note`).textContent = note;
    at(`${id}-note`).title = note;
  }
}

/** A figure that may be a word instead of a number. */
export function putWords(id, text, note) {
  at(id).classList.add("is-words");
  put(id, text, note);
}

/** Rows of a table's body, replaced only if they differ: focus and selection stay where they are. */
export function rows(id, found) {
  const body = at(id);
  const key = JSON.stringify(found.map((row) => row.key));
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  body.replaceChildren(...found.map((row) => row.make()));
}

/** A link to the page of a device. */
export const deviceLink = (kind, id) => make("a", { href: devicePath(kind, id) }, id);

export const cell = (text, name = "") => make("td", { className: name }, text);

/** A status with its colour, which never stands alone. */
export function status(name, text) {
  return make("span", { className: "status" }, make("i", { className: `key ${name}` }), text);
}
