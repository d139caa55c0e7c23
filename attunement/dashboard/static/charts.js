// The charts. Plotly's script comes after the first paint; one chart is drawn a frame, and only while it is in sight.
import { element, make, figure } from "./dom.js";

const KEPT = 1200;
const cycles = [];
let status = null;
let plotly = null;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const shown = () => cycles.slice(-Number(element("window").value));

function axis(extra = {}) {
  return { gridcolor: css("--grid"), zeroline: false, linecolor: css("--line"), tickfont: { size: 10 }, automargin: true, ...extra };
}

function layout(extra = {}) {
  return {
    margin: { l: 48, r: 10, t: 8, b: 28 }, showlegend: false, hovermode: "x",
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: css("--soft"), size: 11 },
    xaxis: axis({ title: { text: "cycle", standoff: 4, font: { size: 10 } } }), yaxis: axis(), ...extra,
  };
}

function line(points, key, name, colour, extra = {}) {
  return { type: "scatter", mode: "lines", name, x: points.map((one) => one.cycle), y: points.map((one) => typeof key === "function" ? key(one) : one[key]), line: { color: colour, width: 1.6 }, connectgaps: false, ...extra };
}

function limit(at, name, colour = css("--bad")) {
  return {
    shape: { type: "line", xref: "paper", x0: 0, x1: 1, y0: at, y1: at, line: { color: colour, width: 1.2, dash: "dash" } },
    note: { xref: "paper", x: 1, xanchor: "right", y: at, yanchor: "bottom", text: name, showarrow: false, font: { size: 10, color: colour } },
  };
}

const withLimits = (limits) => ({ shapes: limits.map((one) => one.shape), annotations: limits.map((one) => one.note) });
const decisions = (points, wanted) => points.flatMap((one) => one.decisions.filter(wanted).map((decision) => ({ ...decision, at: one.cycle })));
// Within one cycle a settle may be followed by a proposal: what is kept, or taken back, is told apart from what is tried.
const kept = (one) => ["committed", "retreated", "latched", "reverted"].includes(one.verdict) && one.event !== "propose" && (one.new_alpha !== one.old_alpha || one.verdict === "committed");

function alpha(points) {
  const limits = status?.limits;
  const ends = limits ? [limit(limits.alpha_min, "α_min"), limit(limits.alpha_max, "α_max"), limit(limits.alpha_safe, limits.alpha_safe === limits.alpha_min ? "" : "α_safe", css("--good"))] : [];
  return [[
    line(points, "alpha", "α", css("--accent"), { line: { color: css("--accent"), width: 1.8, shape: "hv" } }),
    line(points, "good", "rollback target", css("--soft"), { line: { color: css("--soft"), width: 1, dash: "dot", shape: "hv" } }),
  ], layout(withLimits(ends))];
}

function lambda(points) {
  const scales = Object.keys(points.findLast((one) => Object.keys(one.lambda).length)?.lambda ?? {});
  const colours = [css("--accent"), css("--warn"), css("--frozen")], dashes = ["solid", "dash", "dot"];
  if (!scales.length) return null;
  return [scales.map((scale, index) => line(points, (one) => one.lambda[scale] ?? null, scale, colours[index % 3], { line: { color: colours[index % 3], width: 1.4, dash: dashes[index % 3] } })),
    layout({ showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 10 } }, margin: { l: 48, r: 10, t: 24, b: 28 } })];
}

function coherence(points) {
  const value = (one) => one.C_hat ?? one.objective;
  const changes = decisions(points, kept).slice(-60);
  const colour = (one) => one.verdict === "committed" ? css("--good") : one.verdict === "latched" ? css("--bad") : css("--warn");
  const at = new Map(points.map((one) => [one.cycle, value(one)]));
  return [[
    line(points, value, "Ĉ", css("--accent")),
    { type: "scatter", mode: "markers", name: "α changed", x: changes.map((one) => one.at), y: changes.map((one) => at.get(one.at)), marker: { size: 7, color: changes.map(colour), symbol: changes.map((one) => one.verdict === "committed" ? "triangle-up" : "triangle-down") }, text: changes.map((one) => `${one.verdict}: α ${figure(one.old_alpha)} → ${figure(one.new_alpha)}`), hovertemplate: "%{text}<extra></extra>" },
  ], layout({ shapes: changes.map((one) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: one.at, x1: one.at, line: { color: colour(one), width: 0.7, dash: "dot" } })) })];
}

function gradient(points) {
  const known = points.filter((one) => one.C_gradient !== null);
  if (known.length < 2) return null;
  const low = Math.min(...known.map((one) => one.alpha)), high = Math.max(...known.map((one) => one.alpha), low + 1e-6);
  const first = points[0].cycle, span = Math.max(1, points.at(-1).cycle - first), across = Math.min(60, span), up = 14;
  const sums = Array.from({ length: up }, () => new Array(across).fill(0)), counts = sums.map((row) => row.map(() => 0));
  for (const one of known) {
    const x = Math.min(across - 1, Math.floor(((one.cycle - first) / span) * across));
    const y = Math.min(up - 1, Math.floor(((one.alpha - low) / (high - low)) * up));
    sums[y][x] += one.C_gradient;
    counts[y][x] += 1;
  }
  const means = sums.map((row, y) => row.map((sum, x) => counts[y][x] ? sum / counts[y][x] : null));
  const most = Math.max(...known.map((one) => Math.abs(one.C_gradient)), 1e-9);
  return [[{ type: "heatmap", z: means, x: Array.from({ length: across }, (_, index) => first + ((index + 0.5) * span) / across), y: Array.from({ length: up }, (_, index) => low + ((index + 0.5) * (high - low)) / up), zmin: -most, zmax: most, colorscale: [[0, "#c2410c"], [0.5, css("--grid")], [1, "#1d6fd1"]], xgap: 0.5, ygap: 0.5, hoverongaps: false, hovertemplate: "cycle %{x:.0f}, α %{y:.4f}: dJ/dα %{z:.4f}<extra></extra>", showscale: false }],
    layout({ hovermode: "closest", yaxis: axis({ title: { text: "α", font: { size: 10 } } }) })];
}

const VERDICTS = [["latched", "--bad", "x"], ["retreated", "--bad", "triangle-down"], ["refused", "--warn", "square-open"], ["reverted", "--warn", "triangle-down"], ["returned", "--trial", "circle-open"], ["committed", "--good", "circle"]];
function timeline(points) {
  const names = VERDICTS.map(([name]) => name);
  const traces = VERDICTS.map(([name, colour, symbol]) => {
    const found = decisions(points, (one) => one.verdict === name);
    return { type: "scatter", mode: "markers", name, x: found.map((one) => one.at), y: found.map(() => name), marker: { color: css(colour), symbol, size: 7 }, text: found.map((one) => `${one.event} ${one.verdict}: α ${figure(one.old_alpha)} → ${figure(one.new_alpha)}${one.said.length ? `, ${one.said[0].slice(0, 90)}` : ""}`), hovertemplate: "%{text}<extra></extra>" };
  });
  return [traces, layout({ hovermode: "closest", margin: { l: 76, r: 10, t: 8, b: 28 }, yaxis: axis({ type: "category", categoryorder: "array", categoryarray: names, range: [-0.5, names.length - 0.5] }) })];
}

function entropy(points) {
  const limits = status?.limits, lines = limits ? [limit(limits.entropy_max, "limit")] : [];
  const top = Math.max(...points.map((one) => one.entropy_rate ?? 0));
  if (limits && top > limits.entropy_max * 2) lines.push(limit(limits.entropy_severe, "severe"));
  return [[line(points, "entropy_rate", "entropy rate", css("--accent"), { fill: "tozeroy" })], layout({ ...withLimits(lines), yaxis: axis({ rangemode: "tozero" }) })];
}

function agreement(points) {
  const limits = status?.limits, lines = limits ? [limit(limits.h_internal_min, "limit")] : [];
  const lowest = Math.min(...points.map((one) => one.h_internal ?? 1));
  if (limits && lowest < limits.h_internal_min) lines.push(limit(limits.h_internal_severe, "severe"));
  return [[line(points, "h_internal", "H_internal", css("--accent"))], layout(withLimits(lines))];
}

const KERNEL = ["ready", "trial", "frozen", "emergency"], OPTIMIZER = ["idle", "gradient", "pid"];
function modes(points) {
  const colours = ["--good", "--trial", "--frozen", "--bad", "--line", "--accent", "--warn"].map(css);
  const scale = colours.flatMap((colour, index) => [[index / 7, colour], [(index + 1) / 7, colour]]);
  const x = points.map((one) => one.cycle), z = [points.map((one) => 4.5 + OPTIMIZER.indexOf(one.optimizer)), points.map((one) => 0.5 + KERNEL.indexOf(one.mode))];
  const text = [points.map((one) => one.optimizer), points.map((one) => one.mode)];
  return [[{ type: "heatmap", x, y: ["optimizer", "kernel"], z, text, zmin: 0, zmax: 7, colorscale: scale, showscale: false, ygap: 6, hovertemplate: "cycle %{x}: %{text}<extra></extra>" }],
    layout({ hovermode: "closest", margin: { l: 76, r: 10, t: 4, b: 28 } })];
}

function refusals() {
  const counts = Object.entries(status?.broken ?? {}).sort((one, other) => one[1] - other[1]).slice(-10);
  if (!counts.length) return null;
  return [[{ type: "bar", orientation: "h", x: counts.map((one) => one[1]), y: counts.map((one) => one[0]), marker: { color: css("--warn") }, text: counts.map((one) => String(one[1])), hovertemplate: "%{y}: %{x}<extra></extra>" }],
    layout({ hovermode: "closest", xaxis: axis({ rangemode: "tozero" }), yaxis: axis({ type: "category" }), margin: { l: 110, r: 10, t: 8, b: 28 } })];
}

function steepest(points) {
  const known = points.map((one) => one.C_gradient).filter((one) => one !== null);
  return known.length ? `${figure(Math.min(...known), 3)} … ${figure(Math.max(...known), 3)}` : "";
}

const last = (key) => (points) => points.length ? figure(points.at(-1)[key]) : "";
const CHARTS = [
  ["alpha", "α(t)", "in force, between its bounds", alpha, last("alpha"), ""],
  ["coherence", "Ĉ(t)", "▲ α committed, ▼ taken back or retreated", coherence, (points) => figure(points.at(-1)?.C_hat ?? points.at(-1)?.objective), ""],
  ["lambda", "λ(t, L)", "by scale", lambda, () => "", "The ledger alone does not tell λ; a running loop does."],
  ["modes", "Mode", "of the kernel and of the optimizer", modes, (points) => points.at(-1)?.mode ?? "", ""],
  ["timeline", "Accepted and reverted", "what became of every proposal", timeline, () => "", ""],
  ["gradient", "Gradient", "mean dJ/dα; blue: up, orange: down", gradient, (points) => steepest(points), "No estimate of the gradient yet."],
  ["entropy", "Entropy rate", "per cycle", entropy, last("entropy_rate"), ""],
  ["agreement", "H_internal", "agreement of the nodes", agreement, last("h_internal"), ""],
  ["refusals", "Limits that were broken", "by limit", refusals, () => "", "No limit was broken."],
].map(([id, title, note, draw, told, empty]) => ({ id, title, note, draw, told, empty, isDirty: true, isSeen: false }));

function build() {
  const sight = new IntersectionObserver((seen) => {
    for (const one of seen) CHARTS.find((chart) => chart.box === one.target).isSeen = one.isIntersecting;
    wake();
  }, { rootMargin: "150px" });
  for (const chart of CHARTS) {
    const frame = make("figure"), caption = make("figcaption", `${chart.title}`);
    caption.append(make("span", chart.note), make("output"));
    chart.box = make("div", undefined, `plot${chart.id === "modes" ? " low" : ""}`);
    chart.box.id = `chart-${chart.id}`;
    chart.box.setAttribute("role", "img");
    chart.box.append(make("p", "…"));
    frame.append(caption, chart.box);
    if (chart.id === "modes") frame.append(keys());
    element("chart-grid").append(frame);
    sight.observe(chart.box);
  }
  element("window").addEventListener("change", soil);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soil);
  addEventListener("resize", soil);
}

function keys() {
  const list = make("p", undefined, "key");
  [...KERNEL, ...OPTIMIZER].forEach((name, index) => {
    const one = make("span");
    one.append(make("i", undefined, `k${index}`), name);
    list.append(one);
  });
  return list;
}

function soil() {
  for (const chart of CHARTS) chart.isDirty = true;
  wake();
}

let isAwake = false;
function wake() {
  if (isAwake || !plotly) return;
  isAwake = true;
  requestAnimationFrame(drawOne);
}

async function drawOne() {
  const seen = CHARTS.filter((chart) => chart.isDirty && chart.isSeen).sort((one, other) => (one.drawn ?? 0) - (other.drawn ?? 0));
  // α comes between all others, at most twice a second.
  const isAlphaDue = CHARTS[0].isDirty && CHARTS[0].isSeen && performance.now() - (CHARTS[0].drawn ?? -Infinity) > 500;
  const next = isAlphaDue ? CHARTS[0] : seen[0];
  if (!next || document.hidden) { isAwake = false; return; }
  next.isDirty = false;
  const began = next.drawn = performance.now();
  const points = shown();
  const made = points.length ? next.draw(points) : null;
  const told = next.told(points);
  next.box.setAttribute("aria-label", `${next.title}: ${told}`);
  next.box.previousSibling.lastChild.textContent = told;
  if (made) {
    if (!next.isPlot) next.box.replaceChildren();
    next.isPlot = true;
    if (next.id !== "refusals") made[1].xaxis.range = [points[0].cycle - 0.5, points.at(-1).cycle + 0.5];
    await plotly.react(next.box, made[0], made[1], { displayModeBar: false, responsive: false, doubleClick: "reset" });
  } else {
    if (next.isPlot) plotly.purge(next.box);
    next.isPlot = false;
    next.box.replaceChildren(make("p", next.empty || "nothing yet"));
  }
  next.box.dataset.cycle = String(points.at(-1)?.cycle ?? "");
  // Two thirds of the time are left to the numbers, which so wait for one chart at most.
  setTimeout(() => requestAnimationFrame(drawOne), Math.min(200, 2 * (performance.now() - began)));
}

// The policy forbids styles that a script writes. Plotly's few rules come from plotly.css, and what it would write
// beside them, for maps, goes into an element that does nothing.
function withoutStyles() {
  const made = document.createElement.bind(document);
  document.createElement = (tag, options) => made(String(tag).toLowerCase() === "style" ? "template" : tag, options);
}

function load() {
  withoutStyles();
  const script = document.createElement("script");
  script.src = "/static/plotly.js";
  script.addEventListener("load", () => { plotly = window.Plotly; performance.mark("charts-loaded"); soil(); });
  document.head.append(script);
}

export function show(told, newStatus) {
  cycles.splice(0, cycles.length, ...told);
  status = newStatus;
  if (!CHARTS[0].box) {
    build();
    load();
  }
  soil();
}

export function take(told, newStatus) {
  cycles.push(...told);
  cycles.splice(0, Math.max(0, cycles.length - KEPT));
  status = newStatus;
  soil();
}
