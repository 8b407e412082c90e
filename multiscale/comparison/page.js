"use strict";
// Tabs, the filter, sorting, the theme, and drawing each figure when it comes into sight.

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const drawn = new Set();

function theme() {
  const style = getComputedStyle(root);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
  return { ink: colour("--ink"), ground: colour("--ground"), raised: colour("--raised"), line: colour("--line"), axis };
}

function chosen(kind) {
  return new Set(all(`input[name="${kind}"]:checked`).map((box) => box.value));
}

// What Plotly is given: the figure as it was written, in the colours of the theme, less what is filtered out.
function dressed(figure) {
  const { ink, raised, line, axis } = theme();
  const models = chosen("model");
  const layout = { ...figure.layout };
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...axis, ...layout[name] };
  }
  layout.font = { color: ink, size: 12, family: "system-ui, sans-serif" };
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.hoverlabel = { bgcolor: raised, bordercolor: line, font: { color: ink }, align: "left", namelength: -1 };
  layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // fingers scroll
  const data = figure.data.map((trace) => ({
    ...trace,
    visible: models.has(trace.meta.model),
    ...(trace.meta.ink ? { marker: { ...trace.marker, color: ink } } : {}),
  }));
  return { data, layout };
}

function draw(place) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const { data, layout } = dressed(figure);
  Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
  drawn.add(place);
}

function redraw() {
  drawn.forEach((place) => (place.offsetParent === null ? forget(place) : draw(place)));
}

// A figure out of sight is drawn anew when it comes back: Plotly cannot measure what is hidden.
function forget(place) {
  Plotly.purge(place);
  drawn.delete(place);
  sight.unobserve(place);
  sight.observe(place);
}

const sight = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && !drawn.has(entry.target) && draw(entry.target)),
  { rootMargin: "300px" },
);

function open(tab) {
  all('[role="tab"]').forEach((other) => {
    const selected = other === tab;
    other.setAttribute("aria-selected", selected);
    other.tabIndex = selected ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
  });
  drawn.forEach((place) => place.offsetParent && Plotly.Plots.resize(place)); // the window may have changed meanwhile
}

function filter() {
  const kinds = { data: chosen("data"), model: chosen("model") };
  all("[data-data], [data-model]").forEach((element) => {
    element.hidden = Object.entries(kinds).some(([kind, kept]) => kind in element.dataset && !kept.has(element.dataset[kind]));
  });
  redraw();
}

function sort(header) {
  const table = header.closest("table");
  const place = header.cellIndex;
  const rising = header.getAttribute("aria-sort") !== "ascending";
  all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => row.cells[place].textContent;
  const number = (row) => Number(value(row).split(" ")[0].replace(/[,[\]]/g, "")); // the first of a cell
  const order = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || (rising ? 1 : -1) * value(a).localeCompare(value(b));
    return rising ? x - y : y - x; // what is no number stays last
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
}

all('[role="tab"]').forEach((tab, place, tabs) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    open(next);
  });
});
all("fieldset input").forEach((box) => box.addEventListener("change", filter));
all("th[aria-sort] button").forEach((button) => button.addEventListener("click", () => sort(button.closest("th"))));
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  redraw();
});
const preference = matchMedia("(prefers-color-scheme: dark)");
const follow = () => {
  root.dataset.theme = preference.matches ? "dark" : "light";
  redraw();
};
preference.addEventListener("change", follow);
follow();
open(document.querySelector('[role="tab"]'));
filter(); // browsers keep boxes as they were over a reload
all(".plot").forEach((place) => sight.observe(place));
