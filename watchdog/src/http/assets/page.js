// The page of a watchdog: shows what /stream sends, and asks for nothing else but what is looked at.
"use strict";

const SAMPLES = 150; // two seconds each
const EVENTS = 500;
const LINES = 400;
const byId = (id) => document.getElementById(id);
const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);

const curves = new Map(); // name -> {rss, cpu, beat}
let services = [];
let events = [];
let selected = null;
let lines = null;
let control = false;

// --- words ---

function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let n = bytes, at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return (at === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + " " + units[at];
}

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  const s = Math.floor(ms / 1000);
  if (s < 60) return s + "s";
  if (s < 3600) return Math.floor(s / 60) + "m " + (s % 60) + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h " + (Math.floor(s / 60) % 60) + "m";
  return Math.floor(s / 86400) + "d " + (Math.floor(s / 3600) % 24) + "h";
}

function micros(us) {
  if (us === null || us === undefined) return "–";
  return us < 1000 ? us + " µs" : (us / 1000).toFixed(us < 10000 ? 1 : 0) + " ms";
}

// Colour is never alone: the word stands beside it.
function tone(s) {
  if (s.state === "failed" || s.state === "stuck" || s.state === "crash-loop") return "bad";
  if (s.state === "backoff" || s.state === "waiting" || s.state === "starting" || s.state === "stopping") return "warn";
  if (s.state === "running") return s.health === "unhealthy" || s.health === "degraded" || !s.ready ? "warn" : "good";
  return "rest";
}

const KINDS = { exit: "warn", "spawn-failed": "bad", "gave-up": "bad", "crash-loop": "bad", hang: "bad", verdict: "bad", oom: "bad",
  threshold: "warn", "restart-scheduled": "warn", ready: "good", stopped: "rest", "kill-escalated": "bad", stuck: "bad" };

// An end that was asked for is no crash.
function kind(e) {
  const asked = e.event === "exit" && (e.requested || (e.cause === "exited" && e.code === 0));
  return asked ? "rest" : KINDS[e.event];
}

function told(e) {
  const part = [e.event];
  if (e.cause) part.push("(" + e.cause + ")");
  if (e.event === "exit" && e.requested) part.push("as asked:");
  if (e.code !== undefined && e.code !== null) part.push("code " + e.code);
  if (e.signal !== undefined && e.signal !== null) part.push(e.signal);
  if (e.verdict) part.push(e.verdict + (e.action ? ": " + e.action : ""));
  if (e.delay_ms !== undefined) part.push("in " + span(e.delay_ms) + ", attempt " + e.attempt);
  if (e.what && e.value !== undefined) part.push(e.what + " " + e.value + " over " + e.limit);
  if (e.probe) part.push(e.probe + " " + e.result + (e.message ? ": " + e.message : ""));
  if (e.by && e.by.kind) part.push("by " + e.by.kind + (e.by.pid ? " of pid " + e.by.pid : ""));
  return part.join(" ");
}

// --- pictures ---

function draw(at, values, width, height) {
  const known = values.filter((v) => v !== null);
  at.replaceChildren();
  if (known.length < 2) return;
  const top = Math.max(...known, 1e-9) * 1.1;
  const step = width / (SAMPLES - 1), start = SAMPLES - values.length;
  const points = values.map((v, n) => (v === null ? null : ((start + n) * step).toFixed(1) + "," + (height - (v / top) * height).toFixed(1)));
  const line = svg("polyline");
  line.setAttribute("points", points.filter((p) => p !== null).join(" "));
  at.append(line);
}

function keep(s) {
  let c = curves.get(s.name);
  if (!c) curves.set(s.name, (c = { rss: [], cpu: [], beat: [] }));
  const add = (list, value) => { list.push(value ?? null); if (list.length > SAMPLES) list.shift(); };
  add(c.rss, s.rss_bytes); add(c.cpu, s.cpu_percent); add(c.beat, s.rtt_p50_us);
}

function cell(row, label, text, kind) {
  const td = document.createElement("td");
  td.dataset.label = label;
  td.textContent = text;
  if (kind) td.className = kind;
  if (text === "–" || text === "") td.classList.add("empty");
  row.append(td);
  return td;
}

function spark(td, values) {
  const picture = svg("svg");
  picture.setAttribute("class", "spark");
  picture.setAttribute("viewBox", "0 0 300 60");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  draw(picture, values, 300, 60);
  if (picture.childElementCount) td.prepend(picture);
}

function matches(s) {
  const text = byId("filter").value.trim().toLowerCase();
  return !text || [s.name, s.title, s.state, s.cause, s.reason].some((t) => t && t.toLowerCase().includes(text));
}

function table() {
  const body = byId("services").tBodies[0];
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.name : undefined;
  const shown = services.filter(matches);
  body.replaceChildren(...shown.map((s) => {
    const row = document.createElement("tr");
    const head = document.createElement("th"), button = document.createElement("button");
    head.scope = "row";
    button.type = "button";
    button.dataset.name = s.name;
    button.textContent = s.name;
    button.title = s.title || s.reason || "";
    button.addEventListener("click", () => select(s.name));
    head.append(button);
    row.append(head);
    if (s.name === selected) row.setAttribute("aria-current", "true");
    const ready = s.state === "running" && !s.ready ? ", not ready" : "";
    const ill = s.health === "unhealthy" || s.health === "degraded" ? ", " + s.health : "";
    cell(row, "", s.state + ready + ill, tone(s));
    cell(row, "for", span(s.for_ms));
    cell(row, "restarts", String(s.restarts));
    const c = curves.get(s.name);
    spark(cell(row, "memory", size(s.rss_bytes)), c ? c.rss : []);
    spark(cell(row, "CPU", s.cpu_percent === null ? "–" : s.cpu_percent.toFixed(1) + " %"), c ? c.cpu : []);
    cell(row, "beat", s.rtt_p50_us === null ? "–" : micros(s.rtt_p50_us) + " / " + micros(s.rtt_p99_us));
    const waits = s.waiting_on.length ? "waits for " + s.waiting_on.join(", ") : "";
    // What is wrong with one that runs has nothing to do with why it was started.
    const cause = s.state === "running" ? null : s.cause;
    cell(row, "", waits || [cause, s.reason].filter(Boolean).join(": "), "why");
    return row;
  }));
  byId("none").hidden = shown.length > 0;
  if (focused) body.querySelector("button[data-name=" + CSS.escape(focused) + "]")?.focus({ preventScroll: true });
}

// Of another day with its date: what happened last night is looked for in the morning.
function moment(time) {
  const at = new Date(time), today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}

function timeline() {
  const list = byId("events").tBodies[0], line = byId("line");
  const mine = events.filter((e) => !selected || e.service === selected || !e.service);
  list.replaceChildren(...mine.slice(-60).reverse().map((e) => {
    const row = document.createElement("tr");
    cell(row, "", moment(e.time));
    cell(row, "", e.service || "");
    cell(row, "", told(e), kind(e) || "");
    return row;
  }));
  const marked = mine.filter((e) => KINDS[e.event]);
  const to = Date.now(), from = marked.length ? Math.min(Date.parse(marked[0].time), to - 60000) : to - 60000;
  line.replaceChildren(...marked.map((e) => {
    const mark = svg("rect"), title = svg("title");
    mark.setAttribute("x", (((Date.parse(e.time) - from) / (to - from)) * 996).toFixed(1));
    mark.setAttribute("y", kind(e) === "good" ? "12" : "0");
    mark.setAttribute("width", "3");
    mark.setAttribute("height", "12");
    mark.setAttribute("class", kind(e));
    title.textContent = new Date(e.time).toLocaleString() + " " + (e.service || "") + " " + told(e);
    mark.append(title);
    return mark;
  }));
  const ends = marked.filter((e) => e.event === "exit").length;
  line.setAttribute("aria-label", ends + " ends of processes since " + moment(from));
  byId("from").textContent = new Date(from).toLocaleString();
}

function detail() {
  const s = services.find((one) => one.name === selected);
  byId("one").hidden = !selected;
  if (!selected) return;
  const c = curves.get(selected) || { rss: [], cpu: [], beat: [] };
  const put = (id, values, text) => {
    draw(byId(id), values, 300, 60);
    byId(id).setAttribute("aria-label", text);
    byId(id).parentElement.querySelector("figcaption").textContent = text;
  };
  put("rss", c.rss, "memory " + size(s && s.rss_bytes) + (s && s.limit_bytes ? " of " + size(s.limit_bytes) : ""));
  put("cpu", c.cpu, "CPU " + (s && s.cpu_percent !== null ? s.cpu_percent.toFixed(1) + " %" : "–"));
  put("beat", c.beat, "beat " + (s ? micros(s.rtt_p50_us) : "–"));
  byId("acts").hidden = !control;
}

// --- one service ---

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  return answer.ok ? answer.json() : null;
}

let asked = 0;
async function look() {
  const name = selected, mine = (asked += 1);
  if (!name) return;
  const at = encodeURIComponent(name);
  const [explained, found] = await Promise.all([ask("/explain/" + at), ask("/report/" + at)]).catch(() => [null, null]);
  if (name !== selected || mine !== asked) return;
  byId("explain").textContent = explained ? explained.services.map((s) => s.text.join("\n")).join("\n\n") : "";
  const report = found && found.report;
  byId("verdict").textContent = report
    ? [report.time, report.cause, report.verdict, report.id].filter(Boolean).join(" · ")
    : "There is none.";
  byId("whole").hidden = !report;
  byId("report").textContent = report ? JSON.stringify(report, null, 2) : "";
}

function select(name) {
  selected = name;
  if (lines) lines.close();
  lines = null;
  byId("log").textContent = "";
  byId("said").textContent = "";
  byId("who").textContent = name || "";
  if (name) {
    lines = new EventSource("/stream/" + encodeURIComponent(name));
    lines.addEventListener("open", () => { byId("log").textContent = ""; });
    lines.addEventListener("line", (m) => line(JSON.parse(m.data)));
    lines.addEventListener("none", (m) => { byId("log").textContent = JSON.parse(m.data).reason; });
    look();
  }
  history.replaceState(null, "", name ? "#" + encodeURIComponent(name) : location.pathname);
  table(); detail(); timeline();
  if (name) byId("who").focus();
}

function line(l) {
  const log = byId("log"), below = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  const row = document.createElement("span");
  if (l.stream === "stderr") row.className = "warn";
  row.textContent = (l.encoding === "base64" ? "[not text] " + l.line : l.line) + "\n";
  log.append(row);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  if (below) log.scrollTop = log.scrollHeight;
}

async function act(what) {
  const token = byId("token").value, said = byId("said");
  if (!token) { said.textContent = "the token is needed for that (http_control)"; byId("token").focus(); return; }
  const answer = await fetch("/do/" + what + "/" + encodeURIComponent(selected), {
    method: "POST", headers: { Authorization: "Bearer " + token }, cache: "no-store",
  }).catch(() => null);
  if (!answer) said.textContent = "no answer";
  else if (answer.ok) said.textContent = what + " was asked for";
  else said.textContent = (await answer.json().catch(() => ({ error: { message: "refused" } }))).error.message;
}

// --- what comes ---

function connect() {
  const source = new EventSource("/stream");
  const live = byId("live");
  const say = (on, text) => { live.className = on ? "on" : "off"; live.textContent = text; };
  source.addEventListener("open", () => { events = []; say(true, "live"); });
  source.addEventListener("error", () => say(false, "no connection, trying again"));
  source.addEventListener("state", (m) => {
    const state = JSON.parse(m.data);
    services = state.services;
    control = state.control;
    services.forEach(keep);
    byId("name").textContent = state.name;
    document.title = state.ready + "/" + state.wanted + " " + state.name;
    byId("sum").textContent = state.ready + " of " + state.wanted + " ready" + (state.ending ? ", shutting down" : "");
    byId("own").textContent = "watchdog " + state.version + ", up " + span(state.uptime_ms) + ", " + size(state.rss_bytes);
    table(); detail();
  });
  let due = 0;
  source.addEventListener("event", (m) => {
    const event = JSON.parse(m.data);
    events.push(event);
    if (events.length > EVENTS) events.shift();
    // Many at once are drawn once.
    if (!due) due = setTimeout(() => { due = 0; timeline(); if (!byId("one").hidden) look(); }, 100);
  });
}

function move(by) {
  const all = [...byId("services").tBodies[0].querySelectorAll("button")];
  const at = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))]?.focus();
}

function help() {
  const open = byId("help").hidden;
  byId("help").hidden = !open;
  byId("keys").setAttribute("aria-expanded", String(open));
}

document.addEventListener("keydown", (e) => {
  const typing = e.target instanceof HTMLInputElement;
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  if (e.key === "Escape") {
    const name = selected;
    if (typing) e.target.blur();
    select(null);
    if (name) byId("services").querySelector("button[data-name=" + CSS.escape(name) + "]")?.focus();
  } else if (typing || e.target.id === "log") {
    return;
  } else if (e.key === "ArrowDown" || e.key === "j") { e.preventDefault(); move(1); }
  else if (e.key === "ArrowUp" || e.key === "k") { e.preventDefault(); move(-1); }
  else if (e.key === "/") { e.preventDefault(); byId("filter").focus(); }
  else if (e.key === "?") help();
});

byId("filter").addEventListener("input", table);
byId("keys").addEventListener("click", help);
byId("back").addEventListener("click", () => select(null));
byId("acts").querySelectorAll("button").forEach((b) => b.addEventListener("click", () => act(b.dataset.act)));
connect();
if (location.hash.length > 1) select(decodeURIComponent(location.hash.slice(1)));
setInterval(timeline, 30000);
