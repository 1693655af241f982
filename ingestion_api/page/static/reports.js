// The daily reports: which there are, and one of them in the frame of the page.

import { ask, fetched, said } from "./api.js";
import { at, cell, make, put, rows } from "./dom.js";
import { repeat } from "./frame.js";

const day = document.body.dataset.day;

async function showList() {
  const { reports } = await ask("/v1/reports");
  at("reports-table").hidden = reports.length === 0;
  put("reports-none", reports.length ? "" : "There is no report yet: the first comes after the first whole UTC day.");
  rows(
    "reports-rows",
    reports.map((report) => ({
      key: report,
      make: () =>
        make(
          "tr",
          {},
          cell(report.html ? make("a", { href: `/reports/${report.date}` }, report.date) : report.date, "tight"),
          cell(report.csv ? download(report.csv, `efficiency-${report.date}.csv`, "CSV") : "–"),
        ),
    })),
  );
}

async function showReport() {
  const { reports } = await ask("/v1/reports");
  const place = reports.findIndex((report) => report.date === day);
  lead("earlier", reports.slice(place + 1).find((report) => report.html && place >= 0));
  lead("later", reports.slice(0, Math.max(place, 0)).findLast((report) => report.html));
  const report = reports[place];
  if (!report?.html) {
    put("report-none", `There is no report of ${day}.`);
    return;
  }
  at("forms").replaceChildren(report.csv ? download(report.csv, `efficiency-${day}.csv`, "CSV") : "");
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
    if (link.getAttribute("href") === "efficiency.csv") link.replaceWith(link.textContent); // a button above
    else link.target = "_top";
  }
  const height = () => {
    frame.style.height = `${inside.documentElement.scrollHeight}px`;
  };
  new ResizeObserver(height).observe(inside.body);
  height();
}

function lead(id, report) {
  at(id).hidden = !report;
  if (report) at(id).href = `/reports/${report.date}`;
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
if (day) repeat(300, showReport, { section: "report" });
else repeat(60, showList, { section: "reports" });
