"use strict";

// Everything shown is set as text, never as markup: some of it came over the air.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// -- words, as in the tables of the command line ---------------------------------------------------------------------

function size(count) {
  if (count === null || count === undefined) return "-";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 || count >= 99.95 ? count.toFixed(0) : count.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  const whole = Math.round(Math.max(0, seconds));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const FIRST_SET = 1420070400; // start of 2015: a clock that says less was not set

function moment(at, withSeconds = false) {
  if (at === null || at === undefined) return "-";
  if (at < FIRST_SET) return "unknown";
  const options = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) options.second = "2-digit";
  return new Date(at * 1000).toLocaleString(undefined, options);
}

const next = (seconds) => (seconds === null || seconds === undefined ? "" : seconds > 0 ? `in ${duration(seconds)}` : "now");

// -- asking ------------------------------------------------------------------------------------------------------------

async function ask(question, parameters = {}) {
  const answer = await fetch(`api/${question}?${new URLSearchParams(parameters)}`);
  if (answer.status === 401) location.assign("login");
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${told.message} ${told.remedy}`);
  return told;
}

// -- what is shown -----------------------------------------------------------------------------------------------------

function showStatus(status) {
  if (byId("word").textContent !== status.health) byId("word").textContent = status.health;
  byId("word").dataset.word = status.health;
  byId("summary").textContent = status.summary; // not told aloud: it changes all the time
  document.title = `${status.health} - bota-gateway`;
  const problems = [
    ...status.problems.map((one) => problem(`${one.part}: ${one.message}`, one.code, one.remedy, one.next_attempt_in_s)),
    ...status.held.map((one) => problem(`${counted(one.count)}: ${one.message}`, one.code, one.remedy, null)),
    ...status.pauses.map((one) => problem(one.message, one.code, one.remedy, one.next_attempt_in_s)),
  ];
  byId("problems").hidden = problems.length === 0;
  byId("problems").querySelector("ul").replaceChildren(...problems);
  const moving = [...status.links.map(link), ...status.uploads.map(upload)];
  byId("moving").replaceChildren(...(moving.length ? moving : [element("li", { className: "hint" }, "Nothing.")]));
}

const counted = (count) => `${count} recording${count === 1 ? "" : "s"}`;

function problem(says, code, remedy, nextInS) {
  const again = next(nextInS);
  return element(
    "li",
    {},
    `${says} `,
    element("span", { className: "code" }, `[${code}]${again ? `, next try ${again}` : ""}`),
    remedy ? element("div", {}, `Next: ${remedy}`) : null,
  );
}

function link(one) {
  const who = one.serial || one.address;
  if (one.file_id === null) return element("li", {}, `${who}: visiting for ${duration(one.for_s)}`);
  const says = `${who}: receiving ${one.file_id}, ${size(one.received_bytes)} of about ${size(one.expected_bytes)} at ${size(one.bytes_per_s)}/s`;
  return element("li", {}, says, bar(says, one.received_bytes, one.expected_bytes));
}

function upload(one) {
  const sent = `${size(one.sent_bytes)} of ${size(one.size_bytes)} sent`;
  const says = `${one.serial}: uploading ${one.file_id}, ${sent}, ${one.doing}`;
  return element("li", {}, says, bar(says, one.sent_bytes, one.size_bytes));
}

function bar(says, value, max) {
  const made = element("progress", { max: Math.max(1, max), value: Math.min(value, max) });
  made.setAttribute("aria-label", says);
  return made;
}

function row(cells) {
  const made = element("tr");
  for (const [label, content, className = ""] of cells) {
    const cell = element("td", { className }, content === null || content === undefined ? "" : content);
    cell.dataset.label = label;
    made.append(cell);
  }
  return made;
}

function opener(text, label, open) {
  const made = element("button", { className: "name", type: "button", onclick: open }, text);
  made.setAttribute("aria-label", label);
  return made;
}

function because(one) {
  const code = one.parked_reason || one.waiting_for;
  if (!code) return "";
  return element("span", {}, `${one.waiting_detail || code} `, element("span", { className: "code" }, `[${code}]`));
}

// Rows are made anew all the time: whoever went to a button with the keyboard stays on it.
function replaceRows(id, rows) {
  const label = byId(id).contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  byId(id).replaceChildren(...rows);
  if (label) byId(id).querySelector(`[aria-label="${CSS.escape(label)}"]`)?.focus({ preventScroll: true });
}

const nobody = (columns, says) => element("tr", {}, element("td", { colSpan: columns, className: "hint" }, says));

async function showRecorders() {
  const recorders = await ask("recorders");
  const rows = recorders.map((one) => {
    const name = one.serial ?? one.address;
    return row([
      ["Recorder", opener(name, `Why: recorder ${name}`, () => explain(name))],
      ["Heard", one.in_range || one.linked ? "in range" : `${duration(one.heard_ago_s ?? one.seen_ago_s)} ago`],
      ["Signal", one.rssi === null ? "-" : `${one.rssi} dBm`, "number"],
      ["Battery", one.battery_percent === null ? "-" : `${one.battery_percent} %${one.charging ? " +" : ""}`, "number"],
      ["Storage", one.storage_total_mb ? `${Math.round((100 * one.storage_used_mb) / one.storage_total_mb)} %` : "-", "number"],
      ["Holds", one.pending === null ? "-" : String(one.pending), "number"],
      ["Next visit", next(one.next_attempt_in_s)],
      ["Why not now", because(one)],
    ]);
  });
  replaceRows("recorders", rows.length ? rows : [nobody(8, "No recorder has been met yet.")]);
}

const SHOWN = 200;

async function showRecordings() {
  const filter = byId("filter").value;
  const chosen = await ask("recordings", { newest: SHOWN, ...(filter === "all" ? {} : { state: filter }) });
  const rows = chosen.map((one) => {
    const name = `${one.serial}/${one.file_id}/${one.started_at}`;
    return row([
      ["Recording", opener(one.file_id, `Story of recording ${one.file_id}`, () => tell(name))],
      ["Recorder", one.serial],
      ["Recorded", moment(one.started_at)],
      ["Size", one.size_bytes === null ? `~${size(one.size_kib * 1024)}` : size(one.size_bytes), "number"],
      ["State", one.state],
      ["Waits for", because(one)],
    ]);
  });
  replaceRows("recordings", rows.length ? rows : [nobody(6, "None.")]);
}

function showHappening(one) {
  const line = element(
    "li",
    { className: one.level },
    element("time", { dateTime: new Date(one.at * 1000).toISOString() }, moment(one.at, true)),
    ` ${[one.recorder, one.recording].filter(Boolean).join(" ")} ${one.says}`,
  );
  byId("story").prepend(line);
  while (byId("story").children.length > 50) byId("story").lastChild.remove();
}

// -- one of them -------------------------------------------------------------------------------------------------------

function open(title, answer, timeline) {
  byId("detail-title").textContent = title;
  byId("causes").replaceChildren(...answer.causes.flatMap(cause));
  byId("timeline").replaceChildren(...timeline);
  byId("detail").showModal();
  byId("detail-title").focus();
}

function cause(one) {
  const code = one.code ? element("span", { className: "code" }, ` [${one.code}]`) : null;
  const again = next(one.next_in_s) && `${one.code ? "next try" : "next"} ${next(one.next_in_s)}`;
  const times = [one.since ? `since ${moment(one.since)}` : "", again];
  return [
    element("p", {}, `${one.about}: ${one.says}`, code),
    times.some(Boolean) ? element("p", { className: "hint" }, times.filter(Boolean).join(", ")) : "",
    one.remedy ? element("p", {}, `Next: ${one.remedy}`) : "",
  ];
}

async function explain(serial) {
  open(serial, await ask("why", { of: serial }), []);
}

async function tell(name) {
  const [why, story] = await Promise.all([ask("why", { of: name }), ask("timeline", { recording: name })]);
  const lines = story.timeline.map((one) => {
    const detail = Object.entries(one.detail).filter(([, value]) => value !== null).map(([key, value]) => `${key}=${value}`);
    return element(
      "li",
      {},
      element("time", { dateTime: new Date(one.at * 1000).toISOString() }, moment(one.at, true)),
      ` ${one.happened.replaceAll("_", " ")} `,
      element("span", { className: "hint" }, detail.join("  ")),
    );
  });
  const title = `${story.recording.serial}  ${story.recording.file_id}  ${story.recording.state}`;
  open(title, why, [element("li", {}, story.summary), ...lines]);
}

// -- live --------------------------------------------------------------------------------------------------------------

let due = null;

function refreshSoon() {
  due ??= setTimeout(async () => {
    try {
      await Promise.all([showRecorders(), showRecordings()]);
    } finally {
      due = null;
    }
  }, 1000);
}

async function begin() {
  const [status, happenings] = await Promise.all([ask("status"), ask("happenings", { level: "info", lines: 50 })]);
  showStatus(status);
  happenings.forEach(showHappening);
  await Promise.all([showRecorders(), showRecordings()]);
  const live = new EventSource("api/live");
  live.onopen = () => (byId("connection").hidden = true);
  live.onerror = () => (byId("connection").hidden = false);
  live.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
  live.addEventListener("happening", (event) => {
    showHappening(JSON.parse(event.data));
    refreshSoon();
  });
  byId("filter").addEventListener("change", showRecordings);
  setInterval(refreshSoon, 30000);
}

begin().catch((error) => {
  byId("connection").hidden = false;
  byId("connection").textContent = `The gateway does not answer: ${error.message}`;
});
