"use strict";
// Draws the grid of runs and scenarios. Without it the page lists both, with links to their pages.
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("canvas");
const names = document.getElementById("names");
const told = document.getElementById("told");
const search = document.getElementById("search");
const environment = document.getElementById("environment");
const trouble = document.getElementById("trouble");
const context = canvas.getContext("2d");
const HEIGHT = 16, MOST = 16000; // pixels; the widest canvas that every browser draws
const CLASSES = {"p": "pass", "f": "fail", "i": "inconclusive", "x": "infra", "k": "known", "~": "flaky", ".": "not-run"};
let columns = [], rows = [], width = 10, at = null;

data.environments.forEach((name, number) => environment.append(new Option(name, number)));

function choose() {
  const wanted = Number(environment.value), words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  columns = data.runs.map((run, place) => place).filter(place => data.runs[place].environment === wanted);
  rows = data.scenarios.filter(s => words.every(w => s.name.toLowerCase().includes(w))
    && columns.some(place => s.marks[place] !== ".")
    && (!trouble.checked || columns.slice(-10).some(place => "fi~".includes(s.marks[place]))));
  width = Math.max(1, Math.min(10, Math.floor(MOST / Math.max(1, columns.length))));
  canvas.width = Math.max(1, columns.length * width);
  canvas.height = Math.max(1, rows.length * HEIGHT);
  names.replaceChildren(...rows.map(s => {
    const link = document.createElement("a");
    link.href = s.page;
    link.textContent = s.name;
    return link;
  }));
  at = null;
  draw();
  told.textContent = `${rows.length} scenarios in ${columns.length} runs`;
  canvas.parentElement.scrollLeft = canvas.width;
}

function draw() {
  const style = getComputedStyle(document.documentElement), gap = width > 3 ? 1 : 0;
  const colours = Object.fromEntries(Object.entries(CLASSES).map(([sign, name]) => [sign, style.getPropertyValue(`--${name}`)]));
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [sign, colour] of Object.entries(colours)) { // a colour at a time: setting one is what costs
    context.fillStyle = colour;
    rows.forEach((row, y) => columns.forEach((place, x) => {
      if (row.marks[place] === sign) context.fillRect(x * width, y * HEIGHT, width - gap, HEIGHT - 1);
    }));
  }
  context.fillStyle = style.getPropertyValue("--ink");
  columns.forEach((place, x) => { // where the driver changed
    if (x && data.runs[place].driver !== data.runs[columns[x - 1]].driver) context.fillRect(x * width - 1, 0, 1, canvas.height);
  });
  if (at) {
    context.strokeStyle = style.getPropertyValue("--ink");
    context.lineWidth = 2;
    context.strokeRect(at.x * width, at.y * HEIGHT, Math.max(width, 4), HEIGHT);
  }
}

function go(x, y) {
  if (!rows.length || !columns.length) return;
  at = {x: Math.max(0, Math.min(columns.length - 1, x)), y: Math.max(0, Math.min(rows.length - 1, y))};
  const place = columns[at.x], run = data.runs[place], row = rows[at.y];
  told.textContent = `${row.name}: ${data.words[row.marks[place]]} in run ${run.id} (${run.name}, ${run.when}), driver ${run.driver}`
    + (run.state === "complete" ? "" : `, ${run.state}`);
  [...names.children].forEach((link, y) => link.classList.toggle("here", y === at.y));
  draw();
}

function cell(event) {
  const box = canvas.getBoundingClientRect();
  return [Math.floor((event.clientX - box.left) / width), Math.floor((event.clientY - box.top) / HEIGHT)];
}

canvas.addEventListener("pointermove", event => {
  const [x, y] = cell(event);
  if (!at || x !== at.x || y !== at.y) go(x, y);
});
canvas.addEventListener("click", event => {
  go(...cell(event));
  if (at) location.href = `runs/${data.runs[columns[at.x]].id}.html`;
});
canvas.addEventListener("keydown", event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (step) {
    const from = at || {x: columns.length - step[0], y: -step[1]};
    go(from.x + step[0], from.y + step[1]);
    const box = canvas.parentElement;
    if (at) box.scrollLeft = Math.max(at.x * width - box.clientWidth + 40, Math.min(box.scrollLeft, at.x * width - 40));
    event.preventDefault();
  } else if (event.key === "Enter" && at) {
    location.href = `runs/${data.runs[columns[at.x]].id}.html`;
  }
});
canvas.addEventListener("focus", () => { if (!at) go(columns.length - 1, 0); });
for (const [element, kind] of [[search, "input"], [environment, "change"], [trouble, "change"]]) element.addEventListener(kind, choose);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.getElementById("drawn").hidden = false;
document.getElementById("listed").hidden = true;
choose();
document.documentElement.dataset.drawn = Math.round(performance.now()); // `wsklab bench history` reads it
