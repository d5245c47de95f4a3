// A list of jobs that is up to date: what has changed is put into its row, and no row moves. New jobs are only counted.
"use strict";

(() => {
  const list = document.querySelector("[data-list]");
  const boxes = () => [...document.querySelectorAll("input[name=JOB]")];
  const all = document.querySelector("[data-all]");
  const count = document.querySelector("[data-count]");

  function showCount() {
    const number = boxes().filter((box) => box.checked).length;
    if (count) count.textContent = number ? `${number} selected` : "Nothing is selected";
    if (all) all.checked = number > 0 && number === boxes().length;
    for (const button of document.querySelectorAll("[data-needs-selection]")) button.disabled = !number;
  }

  if (all) {
    all.closest("label").hidden = false;
    all.addEventListener("change", () => {
      for (const box of boxes()) box.checked = all.checked;
      showCount();
    });
    document.addEventListener("change", (event) => { if (event.target.name === "JOB") showCount(); });
    showCount();
  }
  if (!list || !list.dataset.events) return;

  let busy = false;
  let again = false;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(list.dataset.list, { headers: { accept: "text/html,application/xhtml+xml" }, cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const fresh of page.querySelectorAll("tr[data-row]")) {
        const row = document.querySelector(`tr[data-row="${CSS.escape(fresh.dataset.row)}"]`);
        if (!row) continue;
        const cells = [...row.children];
        [...fresh.children].forEach((cell, index) => {
          if (!cells[index] || cells[index].contains(document.activeElement) || cells[index].querySelector("input")) return;
          cells[index].replaceWith(cell);
          enhance(cell);
        });
      }
    } finally {
      busy = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  }

  const stream = new EventSource(list.dataset.events);
  let timer = 0;
  for (const name of ["phase", "progress", "waiting", "result"]) {
    stream.addEventListener(name, (event) => {
      const row = document.querySelector(`tr[data-row="${CSS.escape(JSON.parse(event.data).id)}"]`);
      if (!row) { // one that is not in this list
        const hint = document.querySelector("[data-new]");
        if (hint && name === "phase") hint.hidden = false;
        return;
      }
      clearTimeout(timer);
      timer = setTimeout(refresh, name === "phase" ? 30 : 500);
    });
  }
})();
