// What the page does beyond what the server has written: it keeps up with the fleet, draws charts and ticks boxes.
"use strict";

const part = document.getElementById("live");
const news = document.getElementById("news");

// keep changes what is there into what should be there, node by node, so that focus, selection and scrolling stay.
function keep(now, then) {
  if (now.hasAttribute("data-still")) return; // what a script has drawn
  for (const { name } of [...now.attributes]) if (!then.hasAttribute(name) && name !== "open") now.removeAttribute(name);
  for (const { name, value } of then.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  const olds = [...now.childNodes];
  const fresh = [...then.childNodes];
  fresh.forEach((node, i) => {
    const old = olds[i];
    if (!old) now.append(node);
    else if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName) old.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) keep(old, node);
    else if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
  });
  olds.slice(fresh.length).forEach((node) => node.remove());
}

// announce tells a screen reader what is wrong when that changes, and not each new figure.
let verdict = null;
function announce() {
  const list = document.getElementById("verdicts");
  if (!list) return;
  const text = list.textContent.replace(/\d[\d,.]*/g, "#");
  if (verdict !== null && text !== verdict) say(list.firstElementChild.textContent.trim());
  verdict = text;
}

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

// mark says whether what is shown keeps up.
function mark(live) {
  news.className = live ? "live" : "old";
  say(live ? "Live" : "Not live, trying again");
}

// watch asks for changes while somebody looks.
function watch() {
  let source = null;
  let again = 0;
  const stop = () => {
    clearTimeout(again);
    if (source) source.close();
    source = null;
  };
  const start = () => {
    stop();
    source = new EventSource("/events?of=" + encodeURIComponent(document.body.dataset.live));
    source.onopen = () => mark(true);
    source.onmessage = (event) => {
      const page = new DOMParser().parseFromString("<div id=live>" + event.data + "</div>", "text/html");
      keep(part, page.getElementById("live"));
      announce();
    };
    source.onerror = () => {
      mark(false);
      if (source.readyState !== EventSource.CLOSED) return;
      clearTimeout(again);
      again = setTimeout(start, 15000);
    };
  };
  const look = () => (document.hidden ? stop() : start());
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", stop);
  announce();
  look();
}

const minutes = (seconds) => {
  if (seconds < 60) return Math.round(seconds * 10) / 10 + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " m";
  return Math.round(seconds / 360) / 10 + " h";
};
const rate = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : Math.round(value * 100) / 100 + "");

const charts = {
  delivered: { unit: rate, lines: [["delivered", "--ok", "Delivered"]] },
  others: { unit: rate, lines: [["failed", "--failing", "Failed, tried again"], ["put_off", "--lagging", "Put off"], ["final", "--dead", "Refused, gone, unusable"]] },
  lag: { unit: minutes, incrs: [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800], lines: [["lag", "--main", "Oldest"]] },
};

// ink is a colour of the style sheet as a canvas takes it.
function ink(name, alpha) {
  const probe = document.createElement("span");
  probe.style.color = "var(" + name + ")";
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return alpha ? color.replace(/^rgb\(([^)]*)\)$/, "rgba($1, " + alpha + ")") : color;
}

const height = 150;
const width = (box) => Math.max(200, box.clientWidth);
const last = (column) => column[column.length - 1]; // where the pointer is not on the chart
const columns = (chart, history) => [history.minutes, ...chart.lines.map(([column]) => history[column])];

function draw(box, chart, history) {
  const grid = { stroke: ink("--line"), width: 1 };
  const axis = { stroke: ink("--quiet"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  const options = {
    width: width(box),
    height,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
    axes: [
      { ...axis, size: 26, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 48, incrs: chart.incrs, values: (_, ticks) => ticks.map(chart.unit) },
    ],
    series: [
      { label: "At", value: (plot, at) => clock(at ?? last(plot.data[0])) },
      ...chart.lines.map(([, color, label]) => ({
        label, stroke: ink(color), width: 1.5, fill: chart.lines.length === 1 ? ink(color, 0.12) : undefined,
        points: { show: false }, value: (plot, value, column) => chart.unit(value ?? last(plot.data[column])),
      })),
    ],
  };
  const plot = new uPlot(options, columns(chart, history), box);
  plot.root.querySelector("canvas").setAttribute("aria-hidden", "true");
  return plot;
}

// chart draws the charts; the table below them says the same.
function chart() {
  const boxes = [...document.querySelectorAll("[data-chart]")];
  if (!boxes.length || typeof uPlot === "undefined") return;
  let history = null;
  const plots = new Map(); // by box
  const fill = () =>
    boxes.forEach((box) => {
      const kind = charts[box.dataset.chart];
      if (plots.has(box)) plots.get(box).setData(columns(kind, history));
      else plots.set(box, draw(box, kind, history));
    });
  const fit = () => plots.forEach((plot, box) => plot.setSize({ width: width(box), height }));
  const recolor = () => {
    plots.forEach((plot) => plot.destroy());
    plots.clear();
    if (history) fill();
  };
  const load = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/history.json");
      if (!answer.ok) return;
      history = await answer.json();
    } catch {
      return; // the next time
    }
    fill();
  };
  load();
  setInterval(load, 60000);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(fit, 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
}

// tick lets one box tick all of a page.
function tick() {
  const all = document.getElementById("tick-all");
  if (!all) return;
  const boxes = [...document.querySelectorAll("input[name=id][type=checkbox]")];
  all.hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => (box.checked = all.checked)));
  boxes.forEach((box) =>
    box.addEventListener("change", () => {
      const ticked = boxes.filter((b) => b.checked).length;
      all.checked = ticked === boxes.length;
      all.indeterminate = ticked > 0 && ticked < boxes.length;
    }),
  );
}

// choose searches at once when another state is chosen.
function choose() {
  const state = document.getElementById("state");
  if (state) state.addEventListener("change", () => state.form.requestSubmit());
  document.addEventListener("keydown", (event) => {
    const search = document.querySelector("input[type=search]");
    if (event.key !== "/" || !search || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    search.focus();
  });
}

if (part && document.body.dataset.live) watch();
chart();
tick();
choose();
