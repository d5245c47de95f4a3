// The form of a new job: files are dropped, inputs added, entries checked before they are sent, and the same request is
// shown as a program would send it. Without this script the server checks, and says the same.
"use strict";

(() => {
  const form = document.querySelector("form[data-check]");
  const summary = document.getElementById("summary");

  // What is checked: all entries, and of files what they are called and how large they are.
  function entries() {
    const body = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (!(value instanceof File)) body.append(name, value);
      else if (value.name) body.append("FILE", `${name}:${value.size}:${value.name}`);
    }
    for (const hidden of form.querySelectorAll("input[type=hidden][name$='.part']")) {
      body.append("FILE", `${hidden.value}:1:${hidden.value}`);
    }
    for (const box of form.querySelectorAll("input[name=WITHOUT]:not(:checked)")) {
      if (!form.elements[`${box.value}.url`]?.value && !form.elements[box.value]?.files?.length) {
        body.append("FILE", `${box.value}:1:${box.value}`);
      }
    }
    return body;
  }

  async function check() {
    const answer = await fetch(form.dataset.check, { method: "POST", body: entries(), headers: { accept: "application/json" } });
    return answer.ok ? answer.json() : null;
  }

  function showCalls(calls) {
    for (const code of document.querySelectorAll("[data-call]")) code.textContent = calls[code.dataset.call];
  }

  function showProblems(problems, only) {
    for (const place of form.querySelectorAll("[data-error]")) {
      if (only && place.dataset.error !== only) continue;
      const own = problems.filter((problem) => problem.parameter === place.dataset.error);
      place.textContent = own.map((problem) => problem.message).join(" ");
      const inputs = place.closest("[data-field], fieldset")?.querySelectorAll("input, select, textarea") || [];
      for (const input of inputs) input.toggleAttribute("aria-invalid", false);
      if (own.length) for (const input of inputs) input.setAttribute("aria-invalid", "true");
    }
  }

  function showSummary(problems) {
    const section = document.createElement("section");
    section.className = "error";
    const title = document.createElement("h2");
    title.textContent = problems.length === 1 ? "Please mend this; no job was made" : "Please mend these; no job was made";
    const list = document.createElement("ul");
    for (const problem of problems) {
      const item = document.createElement("li");
      item.textContent = problem.message;
      list.append(item);
    }
    section.append(title, list);
    summary.replaceChildren(section);
    const rare = form.querySelector("details.rare");
    if (rare.querySelector("[aria-invalid=true]")) rare.open = true;
    summary.focus();
    summary.scrollIntoView({ block: "nearest" });
  }

  // While somebody writes, only the field that was left is judged.
  let timer = 0;
  let touched = "";
  form.addEventListener("input", (event) => {
    touched = event.target.closest("[data-field]")?.dataset.field || "";
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const verdict = await check();
      if (!verdict) return;
      showCalls(verdict.calls);
      if (touched) showProblems(verdict.problems, touched);
    }, 300);
  });

  // What was entered is there again after a login that a request has met with. Files can't be kept.
  const key = `form ${form.action}`;

  function keep() {
    const texts = [...new FormData(form)].filter(([, value]) => typeof value === "string");
    try { sessionStorage.setItem(key, JSON.stringify(texts)); } catch { /* too long, or a browser that keeps nothing: Back has it */ }
  }

  function inputsOf(name) {
    return [...form.elements].filter((element) => element.name === name && !["file", "hidden"].includes(element.type));
  }

  function enter(name, values) {
    const [first] = inputsOf(name);
    const button = first ? first.closest("[data-field]")?.querySelector("[data-add]") : more;
    for (let missing = values.length - inputsOf(name).length; button && missing > 0; missing -= 1) button.click();
    inputsOf(name).forEach((input, index) => {
      if (["checkbox", "radio"].includes(input.type)) input.checked = values.includes(input.value);
      else if (index < values.length) input.value = values[index];
    });
  }

  function restore() {
    let saved = null;
    try {
      saved = JSON.parse(sessionStorage.getItem(key) || "null");
      sessionStorage.removeItem(key);
    } catch { /* a browser that keeps nothing */ }
    if (!saved || summary.childElementCount) return; // the server has answered with the entries
    const names = new Set([...form.elements].map((element) => element.name).concat(saved.map(([name]) => name)));
    for (const name of names) if (name) enter(name, saved.filter((pair) => pair[0] === name).map((pair) => pair[1]));
    if (form.querySelector("input[type=file]")) {
      const hint = document.createElement("p");
      hint.className = "hint";
      hint.textContent = "Your entries are as you left them; files are to be chosen again.";
      summary.replaceChildren(hint);
    }
    form.dispatchEvent(new Event("input"));
  }

  let sure = false;
  form.addEventListener("submit", async (event) => {
    if (sure) { sure = false; keep(); return; }
    event.preventDefault();
    const button = event.submitter;
    const verdict = await check().catch(() => null);
    if (verdict && !verdict.ok) {
      showProblems(verdict.problems);
      showSummary(verdict.problems);
      return;
    }
    sure = true; // or the check could not be asked: the server judges again
    form.requestSubmit(button);
  });

  // Files may be dropped anywhere on their control.
  form.addEventListener("dragover", (event) => {
    const zone = event.target.closest("[data-drop]");
    if (!zone) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  form.addEventListener("dragleave", (event) => event.target.closest("[data-drop]")?.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    const zone = event.target.closest("[data-drop]");
    if (!zone || !event.dataTransfer.files.length) return;
    event.preventDefault();
    zone.classList.remove("over");
    const input = zone.querySelector("input[type=file]");
    const files = new DataTransfer();
    files.items.add(event.dataTransfer.files[0]);
    input.files = files.files;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // Repeated values: one input more at a time, instead of all that are there without a script.
  for (const field of form.querySelectorAll(".field.repeated")) {
    const inputs = [...field.querySelectorAll("input, select, textarea")];
    for (const input of inputs.slice(1)) {
      if (input.value) continue;
      field.querySelector(`label[for="${CSS.escape(input.id)}"]`)?.remove();
      input.remove();
    }
    const button = field.querySelector("[data-add]");
    if (!button) continue;
    button.hidden = false;
    button.addEventListener("click", () => {
      const all = field.querySelectorAll("input, select, textarea");
      const next = all[0].cloneNode(true);
      next.id = `${all[0].id}-${all.length + 1}`;
      next.value = "";
      next.removeAttribute("required");
      const label = document.createElement("label");
      label.htmlFor = next.id;
      label.className = "hidden";
      label.textContent = `${field.dataset.field}, value ${all.length + 1}`;
      button.before(label, next);
      next.focus();
    });
  }

  const tables = form.querySelector("[data-tables]");
  const more = tables?.querySelector("[data-add-table]");
  if (more) {
    const most = Number(tables.dataset.tables);
    const count = () => tables.querySelectorAll(".table").length;
    more.hidden = count() >= most;
    more.addEventListener("click", () => {
      const number = count() + 1;
      const last = [...tables.querySelectorAll(".table")].at(-1);
      const next = last.cloneNode(true);
      for (const gone of next.querySelectorAll("input[type=hidden], p.hint, .needed")) gone.remove();
      const old = last.dataset.field;
      const key = `table-${number}`;
      for (const element of [next, ...next.querySelectorAll("*")]) {
        for (const attribute of [...element.attributes]) attribute.value = attribute.value.replaceAll(old, key);
      }
      for (const input of next.querySelectorAll("input")) { input.value = ""; input.removeAttribute("aria-invalid"); }
      next.querySelector("input[name$='.name']").placeholder = `table${number}`;
      next.querySelector("label").textContent = `Table ${number}`;
      next.querySelector("[data-error]").textContent = "";
      last.after(next);
      more.hidden = number >= most;
      next.querySelector("input").focus();
    });
  }

  for (const hint of document.querySelectorAll("[data-live-calls]")) hint.hidden = false;
  restore();
})();
