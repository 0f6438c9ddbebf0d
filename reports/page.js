"use strict";

/* ---- colours: the reader's system, or what was chosen on the page ---- */

const root = document.documentElement;
const darkScreen = matchMedia("(prefers-color-scheme: dark)");
const THEMES = ["auto", "light", "dark"];

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : darkScreen.matches;
}

function kept(value) {
  // A file opened from disk may have no storage.
  try {
    if (value === undefined) return localStorage.getItem("isocost-theme");
    localStorage.setItem("isocost-theme", value);
  } catch { /* then the choice lasts as long as the page */ }
  return null;
}

function setTheme(theme) {
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  for (const button of document.querySelectorAll(".theme")) button.textContent = `Colours: ${theme}`;
}

function themeButton() {
  const before = kept();
  setTheme(THEMES.includes(before) ? before : "auto");
  for (const button of document.querySelectorAll(".theme")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
      setTheme(next);
      kept(next);
      redraw();
    });
  }
}

/* ---- charts: drawn once they can be seen, the others of the open tab when there is time ---- */

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const charts = [...document.querySelectorAll(".chart")];
const drawn = new Set();
let figures = [];  // of each chart, as JSON

/* A figure's data and layout; on dark paper with each colour's dark partner. */
function figureOf(chart, dark) {
  const partners = read("dark");
  return JSON.parse(figures[charts.indexOf(chart)], (key, value) =>
    dark && typeof value === "string" && Object.hasOwn(partners, value) ? partners[value] : value);
}

function draw(chart, dark = isDark(), width = 0) {
  drawn.add(chart);
  const { data, layout } = figureOf(chart, dark);
  if (width) Object.assign(layout, { width, autosize: false });
  const done = Plotly.react(chart, data, layout, read("config"));
  // The words beside it and its table say the same to who cannot see.
  for (const picture of chart.querySelectorAll("svg")) picture.setAttribute("aria-hidden", "true");
  return done;
}

const visible = (chart) => chart.offsetParent !== null;
const pause = () => new Promise((resolve) => setTimeout(resolve));

async function drawOpen() {
  const waiting = charts.filter((one) => visible(one) && !drawn.has(one));
  const near = (one) => one.getBoundingClientRect().top < 1.5 * innerHeight;
  for (const chart of [...waiting.filter(near), ...waiting.filter((one) => !near(one))]) {
    if (!drawn.has(chart) && visible(chart)) {
      await draw(chart);
      await pause();
    }
  }
}

function redraw() {
  for (const chart of drawn) draw(chart);
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function loadPlotly() {
  figures = JSON.parse(await inflate(document.getElementById("figures").textContent));
  const script = document.createElement("script");
  script.textContent = await inflate(document.getElementById("plotly").textContent);
  document.head.append(script);
  script.remove();
}

/* ---- tabs ---- */

function openTab(list, tab, focus) {
  for (const one of list.querySelectorAll("[role=tab]")) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  if (window.Plotly) drawOpen().then(() => { for (const chart of drawn) if (visible(chart)) Plotly.Plots.resize(chart); });
}

function tabs() {
  for (const list of document.querySelectorAll("[role=tablist]")) {
    const all = [...list.querySelectorAll("[role=tab]")];
    list.hidden = false;
    list.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) openTab(list, tab, false);
    });
    list.addEventListener("keydown", (event) => {
      const at = all.indexOf(document.activeElement);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
      if (at < 0 || next === undefined) return;
      event.preventDefault();
      openTab(list, all[(next + all.length) % all.length], true);
    });
    openTab(list, all.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? all[0], false);
  }
}

/* ---- tables: on a phone a row is a card, which takes away what a table says of itself ---- */

const firstText = (cell) => cell.firstChild?.textContent.trim() ?? "";

function cards() {
  const roles = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    table.setAttribute("role", "table");
    for (const part of table.querySelectorAll("thead, tbody, tr, td, th")) {
      part.setAttribute("role", roles[part.tagName] ?? (part.scope === "col" ? "columnheader" : "rowheader"));
      if (part.tagName === "TD") part.dataset.head = heads[part.cellIndex];
    }
  }
}

/* ---- tables that can be searched, narrowed down and sorted ---- */

const FIRST_ROWS = 25;

function liveTable(box) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const search = box.querySelector("input[type=search]");
  const choices = [...box.querySelectorAll("select[data-column]")];
  const sortBy = box.querySelector(".sort select");
  const count = box.querySelector("[role=status]");
  const more = box.querySelector(".more");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const valueAt = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? firstText(cell) : Number(cell.dataset.key);
  };
  let sorted = null, downwards = false, whole = false;

  for (const choice of choices) {
    const found = new Set(rows.map((row) => firstText(row.cells[choice.dataset.column])));
    for (const value of [...found].sort((a, b) => a.localeCompare(b))) choice.add(new Option(value, value));
    choice.addEventListener("change", show);
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(column, sorted === column && !downwards));
    for (const [down, arrow] of [[false, "\u2191"], [true, "\u2193"]]) {
      sortBy.add(new Option(`${head.textContent} ${arrow}`, `${column} ${down}`));
    }
  });
  sortBy.addEventListener("change", () => {
    if (!sortBy.value) return;
    const [column, down] = sortBy.value.split(" ");
    sort(Number(column), down === "true");
  });
  search.addEventListener("input", show);
  more.addEventListener("click", () => { whole = !whole; show(); });

  function sort(column, down) {
    sorted = column;
    downwards = down;
    heads.forEach((head, at) =>
      head.setAttribute("aria-sort", at !== column ? "none" : down ? "descending" : "ascending"));
    sortBy.value = `${column} ${down}`;
    const order = rows.map((row, at) => [valueAt(row, column), at]);
    order.sort(([a, i], [b, j]) =>
      (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))) * (down ? -1 : 1) || i - j);
    body.append(...order.map(([, at]) => rows[at]));
    show();
  }

  function show() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = new Set(rows.filter((row, at) =>
      wanted.every((word) => texts[at].includes(word)) &&
      choices.every((choice) => !choice.value || firstText(row.cells[choice.dataset.column]) === choice.value)));
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !kept.has(row) || (!whole && shown >= FIRST_ROWS);
      if (!row.hidden) shown += 1;
    }
    count.textContent = kept.size === rows.length ? `${rows.length} rows` : `${kept.size} of ${rows.length} rows`;
    more.hidden = kept.size <= FIRST_ROWS;
    more.textContent = whole ? `Show the first ${FIRST_ROWS}` : `Show all ${kept.size}`;
  }

  box.querySelector(".tools").hidden = false;
  show();
}

/* ---- paper ---- */

function printing() {
  let before = "auto";
  addEventListener("beforeprint", () => {
    before = root.dataset.theme ?? "auto";
    for (const folded of document.querySelectorAll("details")) folded.open = !folded.closest("figure");
    for (const panel of document.querySelectorAll(".panel")) panel.dataset.before = String(panel.hidden);
    for (const panel of document.querySelectorAll(".panel")) panel.hidden = false;
    root.dataset.theme = "light";
    for (const chart of charts) draw(chart, false, 680);
  });
  addEventListener("afterprint", () => {
    setTheme(before);
    for (const panel of document.querySelectorAll(".panel")) panel.hidden = panel.dataset.before === "true";
    redraw();
  });
}

async function start() {
  themeButton();
  cards();
  tabs();
  document.querySelectorAll("[data-live]").forEach(liveTable);
  await loadPlotly();
  await drawOpen();
  darkScreen.addEventListener("change", redraw);
  printing();
  root.dataset.charts = "drawn";
}

start().catch((error) => {
  for (const chart of charts) {
    if (!drawn.has(chart)) chart.textContent = `This chart could not be drawn: ${error.message}`;
  }
  console.error(error);
});
