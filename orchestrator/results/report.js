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
addEventListener("hashchange", follow);
document.querySelector(".tools").hidden = false;
apply();
follow();
