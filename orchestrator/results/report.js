"use strict";
// Hides rows by verdict and by text, and opens a row that a link leads to. The page is whole without it.
const rows = [...document.querySelectorAll("details.row")];
const search = document.getElementById("search");
const shown = document.getElementById("shown");
const chips = [...document.querySelectorAll("button.chip")];
const text = new Map(rows.map(row => [row, row.dataset.find.toLowerCase()]));

function apply() {
  const verdicts = new Set(chips.filter(c => c.getAttribute("aria-pressed") === "true").map(c => c.dataset.verdict));
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const fits = (!verdicts.size || verdicts.has(row.dataset.verdict)) && words.every(w => text.get(row).includes(w));
    row.hidden = !fits;
    count += fits;
  }
  shown.textContent = count === rows.length ? `${count} shown` : `${count} of ${rows.length} shown`;
}

function follow() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!(row instanceof HTMLDetailsElement)) return;
  row.hidden = false;
  row.open = true;
  row.scrollIntoView();
}

for (const chip of chips)
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    apply();
  });
search.addEventListener("input", apply);
addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
// A diagram: what is chosen is told below it; arrow keys choose, + - 0 and the wheel with Ctrl zoom.
for (const figure of document.querySelectorAll("figure.diagram")) {
  const svg = figure.querySelector("svg"), canvas = figure.querySelector(".canvas");
  const detail = figure.querySelector(".detail"), all = [...figure.querySelectorAll(".one")];
  const [width, height] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
  let zoom = 1;
  const scale = wanted => {
    zoom = Math.min(4, Math.max(.25, wanted));
    svg.setAttribute("width", width * zoom);
    svg.setAttribute("height", height * zoom);
  };
  const act = {in: () => scale(zoom * 1.25), out: () => scale(zoom / 1.25), fit: () => scale(canvas.clientWidth / width)};
  const choose = one => {
    for (const other of all) {
      other.classList.toggle("chosen", other === one);
      other.setAttribute("tabindex", other === one ? 0 : -1);
    }
    detail.textContent = one.getAttribute("aria-label");
    one.focus();
  };
  for (const one of all) one.addEventListener("click", () => choose(one));
  for (const button of figure.querySelectorAll("[data-zoom]")) button.addEventListener("click", act[button.dataset.zoom]);
  svg.addEventListener("keydown", event => {
    const at = all.indexOf(document.activeElement);
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1, Enter: at, " ": at}[event.key];
    const sized = {"+": act.in, "=": act.in, "-": act.out, "0": act.fit}[event.key];
    if (to === undefined && !sized || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (sized) sized(); else if (all[to]) choose(all[to]);
  });
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    scale(zoom * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
  }, {passive: false});
  figure.querySelector(".zoom").hidden = false;
}
addEventListener("hashchange", follow);
document.querySelector(".tools").hidden = false;
apply();
follow();
