"use strict";

// The token comes in the address's fragment, which no browser sends anywhere, and leaves the address bar at once.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("isocost-token", given);
  history.replaceState(null, "", "/");
}
const token = sessionStorage.getItem("isocost-token");
const $ = (id) => document.getElementById(id);
const SLIDERS = ["alpha", "beta", "gamma", "deadline", "budget"];
const NONE = 1000; // a limit slider's last place: no limit
const STEPS = NONE - 10;

let space = null; // what can be chosen from
let shown = null; // the last plan
let jobsTimer = null;

async function ask(path, body, method) {
  const answer = await fetch("/api/v1/" + path, {
    method: method || (body === undefined ? "GET" : "POST"),
    headers: { Authorization: "Bearer " + (token || ""), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error || answer.statusText);
  return content;
}

function trouble(words) {
  $("trouble").textContent = words || "";
  $("trouble").hidden = !words;
}

// ------------------------------------------------------------------ words

function duration(s) {
  if (s < 99.5) return s.toPrecision(2) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.round((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.round((s % 86400) / 3600) + " h";
}

function usd(dollars) {
  if (dollars === 0) return "$0";
  if (dollars < 0.0995) return "$" + Number(dollars.toPrecision(2));
  return "$" + dollars.toLocaleString("en", { minimumFractionDigits: dollars < 1000 ? 2 : 0, maximumFractionDigits: dollars < 1000 ? 2 : 0 });
}

const hardware = (one) => `${one.nodes} × ${one.offer.instance_type} (${one.offer.accelerator_count} × ${one.offer.accelerator})`;
const place = (one) => (one.offer.provider === "local" ? "this machine" : `${one.offer.provider} ${one.offer.region}`);
const terms = (one) => one.purchase.replaceAll("_", " ");

// ---------------------------------------------------------------- sliders

// A limit's slider is logarithmic between the quickest (cheapest) and the slowest (dearest) of the front, and a bit around.
function range(values) {
  const positive = values.filter((value) => value > 0);
  const low = Math.min(...positive) * 0.8, high = Math.max(...positive) * 1.25;
  return positive.length ? [low, Math.max(high, low * 2)] : [1e-3, 1];
}

function limitOf(slider, [low, high]) {
  const at = Number(slider.value);
  return at > STEPS ? null : low * (high / low) ** (at / STEPS);
}

function placeOf(value, [low, high]) {
  if (value === null) return NONE;
  return Math.round(Math.min(1, Math.max(0, Math.log(value / low) / Math.log(high / low))) * STEPS);
}

function wishes() {
  let [alpha, beta, gamma] = ["alpha", "beta", "gamma"].map((name) => Number($(name).value));
  if (alpha + beta + gamma === 0) alpha = beta = gamma = 1;
  return {
    workload: $("workload").value,
    weights: { alpha, beta, gamma },
    deadline_s: limitOf($("deadline"), space.times),
    budget_usd: limitOf($("budget"), space.costs),
  };
}

function sayWishes(asked) {
  const sum = asked.weights.alpha + asked.weights.beta + asked.weights.gamma;
  const said = {
    alpha: (asked.weights.alpha / sum).toFixed(2),
    beta: (asked.weights.beta / sum).toFixed(2),
    gamma: (asked.weights.gamma / sum).toFixed(2),
    deadline: asked.deadline_s === null ? "none" : duration(asked.deadline_s),
    budget: asked.budget_usd === null ? "none" : usd(asked.budget_usd),
  };
  for (const name of SLIDERS) {
    document.querySelector(`output[for=${name}]`).textContent = said[name];
    $(name).setAttribute("aria-valuetext", said[name]);
  }
}

function ownWishes() {
  const w = space.weights;
  $("alpha").value = Math.round(100 * w.alpha);
  $("beta").value = Math.round(100 * w.beta);
  $("gamma").value = Math.round(100 * w.gamma);
  $("deadline").value = placeOf(space.deadline_s, space.times);
  $("budget").value = placeOf(space.budget_usd, space.costs);
}

// One request at a time, and always the newest wish next: dragging never queues up.
let asking = false, again = false, timer = null;

function moved() {
  sayWishes(wishes());
  clearTimeout(timer);
  timer = setTimeout(resolve, 25);
}

async function resolve() {
  if (asking) { again = true; return; }
  asking = true;
  do {
    again = false;
    try {
      const asked = wishes();
      const began = performance.now();
      const found = await ask("replan", asked);
      if (asked.workload === $("workload").value) show(found, asked, performance.now() - began);
      trouble("");
    } catch (error) {
      trouble(error.message);
    }
  } while (again);
  asking = false;
}

// ------------------------------------------------------------------- plan

function show(found, asked, milliseconds) {
  shown = found;
  const best = found.chosen;
  $("answer").textContent = best === null
    ? `No candidate keeps these wishes: ${found.infeasible}.`
    : `Train ${space.name} on ${hardware(best)}, ${place(best)}, ${terms(best)}, batch ${best.per_device_batch} a device: about ${duration(best.predicted.time_s.p50)} (9 times in 10 under ${duration(best.predicted.time_s.p90)}) for about ${usd(best.predicted.cost_usd.mean)}.`;
  $("basis").textContent = best !== null && best.basis === "transferred"
    ? "Nothing was measured on this hardware: the figures are transferred and may be off by a third or more." : "";
  $("counted").textContent = `${found.admitted.toLocaleString("en")} of ${space.candidates.toLocaleString("en")} candidates keep these wishes; ${found.frontier_size.toLocaleString("en")} of them could be best and were stated${found.gap === null ? "" : `, proven gap ${found.gap.toExponential(0)}`}; answered in ${Math.round(milliseconds)} ms.`;
  const rows = best === null ? [] : [best, ...found.runners_up];
  $("others").tBodies[0].replaceChildren(...rows.map((one, k) => row(
    [hardware(one), place(one), terms(one), one.per_device_batch, duration(one.predicted.time_s.p50), usd(one.predicted.cost_usd.mean), one.predicted.flexibility.toFixed(2), one.losses.total.toFixed(4)],
    k === 0 ? "chosen" : "")));
  draw(asked, rows);
}

function row(cells, kind) {
  const line = document.createElement("tr");
  line.className = kind;
  for (const cell of cells) {
    const place = document.createElement("td");
    if (cell instanceof Node) place.append(cell); else place.textContent = cell;
    line.append(place);
  }
  return line;
}

// ---------------------------------------------------------------- picture

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const UNITS = [[172800, 86400, "days"], [7200, 3600, "hours"], [120, 60, "minutes"], [0, 1, "seconds"]];

function draw(asked, rows) {
  if (typeof Plotly === "undefined") return;
  const [, unit, name] = UNITS.find(([from]) => Math.max(...space.front.time_s) > from);
  const probability = space.deadline_probability;
  const hover = (one) => escaped(`${hardware(one)}, ${place(one)}, ${terms(one)}`);
  const cheapest = space.costs[0] / 2;
  const dollars = (cost) => Math.max(cost, cheapest);
  const marks = rows.map((one, k) => [shown.kept_s[k], one.predicted.cost_usd.mean]);
  const points = (some, marked, marker, label) => ({
    type: "scatter", mode: "markers", name: label,
    x: some.map(([time]) => time / unit), y: some.map(([, cost]) => dollars(cost)), text: marked,
    marker, hovertemplate: `%{text}<br>%{x:.3g} ${name}, $%{y:.3g}<extra></extra>`,
  });
  const placed = (some) => some.time_s.map((time, k) => [time, some.cost_usd[k]]);
  const rest = points(placed(space.others), space.others.labels.map(escaped), {
    size: 6, color: space.others.flexibility, colorscale: "Cividis", cmin: 0, cmax: 1, opacity: 0.45,
  }, "best of each offer");
  const front = points(placed(space.front), space.front.labels.map(escaped), {
    size: 11, line: { width: 1, color: colour("ink") }, color: space.front.flexibility, colorscale: "Cividis", cmin: 0, cmax: 1,
    colorbar: { title: { text: "flexibility<br>loss" }, thickness: 12, tickfont: { color: colour("ink") } },
  }, "front");
  const others = points(marks.slice(1), rows.slice(1).map(hover), { size: 13, symbol: "diamond-open", color: colour("ink"), line: { width: 2 } }, "runners-up");
  const chosen = points(marks.slice(0, 1), rows.slice(0, 1).map(hover), { size: 20, symbol: "star", color: colour("warn"), line: { width: 1, color: colour("ink") } }, "chosen");
  const line = (axis, value) => ({
    type: "line", line: { color: colour("warn"), dash: "dash", width: 2 },
    ...(axis === "x" ? { x0: value, x1: value, y0: 0, y1: 1, yref: "paper" } : { y0: value, y1: value, x0: 0, x1: 1, xref: "paper" }),
  });
  const axis = (title) => ({ type: "log", title: { text: title }, gridcolor: colour("rule"), linecolor: colour("rule"), zeroline: false, dtick: innerWidth < 600 ? 1 : "D2", exponentformat: "none" });
  Plotly.react("front", [rest, front, others, chosen], {
    margin: { l: 70, r: 10, t: 10, b: 50 }, showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    paper_bgcolor: colour("panel"), plot_bgcolor: colour("panel"), font: { color: colour("ink") },
    xaxis: axis(`wall time kept ${Math.round(100 * probability)} times in 100, ${name}`),
    yaxis: { ...axis("mean cost, USD"), tickprefix: "$" },
    shapes: [
      ...(asked.deadline_s === null ? [] : [line("x", asked.deadline_s / unit)]),
      ...(asked.budget_usd === null ? [] : [line("y", dollars(asked.budget_usd))]),
    ],
    uirevision: space.name,
  }, { displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", typesetMath: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]] });
}

// ------------------------------------------------------------------- jobs

function button(words, action) {
  const one = document.createElement("button");
  one.type = "button";
  one.textContent = words;
  one.addEventListener("click", () => action().then(() => trouble(""), (error) => trouble(error.message)).then(jobs));
  return one;
}

function link(words, address) {
  const one = document.createElement("a");
  one.textContent = words;
  one.href = address;
  one.target = "_blank";
  one.rel = "noopener";
  return one;
}

function next(job) {
  if (job.state === "queued" || job.state === "running") return button("Cancel", () => ask("jobs/" + job.id, undefined, "DELETE"));
  if (job.state === "done" && job.kind === "plan") return button("Rehearse", () => ask("simulations", { plan: job.result }));
  return "";
}

async function jobs() {
  clearTimeout(jobsTimer);
  const found = await ask("jobs?limit=10");
  const lists = await Promise.all(["plans", "simulations", "runs"].map((kind) => ask(kind)));
  const pages = new Map(lists.flat().map((one) => [one.name, one.page]));
  $("jobs").tBodies[0].replaceChildren(...found.map((job) => {
    const bar = document.createElement("progress");
    bar.value = job.progress;
    bar.setAttribute("aria-label", "progress");
    const result = job.result === null ? (job.error || job.note) : pages.has(job.result) ? link(job.result, pages.get(job.result)) : job.result;
    return row([job.kind, job.state, job.state === "running" ? bar : "", result, next(job)], "");
  }));
  $("documents").replaceChildren(...[...pages].slice(0, 30).map(([name, page]) => {
    const item = document.createElement("li");
    item.append(link(name, page));
    return item;
  }));
  const busy = found.some((job) => job.state === "queued" || job.state === "running");
  jobsTimer = setTimeout(() => jobs().catch((error) => trouble(error.message)), busy ? 1000 : 10000);
}

// ------------------------------------------------------------------ begin

async function pick() {
  const name = $("workload").value;
  if (!name) return;
  $("answer").textContent = "Pricing every candidate; this takes a few seconds the first time.";
  try {
    const found = await ask("space", { workload: name });
    if (name !== $("workload").value) return;
    const all = (name) => [...found.front[name], ...found.others[name]];
    space = { ...found, times: range(all("time_s")), costs: range(all("cost_usd")) };
    ownWishes();
    trouble("");
    moved();
  } catch (error) {
    trouble(error.message);
    $("answer").textContent = "This workload cannot be shown.";
  }
}

async function begin() {
  const found = await ask("workloads");
  const usable = found.filter((one) => one.error === null);
  for (const one of usable) {
    const option = document.createElement("option");
    option.value = one.name;
    option.textContent = `${one.title} (${one.name})`;
    $("workload").append(option);
  }
  if (usable.length === 0) $("answer").textContent = "There is no workload file in this folder yet; isocost init writes one.";
  await Promise.all([pick(), jobs()]);
}

$("workload").addEventListener("change", pick);
for (const name of SLIDERS) $(name).addEventListener("input", () => space && moved());
$("reset").addEventListener("click", () => { if (space) { ownWishes(); moved(); } });
$("keep").addEventListener("click", async () => {
  if (!space) return;
  const asked = wishes();
  try {
    await ask("plans", { workloads: [asked.workload], weights: asked.weights, deadline_s: asked.deadline_s, budget_usd: asked.budget_usd, no_deadline: asked.deadline_s === null, no_budget: asked.budget_usd === null, explain: true });
    trouble("");
    await jobs();
  } catch (error) {
    trouble(error.message);
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => space && shown && draw(wishes(), shown.chosen ? [shown.chosen, ...shown.runners_up] : []));
begin().catch((error) => trouble(error.message));
