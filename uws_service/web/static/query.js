// The query page with a script: an editor, a search in the tree, results in the page that is there.
import { mount } from "./editor.js";
import { enliven } from "./viewer.js";

const bench = document.querySelector(".workbench");
const url = bench.dataset.url;
const form = document.getElementById("query-form");
const textarea = document.getElementById("query");
const result = document.getElementById("result");
const status = document.getElementById("status");
const RECENT = `uws-queries ${url}`;
const MAX_RECENT = 30;
const CHECK_AFTER_MS = 350;
const WAIT_SECONDS = 60;
const FINAL = new Set(["COMPLETED", "ERROR", "ABORTED", "ARCHIVED"]);
let running = null;

// --- the editor, and what is wrong while one types ---

const editor = mount(textarea, { label: "Query (ADQL)", run: () => send("RUN"), changed: () => checkSoon() });
let checkTimer = 0;
let checking = null;

function checkSoon() {
  clearTimeout(checkTimer);
  checking?.abort();
  checkTimer = setTimeout(check, CHECK_AFTER_MS);
}

/** Ask the service what is wrong with the query: with MAXREC=0 it is translated and not run. */
async function check() {
  const query = textarea.value;
  if (!query.trim() || /tap_upload/i.test(query)) return editor.mark([]);
  checking = new AbortController();
  try {
    const body = new URLSearchParams({ LANG: "ADQL", QUERY: query, MAXREC: "0" });
    const answer = await fetch(`${url}/sync`, { method: "POST", body, signal: checking.signal });
    if (query !== textarea.value) return;
    if (answer.ok) return editor.mark([]);
    // As HTML: what is no XML would become a document with styles of the browser's own, which the policy refuses.
    if (answer.status === 400) editor.mark(placed(new DOMParser().parseFromString(await answer.text(), "text/html")));
    // Busy: the same question once more, if nothing is typed meanwhile.
    if (answer.status === 429 || answer.status === 503) {
      checkTimer = setTimeout(check, 1000 * Math.max(2, Number(answer.headers.get("retry-after")) || 0));
    }
  } catch (error) {
    if (error.name !== "AbortError") editor.mark([]);
  }
}

function placed(document) {
  const info = document.querySelector("info[name='QUERY_STATUS']");
  const match = /^Line (\d+), column (\d+): ([^]*)$/.exec(info?.textContent.trim() ?? "");
  return match ? [{ line: Number(match[1]), column: Number(match[2]), message: match[3] }] : [];
}

fetch(`${url}/tables`, { headers: { accept: "application/json" } })
  .then((answer) => (answer.ok ? answer.json() : { tables: [] }))
  .then(({ tables }) => editor.complete(tables))
  .catch(() => undefined);

// --- the tree ---

for (const code of document.querySelectorAll("code.column")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "column";
  button.textContent = code.textContent;
  button.title = "Insert into the query";
  button.addEventListener("click", () => editor.insert(code.dataset.insert));
  code.replaceWith(button);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-query]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  editor.replace(link.dataset.query);
  editor.focus();
});

const search = document.getElementById("tree-search");
search.parentElement.hidden = false;
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (element) => words.every((word) => element.dataset.words.includes(word));
  let hits = 0;
  for (const table of document.querySelectorAll(".tree details")) {
    const named = fits(table);
    let inside = 0;
    for (const column of table.querySelectorAll("li")) {
      column.hidden = !named && !fits(column);
      if (!column.hidden) inside += 1;
    }
    table.hidden = !named && !inside;
    if (!table.hidden) hits += 1;
    if (words.length) table.open = !named && inside > 0;
  }
  document.getElementById("tree-none").hidden = hits > 0;
});

// --- running ---

form.addEventListener("submit", (event) => {
  const action = event.submitter?.value === "SAVE" ? "SAVE" : "RUN";
  event.preventDefault();
  if (event.submitter && !event.submitter.name && drawn) return; // "Draw" of a plot that is live
  send(action);
});
let drawn = false;

/** Send the form; put the answer into the page, or follow the job that it became. */
async function send(action) {
  if (!textarea.value.trim()) {
    status.textContent = "Write a query first.";
    return editor.focus();
  }
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const body = new FormData(form);
  body.set("ACTION", action);
  body.delete("X");
  body.delete("Y");
  remember(textarea.value);
  status.textContent = action === "SAVE" ? "A job is made …" : "The query runs …";
  result.setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    const answer = await fetch(form.action, { method: "POST", body, signal, headers: { accept: "text/html,application/xhtml+xml" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = page.getElementById("result");
    if (part) show(part, began);
    else if (answer.redirected && answer.ok) await follow(answer.url, signal);
    else fail(page.querySelector("main"));
  } catch (error) {
    if (error.name !== "AbortError") status.textContent = "The service can’t be reached; nothing was changed. Try again.";
  } finally {
    result.removeAttribute("aria-busy");
  }
}

function show(part, began) {
  result.replaceChildren(...part.childNodes);
  const fault = document.getElementById("query-error");
  if (fault?.dataset.line) {
    const message = fault.querySelector("p").textContent.replace(/^Line \d+, column \d+: /, "");
    editor.mark([{ line: Number(fault.dataset.line), column: Number(fault.dataset.column), message }]);
  } else if (!fault) editor.mark([]);
  const title = result.querySelector("h2")?.textContent ?? "";
  status.textContent = fault ? "" : `${title}; ${((performance.now() - began) / 1000).toFixed(2)} s.`;
  drawn = enliven(result);
}

function fail(main) {
  status.textContent = "";
  const section = main?.querySelector("section.error") ?? main;
  result.replaceChildren(...(section ? [section] : []));
}

/** Wait for a job and show its result in this page. */
async function follow(job, signal) {
  const link = document.createElement("a");
  link.href = job;
  link.textContent = `job ${job.split("/").pop()}`;
  status.replaceChildren("This takes longer, so it is now the ", link, ", which goes on by itself. ", document.createElement("span"));
  const words = status.lastChild;
  result.replaceChildren();
  let phase = "";
  for (;;) {
    const wait = phase ? `?WAIT=${WAIT_SECONDS}&PHASE=${phase}` : "";
    const answer = await fetch(`${job}${wait}`, { headers: { accept: "application/json" }, signal });
    if (!answer.ok) throw new Error(answer.statusText);
    const document_ = await answer.json();
    phase = document_.phase;
    words.textContent = phase === "COMPLETED" ? "It is complete." : `It is ${phase}.`;
    if (FINAL.has(phase)) break;
  }
  if (phase !== "COMPLETED") return;
  const answer = await fetch(`${job}/results/result/view`, { headers: { accept: "text/html,application/xhtml+xml" }, signal });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const viewer = page.querySelector(".viewer");
  if (viewer) {
    result.replaceChildren(viewer);
    enliven(result);
  }
}

// --- what this browser has sent ---

function recall() {
  try {
    const queries = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(queries) ? queries.filter((query) => typeof query === "string") : [];
  } catch {
    return [];
  }
}

function remember(query) {
  try {
    const queries = [query, ...recall().filter((other) => other !== query)].slice(0, MAX_RECENT);
    localStorage.setItem(RECENT, JSON.stringify(queries));
  } catch {
    // a browser without storage has no history
  }
  list();
}

function list() {
  const section = document.getElementById("recent");
  const queries = recall();
  section.hidden = !queries.length;
  section.querySelector("ul").replaceChildren(
    ...queries.map((query) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `${url}/query?${new URLSearchParams({ QUERY: query })}`;
      link.dataset.query = query;
      const code = document.createElement("code");
      code.textContent = query.replace(/\s+/g, " ").slice(0, 160);
      link.append(code);
      item.append(link);
      return item;
    }),
  );
}
document.getElementById("forget").addEventListener("click", () => {
  localStorage.removeItem(RECENT);
  list();
});
list();
if (result.childElementCount) drawn = enliven(result);
