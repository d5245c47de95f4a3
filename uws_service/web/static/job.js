// Follows a job by its stream of events. The page is made on the server; parts of it that have changed are put in place,
// and neither focus nor what is open gets lost.
"use strict";

(() => {
  const FINAL = ["COMPLETED", "ERROR", "ABORTED", "ARCHIVED"];
  const root = document.querySelector("[data-job]");
  const parts = new Map();
  for (const part of root.querySelectorAll("[data-part]")) parts.set(part.dataset.part, part);
  const shown = new Map([...parts].map(([name, part]) => [name, part.innerHTML])); // as sent: this runs before page.js
  let again = false;
  let busy = false;

  // What the server sent, before scripts have changed times and buttons.
  async function load() {
    const answer = await fetch(root.dataset.job, { headers: { accept: "text/html,application/xhtml+xml" }, cache: "no-store" });
    if (answer.status === 404) { location.reload(); return null; }
    if (!answer.ok) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  function place(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const name = element.getAttribute("name");
    if (name) return `${element.localName}[name="${CSS.escape(name)}"]${element.value && element.localName === "button" ? `[value="${CSS.escape(element.value)}"]` : ""}`;
    if (element.localName === "summary" && element.parentElement.id) return `#${CSS.escape(element.parentElement.id)} > summary`;
    const href = element.getAttribute("href");
    return href ? `a[href="${CSS.escape(href)}"]` : null;
  }

  function put(part, fresh) {
    const active = part.contains(document.activeElement) ? document.activeElement : null;
    const inputs = [...part.querySelectorAll("input:not([type=hidden]), textarea")];
    if (inputs.includes(active) || inputs.some((input) => input.value !== input.defaultValue)) return false; // typed there
    const where = active ? place(active) : null;
    const open = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
    const scrolled = new Map([...part.querySelectorAll("pre.log")].map((log) => [
      log.getAttribute("aria-labelledby"), log.scrollHeight - log.scrollTop - log.clientHeight < 8 ? Infinity : log.scrollTop,
    ]));
    part.replaceChildren(...fresh.childNodes);
    for (const id of open) { const details = document.getElementById(id); if (details) details.open = true; }
    for (const log of part.querySelectorAll("pre.log")) {
      const top = scrolled.get(log.getAttribute("aria-labelledby"));
      log.scrollTop = top === undefined || top === Infinity ? log.scrollHeight : top;
    }
    enhance(part);
    part.dispatchEvent(new CustomEvent("uws:part", { bubbles: true }));
    if (active) {
      const next = (where && part.querySelector(where)) || part.querySelector("a, button, summary, [tabindex]");
      if (next) next.focus({ preventScroll: true });
    }
    return true;
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const page = await load();
      if (!page) return;
      document.title = page.title;
      root.dataset.phase = page.querySelector("[data-job]").dataset.phase;
      for (const fresh of page.querySelectorAll("[data-part]")) {
        const name = fresh.dataset.part;
        const part = parts.get(name);
        const text = fresh.innerHTML;
        if (part && shown.get(name) !== text && put(part, fresh)) shown.set(name, text);
      }
    } catch (error) {
      again = false; // the network is away for a moment; the next event comes
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  function progress(event) {
    const data = JSON.parse(event.data);
    const bar = document.getElementById("progress");
    if (!bar || data.progress === null) { refresh(); return; }
    bar.value = 100 * data.progress;
    document.getElementById("percent").textContent = `${Math.round(100 * data.progress)} %`;
    document.getElementById("message").textContent = data.message || "";
  }

  for (const part of root.querySelectorAll("pre.log")) part.scrollTop = part.scrollHeight;
  const stream = new EventSource(`${root.dataset.job}/events`);
  for (const name of ["phase", "waiting", "attempt", "result", "parameters", "reset", "deleted"]) {
    stream.addEventListener(name, refresh);
  }
  stream.addEventListener("progress", progress);

  // Logs, elapsed time and the place in the queue have no events of their own; nor has anything without a stream. The
  // logs of an aborted job come a little after its end, so an ended one is looked at a few times more.
  let left = 5;
  setInterval(() => {
    if (document.hidden) return;
    if (FINAL.includes(root.dataset.phase) && left-- <= 0) return;
    if (root.dataset.phase !== "PENDING") refresh();
  }, 3000);
})();
