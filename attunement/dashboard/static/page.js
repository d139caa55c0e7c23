// What α is doing and why, from the overview once and from the events after that.
import { ask, element, figure, make, short } from "./dom.js";
import { show as showCharts, take as takeCharts } from "./charts.js";
import { begin as beginLedger, told as ledgerGrew } from "./ledger.js";
import { begin as beginActions, showSite, showState } from "./actions.js";

const SILENT_S = 15;
const ANSWER_MS = 60_000;
const WORDS = { ready: "READY", frozen: "FROZEN", emergency: "EMERGENCY" };
const MOVES_KEPT = 400;
const moves = [];  // [cycle, α kept]: where the rollback target has moved
const state = { status: null, latest: null, source: "", fault: "", isAway: false, counted: null, last: null, since: null, heard: 0 };

const fill = (id, text) => { const found = element(id); if (found.textContent !== text) found.textContent = text; };

function isTold(decision) {
  return decision.verdict !== "held" || decision.broken.length > 0;
}

// A probe that returns is the optimizer's measuring: what moved α for good, or stopped it, says more.
function weight(decision) {
  if (["latched", "frozen", "approved", "adopted", "started", "recovered", "aborted"].includes(decision.verdict)) return 3;
  if (["committed", "reverted", "retreated"].includes(decision.verdict)) return 2;
  if (decision.verdict === "refused") return 2;
  return decision.kind === "probe" || decision.verdict === "returned" ? 0 : 1;
}

function noteDecisions(cycle) {
  if (!moves.length || moves.at(-1)[1] !== cycle.good) moves.push([cycle.cycle, cycle.good]);
  if (moves.length > MOVES_KEPT) moves.shift();
  for (const decision of cycle.decisions) {
    if (decision.limits && state.status) state.status.limits = decision.limits;
    if (!isTold(decision)) continue;
    if (state.last === null || weight(decision) > 0 || weight(state.last) === 0) state.last = { ...decision, time: cycle.time };
    if (decision.verdict === "latched" || decision.verdict === "frozen") state.since = { ...decision, time: cycle.time };
  }
}

function moved(decision) {
  if (decision.new_alpha === decision.old_alpha) return `α stays at ${figure(decision.new_alpha)}`;
  return `α ${figure(decision.old_alpha)} → ${figure(decision.new_alpha)}`;
}

const MEANING = {
  committed: "a trial was measured safe and no worse, and is kept",
  reverted: "a trial was not kept",
  returned: "a probe was measured, and α went back as probes do",
  retreated: "a reading was unsafe: α went or stayed where it is safer",
  refused: "a proposal broke a limit, and nothing was applied",
  accepted: "a trial began, the next reading judges it",
  latched: "the kernel latched the emergency",
  frozen: "optimizers were stopped",
  approved: "the latch was left by a signed approval",
  adopted: "another policy is in force",
  started: "a history began",
  recovered: "the loop was started again",
  aborted: "the engine did not take α",
  held: "α is held",
};

function doing(latest, limits) {
  const [since, at] = moves.at(-1) ?? [latest.cycle, latest.good];
  const span = latest.cycle - since, safe = limits?.alpha_safe;
  if (latest.mode === "frozen") return `α is frozen at ${figure(latest.alpha)}.`;
  if (latest.mode === "emergency") return latest.alpha === safe ? `α has retreated to its safe value, ${figure(latest.alpha)}.` : `α is held at ${figure(latest.alpha)}, and retreats towards ${short(safe)} under an unsafe reading.`;
  if (span > 30) return `α holds at ${figure(at)} for ${span} cycles${latest.optimizer === "idle" ? "" : " while the optimizer probes around it"}.`;
  const earlier = moves.findLast(([cycle]) => cycle <= latest.cycle - 60) ?? moves[0], change = at - (earlier?.[1] ?? at);
  if (!change) return `α is at ${figure(at)}.`;
  return `α ${change > 0 ? "climbs" : "falls"}: ${figure(earlier[1], 4)} → ${figure(at, 4)} within ${latest.cycle - earlier[0]} cycles.`;
}

function why(latest) {
  const cause = latest.mode === "emergency" || latest.mode === "frozen" ? state.since ?? state.last : state.last;
  if (cause === null) return { text: "No decision yet.", broken: [] };
  const ago = latest.cycle - cause.cycle;
  const when = ago > 0 ? `${ago} cycles ago` : "this cycle";
  const text = `${cause.verdict[0].toUpperCase()}${cause.verdict.slice(1)} ${when}: ${MEANING[cause.verdict] ?? ""}. ${moved(cause)}; ${cause.actor}: “${cause.reason}”.`;
  return { text, broken: cause.said };
}

function nextStep(latest, isSilent, status) {
  if (isSilent) return "The loop is silent: nothing moves α but its own deadline. Look at the process and at the engine.";
  if (latest.mode === "emergency") return "Optimizers are stopped; the kernel itself retreats towards α_safe under unsafe readings. Only a signed approval on a safe reading leaves this: see Actions, Approve.";
  if (latest.mode === "frozen") return "Optimizers are stopped. Only a signed order leaves this: see Actions, Unfreeze.";
  return latest.optimizer === "idle" ? "The optimizer holds; the kernel watches every reading." : `Optimizer in charge: ${status?.run?.optimizer ?? "unknown"}, now by ${latest.optimizer}.`;
}

function bar(id, at, limits) {
  const span = limits.alpha_max - limits.alpha_min;
  element(id).setAttribute("x", String(Math.max(0, Math.min(1, (at - limits.alpha_min) / span)) * 991));
}

function showAlpha(latest, limits) {
  fill("alpha", figure(latest.good));
  if (!limits) return;
  bar("bar-alpha", latest.alpha, limits);
  bar("bar-safe", limits.alpha_safe, limits);
  const low = Math.max(limits.alpha_min, latest.good - limits.step_max);
  const high = Math.min(limits.alpha_max, latest.good + limits.step_max);
  bar("bar-step", low, limits);
  element("bar-step").setAttribute("width", String(Math.max(2, ((high - low) / (limits.alpha_max - limits.alpha_min)) * 991)));
  fill("alpha-min", `${short(limits.alpha_min)} min`);
  fill("alpha-max", `${short(limits.alpha_max)} max`);
  fill("alpha-reach", `step ≤ ${short(limits.step_max)}, safe ${short(limits.alpha_safe)}`);
  element("alpha-bar").setAttribute("aria-label", `α ${figure(latest.alpha)} within ${limits.alpha_min} and ${limits.alpha_max}`);
}

function tile(name, value, note, share) {
  const kind = share === null ? "plain" : share > 1 ? "broken" : share > 0.85 ? "near" : "";
  return { name, value, note, kind };
}

function tilesOf(latest, limits) {
  const most = (value, limit) => (value === null ? null : value / limit);
  const c = latest.C_hat ?? latest.objective;
  const tiles = [
    tile(latest.C_hat === null && latest.objective !== null ? "objective J" : "Ĉ coherence", figure(c), "higher is better", null),
    tile("dJ/dα", latest.C_gradient === null ? "unknown" : figure(latest.C_gradient, 4), "latest estimate", null),
  ];
  if (!limits) return tiles;
  const h = latest.h_internal;
  tiles.push(
    tile("entropy rate", figure(latest.entropy_rate), `limit ≤ ${short(limits.entropy_max)} per cycle`, most(latest.entropy_rate, limits.entropy_max)),
    tile("H_internal", figure(h), `limit ≥ ${short(limits.h_internal_min)}`, h === null ? null : h < limits.h_internal_min ? 2 : (1 - h) / (1 - limits.h_internal_min || 1)),
    tile("α·loop gain", figure(latest.loop_gain), `limit ≤ ${short(limits.loop_gain_max)}`, most(latest.loop_gain, limits.loop_gain_max)),
    tile("α·drive", figure(latest.drive), `limit ≤ ${short(limits.drive_max)}`, most(latest.drive, limits.drive_max)),
    tile("reverts in a row", String(latest.reverts), `emergency at ${limits.reverts_max}`, latest.reverts / limits.reverts_max),
    tile("missed in a row", String(latest.missed), `emergency at ${limits.missed_max}`, latest.missed / limits.missed_max),
  );
  const lambdas = Object.entries(latest.lambda).map(([scale, value]) => `${scale} ${figure(value, 4)}`);
  if (lambdas.length) tiles.splice(2, 0, tile("λ(t, L)", figure(Object.values(latest.lambda)[0], 4), lambdas.slice(1).join(", "), null));
  return tiles;
}

function showTiles(tiles) {
  const list = element("tiles");
  while (list.children.length > tiles.length) list.lastChild.remove();
  tiles.forEach((one, index) => {
    let box = list.children[index];
    if (!box) {
      box = make("div");
      box.append(make("dt"), make("dd"));
      box.lastChild.append("", make("small"));
      list.append(box);
    }
    box.className = one.kind;
    box.firstChild.textContent = one.name;
    box.lastChild.firstChild.textContent = one.value;
    box.lastChild.lastChild.textContent = one.kind === "broken" ? `${one.note}: BROKEN` : one.kind === "near" ? `${one.note}: near` : one.note;
  });
}

function sourceOf(latest) {
  if (state.isAway) return "the page's server is away, trying again …";
  if (state.fault) return state.fault;
  if (latest === null) return "no cycle yet";
  return state.source === "loop" ? `live, cycle ${latest.cycle}` : `no loop runs: the ledger's last decision, ${latest.time}`;
}

function showNow() {
  const { latest, status } = state;
  fill("source", sourceOf(latest));
  if (latest === null) { fill("why", "No cycle yet."); return; }
  const age = (Date.now() - state.heard) / 1000;
  const isSilent = state.source === "loop" && age > SILENT_S;
  const mode = element("mode");
  // A trial begins and ends every other cycle: what it ends to is what somebody has to know.
  const isTrial = latest.mode === "trial", kept = isTrial ? latest.resume : latest.mode;
  const word = isSilent ? "SILENT" : WORDS[kept] ?? kept;
  if (mode.textContent !== word) { mode.textContent = word; mode.className = `mode ${isSilent ? "silent" : kept}`; }
  fill("trial", isSilent ? `for ${Math.round(age)} s` : isTrial ? `trial at ${figure(latest.alpha)}` : "no trial open");
  document.title = `${word} α ${figure(latest.good, 4)}`;
  if (element("alpha").dataset.cycle !== String(latest.cycle)) element("alpha").dataset.cycle = String(latest.cycle);
  showAlpha(latest, status?.limits);
  const cause = why(latest);
  fill("doing", doing(latest, status?.limits));
  fill("why", cause.text);
  const list = element("why-broken");
  if (list.textContent !== cause.broken.join("")) list.replaceChildren(...cause.broken.map((line) => make("li", line)));
  fill("next-step", nextStep(latest, isSilent, status));
  showTiles(tilesOf(latest, status?.limits));
  showState(latest, status);
}

// An answer may be older than the events that came while it was under way: they are put behind it, each once. There is
// one question at a time, for an answer that comes late would take back what a younger one told.
const named = (cycle) => `${cycle.time} ${cycle.cycle}`;
const waiting = new Map();
let answered = new Set(), meanwhile = null, turn = Promise.resolve();

function refresh(count) {
  if (!waiting.has(count)) {
    turn = turn.then(() => { waiting.delete(count); return overview(count); });
    waiting.set(count, turn);
  }
  return waiting.get(count);
}

async function overview(count) {
  meanwhile = [];
  try {
    const told = await ask(`/api/overview?cycles=${count}`, { signal: AbortSignal.timeout(ANSWER_MS) });
    adopt(told, meanwhile);
    return told;
  } catch (error) {
    state.fault = `cannot be read: ${error.message}`;
    showNow();
    return null;
  } finally {
    meanwhile = null;
  }
}

function adopt(told, heard) {
  const { cycles, status } = told;
  answered = new Set(cycles.map(named));
  const later = heard.filter((cycle) => !answered.has(named(cycle)));
  cycles.push(...later);
  // The status is asked for after the cycles beside it: its latest may be one that the events have yet to tell. Which limits
  // were broken it has counted up to there.
  const counted = status.latest === null ? null : named(status.latest);
  const at = cycles.findIndex((cycle) => named(cycle) === counted), isOvertaken = at >= 0 || counted === null;
  if (later.length && isOvertaken) Object.assign(status, { latest: later.at(-1), age_s: 0 });
  Object.assign(state, { status, source: told.source, fault: "", latest: status.latest, heard: Date.now() - 1000 * (status.age_s ?? 0) });
  state.counted = isOvertaken ? null : counted;
  countBroken(isOvertaken ? cycles.slice(at + 1) : []);
  state.last = state.since = null;
  moves.length = 0;
  cycles.forEach(noteDecisions);
  state.last ??= status.last_decision;
  showNow();
  ledgerGrew();
}

async function begin() {
  const told = await refresh(60);
  if (told === null) return;
  fill("foot", `${told.ledger} · ${told.records} records${told.fault ? ` · ${told.fault}` : ""} · times are UTC`);
  showSite(told);
  performance.mark("numbers-shown");
  element("mode").dataset.ready = "yes";
  // The rest comes when the numbers are painted.
  requestAnimationFrame(() => setTimeout(showHistory, 0));
}

async function showHistory() {
  await listening;
  const told = await refresh(1200);
  if (told !== null) showCharts(told.cycles, told.status);
}

function follow() {
  const events = new EventSource("/api/events");
  events.addEventListener("cycles", (event) => {
    const cycles = JSON.parse(event.data).filter((cycle) => !answered.has(named(cycle)));
    meanwhile?.push(...cycles);
    if (state.status === null && meanwhile === null) begin();
    if (!cycles.length || state.status === null) return;
    cycles.forEach(noteDecisions);
    Object.assign(state, { latest: cycles.at(-1), fault: "", heard: Date.now() });
    countBroken(cycles);
    showNow();
    takeCharts(cycles, state.status);
    if (cycles.some((cycle) => cycle.decisions.some(isTold))) ledgerGrew();
  });
  events.addEventListener("resync", () => { begin(); });
  events.addEventListener("error", () => { state.isAway = true; showNow(); });
  // What happened while nothing was heard no event tells any more.
  events.addEventListener("open", () => { if (state.isAway) begin(); state.isAway = false; });
  // What happens between the first answer and the first event is in the history that is asked for after this.
  return new Promise((resolve) => { for (const kind of ["open", "error"]) events.addEventListener(kind, resolve, { once: true }); });
}

function countBroken(cycles) {
  for (const cycle of cycles) {
    const isCounted = state.counted !== null;
    if (named(cycle) === state.counted) state.counted = null;
    if (isCounted) continue;
    for (const { name } of cycle.decisions.flatMap((decision) => decision.broken)) {
      const limit = name.replace("α·", "");
      state.status.broken[limit] = (state.status.broken[limit] ?? 0) + 1;
    }
  }
}

beginActions();
beginLedger();
const listening = follow();
await begin();
setInterval(showNow, 1000);
