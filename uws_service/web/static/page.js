// What every page gains from a script: local times, buttons that copy. Without it the page says the same in UTC.
"use strict";

function showTimes(within) {
  for (const element of within.querySelectorAll("time[datetime]")) {
    const instant = new Date(element.dateTime);
    if (Number.isNaN(instant.getTime())) continue;
    if (!element.title) element.title = element.textContent;
    const minutes = (Date.now() - instant) / 60000;
    const today = instant.toDateString() === new Date().toDateString();
    let text = instant.toLocaleString("en-GB", today
      ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
      : { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
    if (minutes >= 0 && minutes < 60) text += minutes < 1 ? " (just now)" : ` (${Math.floor(minutes)} min ago)`;
    if (element.textContent !== text) element.textContent = text;
  }
}

function showButtons(within) {
  if (!navigator.clipboard) return;
  for (const button of within.querySelectorAll("button[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const label = button.textContent;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1500);
});

// An open menu closes by Escape, and gives the focus back.
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" ? event.target.closest("details.menu[open]") : null;
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

function enhance(within) {
  showTimes(within);
  showButtons(within);
}

// Entries that a form has left for after a login are for nothing once another page is there.
if (!document.querySelector("[data-login]")) {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith("form ")) sessionStorage.removeItem(key);
  } catch { /* a browser that keeps nothing has nothing of it */ }
}

enhance(document);
for (const zone of document.querySelectorAll("[data-zone]")) {
  zone.textContent = `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone}; UTC shows when you point at them.`;
}
setInterval(() => { if (!document.hidden) showTimes(document); }, 30000);
