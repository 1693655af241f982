// Reports of days, weeks and months: which there are, and one of them in the frame of the page.

import { ask, fetched, said } from "./api.js";
import { at, cell, make, put, rows } from "./dom.js";
import { repeat } from "./frame.js";

const FORMS = { pdf: "PDF", xlsx: "XLSX", csv: "CSV", parquet: "Parquet" };
const key = document.body.dataset.key;
const asked = new URLSearchParams(location.search);

const ofDepot = (depot) => (depot ? { depot } : {});
const kindOf = (name) => (name.includes("W") ? "week" : name.length === 7 ? "month" : "day");
const listed = (period, depot) => ask(`/v1/reports?${new URLSearchParams({ period, ...ofDepot(depot) })}`);

function path(name, depot) {
  const query = new URLSearchParams(ofDepot(depot)).toString();
  return `/reports/${name}${query && `?${query}`}`;
}

async function showList() {
  await showDepots();
  const period = document.querySelector("[name=period]:checked").value;
  const depot = at("depot").value;
  history.replaceState(null, "", `/reports?${new URLSearchParams({ period, ...ofDepot(depot) })}`);
  const { reports } = await listed(period, depot);
  at("reports-table").hidden = reports.length === 0;
  put("reports-none", reports.length ? "" : `There is no report yet: the first comes after the first whole ${period}.`);
  rows(
    "reports-rows",
    reports.map((report) => ({
      key: report,
      make: () =>
        make(
          "tr",
          {},
          cell(report.html ? make("a", { href: path(report.key, depot) }, report.key) : report.key, "tight"),
          cell(report.soFar ? "so far" : String(report.version)),
          make("td", { className: "buttons" }, ...downloads(report)),
        ),
    })),
  );
}

/** The depots that somebody can choose, once. */
async function showDepots() {
  const choice = at("depot");
  if (choice.options.length > 1) return;
  const { depots } = await ask("/v1/depots");
  choice.append(...depots.map(({ id, name }) => make("option", { value: id }, name ?? id)));
  choice.value = asked.get("depot") ?? "";
}

async function showReport() {
  const depot = asked.get("depot");
  put("of", depot ?? "");
  at("list").href = `/reports?${new URLSearchParams({ period: kindOf(key), ...ofDepot(depot) })}`;
  const { reports } = await listed(kindOf(key), depot);
  const place = reports.findIndex((report) => report.key === key);
  lead("earlier", reports.slice(place + 1).find((report) => report.html && place >= 0), depot);
  lead("later", reports.slice(0, Math.max(place, 0)).findLast((report) => report.html), depot);
  const report = reports[place];
  if (!report?.html) {
    put("report-none", `There is no report of ${key}.`);
    return;
  }
  at("forms").replaceChildren(...downloads(report));
  const html = await (await fetched(report.html)).text();
  const frame = at("report-page");
  if (frame.srcdoc === html) return;
  frame.onload = () => fit(frame);
  frame.srcdoc = html;
  frame.hidden = false;
  put("report-none", "");
}

/** As high as what is in it: one page scrolls, not two. */
function fit(frame) {
  const inside = frame.contentDocument;
  for (const link of [...inside.links]) {
    const target = link.getAttribute("href");
    if (target.startsWith("#")) link.addEventListener("click", (event) => scrollTo(event, inside, target));
    else if (target.startsWith("/v1/")) link.replaceWith(link.textContent); // wants the tab's key
    else link.target = "_top";
  }
  const height = () => {
    frame.style.height = `${inside.documentElement.scrollHeight}px`;
  };
  new ResizeObserver(height).observe(inside.body);
  height();
}

/** A place in the report, which scrolls with the page that it is in. */
function scrollTo(event, inside, target) {
  event.preventDefault();
  inside.querySelector(target)?.scrollIntoView();
}

function lead(id, report, depot) {
  at(id).hidden = !report;
  if (report) at(id).href = path(report.key, depot);
}

function downloads(report) {
  const name = ["efficiency", report.depot, report.key].filter(Boolean).join("-");
  return Object.entries(FORMS)
    .filter(([form]) => report[form])
    .map(([form, label]) => download(report[form], `${name}.${form}`, label));
}

/** A file of the API, which wants the tab's key. */
function download(path, name, label) {
  const button = make("button", { type: "button" }, label);
  const told = make("span", { className: "refusal", role: "status" });
  button.addEventListener("click", async () => {
    told.textContent = "";
    try {
      const content = URL.createObjectURL(await (await fetched(path)).blob());
      make("a", { href: content, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(content), 60_000);
    } catch (error) {
      told.textContent = said(error);
    }
  });
  return make("span", {}, button, told);
}

repeat(3, () => fetched("/healthz"), { isPulse: true });
if (key) {
  repeat(300, showReport, { section: "report" });
} else {
  const wanted = document.querySelector(`[name=period][value="${CSS.escape(asked.get("period") ?? "day")}"]`);
  if (wanted) wanted.checked = true;
  at("choices").addEventListener("change", repeat(60, showList, { section: "reports" }));
}
