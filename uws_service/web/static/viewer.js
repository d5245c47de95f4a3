// Tables, plots and pictures of results with a script: tabs, plots to look into, and TOPCAT by SAMP.
const here = new URL(".", import.meta.url);
const SAMP_NAME = "Job service";
const SHARE_SECONDS = "86400";

function load(name) {
  return new Promise((resolve, reject) => {
    const present = document.querySelector(`script[data-load="${name}"]`);
    if (present?.dataset.ready) return resolve();
    const script = present ?? document.createElement("script");
    script.addEventListener("load", () => {
      script.dataset.ready = "1";
      resolve();
    });
    script.addEventListener("error", reject);
    if (!present) {
      script.dataset.load = name;
      script.src = new URL(name, here);
      document.head.append(script);
    }
  });
}

/** Make the parts of a result live; return whether it has a plot that is drawn here. */
export function enliven(root) {
  for (const tabs of root.querySelectorAll(".tabs:not(.live)")) makeTabs(tabs);
  let plotted = false;
  for (const figure of root.querySelectorAll("figure[data-plot]")) {
    plotted = true;
    makePlot(figure);
  }
  for (const button of root.querySelectorAll("button[data-samp]")) {
    button.hidden = false;
    button.addEventListener("click", () => sendBySamp(button));
  }
  return plotted;
}

// --- tabs (ARIA Authoring Practices: arrows move, the panel follows) ---

function makeTabs(tabs) {
  const panels = [...tabs.children];
  if (panels.length < 2) return;
  const list = document.createElement("div");
  list.className = "tablist";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Views");
  const choose = (number, focus) => {
    panels.forEach((panel, index) => {
      panel.hidden = index !== number;
      buttons[index].setAttribute("aria-selected", String(index === number));
      buttons[index].tabIndex = index === number ? 0 : -1;
    });
    if (focus) buttons[number].focus();
    panels[number].dispatchEvent(new Event("shown"));
  };
  const buttons = panels.map((panel, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "tab");
    button.id = `tab-${panel.dataset.tab}`;
    panel.id ||= `panel-${panel.dataset.tab}`;
    button.setAttribute("aria-controls", panel.id);
    button.textContent = panel.dataset.tab;
    button.addEventListener("click", () => choose(number, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose((number + step + panels.length) % panels.length, true);
    });
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    return button;
  });
  list.append(...buttons);
  tabs.classList.add("live");
  tabs.prepend(list);
  choose(0, false);
}

// --- plots ---

function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function makePlot(figure) {
  const data = JSON.parse(figure.dataset.plot);
  const panel = figure.closest("section");
  const [x, y] = panel.querySelectorAll("select");
  const caption = figure.querySelector("figcaption");
  const draw = panel.querySelector(".axes button");
  if (draw) draw.hidden = true;
  await load("uplot.js");
  let plot = null;
  const paint = () => {
    if (panel.hidden) return;
    const [a, b] = [data.names.indexOf(x.value), data.names.indexOf(y.value)];
    const points = data.columns[a]
      .map((value, row) => [value, data.columns[b][row]])
      .filter(([first, second]) => first !== null && second !== null)
      .sort((first, second) => first[0] - second[0]);
    plot?.destroy();
    figure.querySelector("svg")?.remove();
    const ink = token("--quiet");
    const axis = (label) => ({ label, stroke: ink, grid: { stroke: token("--line"), width: 1 }, ticks: { stroke: ink } });
    const options = {
      width: Math.max(280, Math.min(figure.clientWidth, 900)),
      height: 420,
      scales: { x: { time: false }, y: { dir: data.magnitudes[b] ? -1 : 1 } },
      series: [
        { label: data.labels[a] },
        { label: data.labels[b], stroke: token("--dot"), paths: () => null, points: { show: true, size: 5, width: 0, fill: token("--dot") } },
      ],
      axes: [axis(data.labels[a]), { ...axis(data.labels[b]), size: 70 }],
      cursor: { drag: { x: true, y: true, uni: 20 } },
    };
    const columns = [points.map((point) => point[0]), points.map((point) => point[1])];
    plot = new window.uPlot(options, columns, figure);
    figure.append(caption);
    const rows = data.columns[a].length;
    const origin = rows < data.count ? `those of ${rows} rows that were drawn at random from all ${data.count}` : `of ${rows} rows`;
    caption.textContent = `${points.length} points, ${origin}. Drag to look closer, double click to look at all.`;
  };
  x.addEventListener("change", paint);
  y.addEventListener("change", paint);
  panel.addEventListener("shown", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();
}

// --- SAMP ---

/** Return a URL that a program without this browser's session can read. */
async function readable(button) {
  const { sampUrl, sampShares } = button.dataset;
  if (!sampShares) return sampUrl;
  const answer = await fetch(sampShares, { method: "POST", body: new URLSearchParams({ EXPIRES: SHARE_SECONDS }) });
  if (!answer.ok) throw new Error("the job can’t be shared with a program");
  const secret = new URL((await answer.json()).link).searchParams.get("SHARE");
  const url = new URL(sampUrl);
  url.searchParams.set("SHARE", secret);
  return url.href;
}

async function sendBySamp(button) {
  const status = button.parentElement.querySelector(".samp-status");
  const tell = (text) => {
    if (status) status.textContent = text;
  };
  tell("Looking for a SAMP hub …");
  button.disabled = true;
  try {
    await load("samp.js");
    const url = await readable(button);
    const { sampName: name, samp: type } = button.dataset;
    const parameters = { url, name, "table-id": url };
    if (button.dataset.sampFormat) parameters.format = button.dataset.sampFormat;
    const connection = await new Promise((resolve, reject) =>
      window.samp.register(SAMP_NAME, resolve, () => reject(new Error("no hub"))),
    );
    const takers = await new Promise((resolve, reject) =>
      connection.notifyAll([new window.samp.Message(type, parameters)], resolve, (error) => reject(new Error(String(error)))),
    );
    tell(takers.length ? `Sent to ${takers.length} program${takers.length > 1 ? "s" : ""}.` : "No program of the hub takes such a file.");
    connection.unregister();
  } catch (error) {
    tell(
      error.message === "no hub"
        ? "No SAMP hub was found, or it refused. Start TOPCAT (or Aladin) on this machine, and allow the connection."
        : `Not sent: ${error.message}.`,
    );
  } finally {
    button.disabled = false;
  }
}

for (const page of document.querySelectorAll("[data-viewer]")) enliven(page);
