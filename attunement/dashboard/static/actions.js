// What-if, and the orders: drafted as commands, signed elsewhere, handed in here.
import { ask, askingAnew, element, figure } from "./dom.js";
import { checksTable } from "./ledger.js";

const askWhatIf = askingAnew();
let config = null, isReadOnly = true, isTouched = false, isAsked = false;

// One word of a POSIX shell, whatever stands in it.
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function showCommands() {
  const fields = new FormData(element("draft-form")), action = fields.get("action");
  const needsAlpha = action === "rollback" || action === "override";
  element("draft-alpha-label").hidden = !needsAlpha;
  const at = config === null ? "" : ` --config ${quoted(config)}`, file = `${action}.json`;
  const alpha = needsAlpha ? ` --alpha ${quoted(fields.get("alpha") || "ALPHA")}` : "";
  element("commands").textContent = [
    `lambda-attunement order make ${action}${at}${alpha} --actor ${quoted(fields.get("actor") || "NAME")} --reason ${quoted(fields.get("reason") || "WHY")} --out ${file}`,
    `lambda-attunement order sign ${file} --key YOUR.key`,
    `lambda-attunement order send ${file}${at}`,
  ].join("\n");
}

async function handIn(event) {
  event.preventDefault();
  const answer = element("order-answer");
  answer.className = "";
  answer.textContent = "handed in, waiting for a reading …";
  element("hand-in").disabled = true;
  try {
    const told = await ask("/api/order", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Attunement-Token": element("token").value },
      body: JSON.stringify({ order: element("order").value }),
    });
    answer.className = told.state === "refused" ? "bad" : "ok";
    answer.textContent = `order ${told.order_id.slice(0, 16)}: ${told.state}: ${told.said.join("; ")}`;
  } catch (error) {
    answer.className = "bad";
    answer.textContent = error.message;
  } finally {
    element("hand-in").disabled = isReadOnly;
  }
}

async function judge(event) {
  event.preventDefault();
  const verdict = element("what-if-verdict"), fields = new URLSearchParams(new FormData(event.target));
  try {
    const told = await askWhatIf(`/api/what_if?${fields}`);
    if (told === null) return;
    verdict.className = told.is_accepted ? "ok" : "bad";
    const trial = told.is_trial_open ? ", as if the open trial were taken back" : "";
    verdict.textContent = `${told.is_accepted ? "Would be accepted as a trial" : "Would be refused"}: α ${figure(told.from_alpha)} → ${figure(told.alpha)}, on the reading of cycle ${told.cycle}${trial}.`;
    checksTable(element("what-if-checks"), [...told.checks].sort((one, other) => Number(one.holds) - Number(other.holds)));
  } catch (error) {
    verdict.className = "bad";
    verdict.textContent = error.message;
    element("what-if-checks").hidden = true;
  }
}

async function copy() {
  await navigator.clipboard.writeText(element("commands").textContent);
  element("order-answer").className = "";
  element("order-answer").textContent = "copied";
}

export function showSite(told) {
  config = told.config;
  isReadOnly = told.is_read_only;
  element("hand-in").disabled = isReadOnly;
  if (isReadOnly) element("actions-hint").textContent = "This page is read-only: no token is configured (serve.token_path). The commands below work beside the loop.";
  showCommands();
}

export function showState(latest, status) {
  if (!isTouched) {
    const wanted = { emergency: "approve", frozen: "unfreeze" }[latest.mode] ?? "freeze";
    const choice = element("draft-form").querySelector(`[value=${wanted}]`);
    if (!choice.checked) { choice.checked = true; showCommands(); }
  }
  const field = element("what-if-alpha");
  if (!isAsked && status?.limits) field.value = (latest.good + status.limits.step_max / 2).toFixed(4);
}

export function begin() {
  element("draft-form").addEventListener("input", () => { isTouched = true; showCommands(); });
  element("draft-form").addEventListener("submit", (event) => event.preventDefault());
  element("order-form").addEventListener("submit", handIn);
  element("what-if-form").addEventListener("submit", judge);
  // Until somebody looks at it, it is half a step above the α that is kept now.
  element("what-if-form").addEventListener("focusin", () => { isAsked = true; });
  element("copy").addEventListener("click", copy);
  showCommands();
}
