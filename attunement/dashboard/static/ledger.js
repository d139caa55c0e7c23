// The ledger as a table: the server pages and searches, a click explains.
import { askingAnew, element, make, short } from "./dom.js";

const EVENTS = ["start", "propose", "settle", "observe", "miss", "freeze", "approve", "override", "set_limits", "recover", "actuator_failed", "order", "vote", "alert"];
const VERDICTS = ["started", "accepted", "refused", "committed", "returned", "reverted", "retreated", "held", "latched", "frozen", "approved", "adopted", "recovered", "aborted", "authorised", "counted", "raised", "failed"];
const COUNT = 25;
const REFRESH_MS = 1500;
const askPage = askingAnew(), askRecord = askingAnew();
let before = null, next = null, trail = [], timer = 0, isDirty = false, isTurning = false;

const form = () => element("ledger-form");
const isAtEnd = () => before === null && !trail.length;

function query() {
  const fields = new FormData(form()), wanted = new URLSearchParams({ count: COUNT });
  for (const name of ["text", "event", "verdict"]) if (fields.get(name)) wanted.set(name, fields.get(name));
  const from = fields.get("before");
  if (before !== null) wanted.set("before", before);
  else if (from !== "") wanted.set("before", Number(from) + 1);
  return wanted;
}

function row(cells) {
  const made = make("tr", undefined, cells[3]), open = make("button", cells[0]);
  open.type = "button";
  open.setAttribute("aria-label", `Explain record ${cells[0]}`);
  open.addEventListener("click", () => explain(Number(cells[0])));
  cells.forEach((cell, index) => {
    const box = make("td", index ? cell : undefined, index === 3 ? "word" : [4, 5].includes(index) ? "figure" : "");
    if (!index) box.append(open);
    made.append(box);
  });
  return made;
}

export async function load() {
  isDirty = false;
  try {
    const told = await askPage(`/api/ledger?${query()}`);
    if (told === null) return;
    const focused = document.activeElement?.closest("#records") ? document.activeElement.textContent : null;
    element("records").tHead.replaceChildren(head(told.columns));
    element("records").tBodies[0].replaceChildren(...told.rows.map(row));
    if (focused !== null) [...element("records").querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
    next = told.before;
    element("ledger-count").textContent = `${told.total.toLocaleString("en")} records`;
    const found = told.rows.length < COUNT && next !== null ? `, searched back to record ${next}` : "";
    element("ledger-note").textContent = `${told.rows.length} shown${found}`;
    element("older").disabled = next === null;
    element("newer").disabled = !trail.length;
  } catch (error) {
    element("ledger-note").textContent = error.message;
  }
}

function head(columns) {
  const made = make("tr");
  made.append(...columns.map((name) => { const cell = make("th", name); cell.scope = "col"; return cell; }));
  return made;
}

export function checksTable(table, checks) {
  const titles = make("tr"), body = make("tbody"), top = make("thead");
  for (const name of ["check", "least", "figure", "most", "margin", ""]) { const cell = make("th", name); cell.scope = "col"; titles.append(cell); }
  top.append(titles);
  for (const one of checks) {
    const line = make("tr");
    line.append(make("td", one.name), ...[one.least, one.figure, one.most, one.margin].map((value) => make("td", short(value), "figure")), make("td", one.holds ? "holds" : "BROKEN", one.holds ? "ok" : "bad"));
    body.append(line);
  }
  table.replaceChildren(top, body);
  table.hidden = !checks.length;
}

export async function explain(sequence) {
  try {
    const told = await askRecord(`/api/ledger/${sequence}`);
    if (told !== null) showExplanation(sequence, told);
  } catch (error) {
    showExplanation(sequence, { lines: [error.message], checks: [], mismatches: [], record: undefined });
  }
}

function showExplanation(sequence, { lines, checks, mismatches, record }) {
  const dialog = element("explanation");
  element("explanation-title").textContent = `Record ${sequence}`;
  const kind = (line) => record === undefined ? "bad" : line.startsWith("  ") ? "inner" : "";
  element("explanation-lines").replaceChildren(...lines.map((line) => make("p", line.trim(), kind(line))));
  checksTable(element("explanation-checks"), checks);
  element("explanation-mismatch").hidden = !mismatches.length;
  element("explanation-mismatch").textContent = mismatches.join("; ");
  element("explanation-record").textContent = record === undefined ? "" : JSON.stringify(record, null, 1);
  if (!dialog.open) dialog.showModal();
}

export function told() {
  if (!isAtEnd() || form().elements.before.value !== "") return;
  isDirty = true;
  if (!timer) timer = setTimeout(() => { timer = 0; if (isDirty) load(); }, element("records").tBodies[0].rows.length ? REFRESH_MS : 0);
}

export function begin() {
  const fill = (name, values) => form().elements[name].append(...values.map((value) => make("option", value)));
  fill("event", EVENTS);
  fill("verdict", VERDICTS);
  let pause = 0;
  const again = () => { before = null; trail = []; clearTimeout(pause); pause = setTimeout(load, 200); };
  form().addEventListener("input", again);
  form().addEventListener("submit", (event) => { event.preventDefault(); again(); });
  // Where the next page begins is known once this one is there.
  const turn = async (move) => {
    if (isTurning) return;
    isTurning = true;
    move();
    await load();
    isTurning = false;
  };
  element("older").addEventListener("click", () => turn(() => { trail.push(before); before = next; }));
  element("newer").addEventListener("click", () => turn(() => { before = trail.pop() ?? null; }));
}
