"use strict";
// Tabs, the filter, sorting, the theme, and drawing each figure when it comes into sight.

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const drawn = new Set();
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"; // of base 85
let figures = {}, lists = []; // once they are unpacked: by key; what their traces name by its place

// JSON in gzip in base 85: five digits are four bytes.
async function unpack(element) {
  const text = element.textContent;
  const values = new Map([...DIGITS].map((digit, value) => [digit, value]));
  const bytes = new DataView(new ArrayBuffer((text.length / 5) * 4));
  for (let i = 0; i < text.length; i += 5) {
    let word = 0;
    for (let j = i; j < i + 5; j++) word = word * 85 + values.get(text[j]);
    bytes.setUint32((i / 5) * 4, word);
  }
  const packed = new Blob([bytes.buffer.slice(0, element.dataset.bytes)]).stream();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).json();
}

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
    visible: (trace.meta.models || [trace.meta.model]).every((model) => models.has(model)),
    ...(trace.meta.ink ? { marker: { ...trace.marker, color: ink } } : {}),
  }));
  return { data, layout };
}

// A copy of a figure, for Plotly writes to what it is given, with its lists.
function whole(figure) {
  const filled = (trace) => Object.fromEntries(Object.entries(trace).map(([key, value]) => [key, lists[value?.list] ?? value]));
  return structuredClone({ ...figure, data: figure.data.map(filled) });
}

function draw(place) {
  const { data, layout } = dressed(whole(figures[place.dataset.figure]));
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

// A box that has more to the right fades there.
function fade(box) {
  box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
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
  const seed = document.getElementById("seed").value;
  all("[data-data], [data-model]").forEach((element) => {
    const { dataset } = element;
    const other = Object.entries(kinds).some(([kind, kept]) => kind in dataset && !kept.has(dataset[kind]));
    element.hidden = other || ("seeds" in dataset && !dataset.seeds.split(" ").includes(seed));
  });
  all(".varied").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    [...table.rows].forEach((row) => heads.forEach((head, i) => { row.cells[i].hidden = head.hidden; }));
  });
  redraw();
}

function showColumn(box) {
  const table = box.closest("details").nextElementSibling.querySelector("table");
  [...table.rows].forEach((row) => { row.cells[box.dataset.column].hidden = !box.checked; });
}

function copy(button) {
  navigator.clipboard.writeText(button.nextElementSibling.textContent).then(
    () => { button.textContent = "Copied"; },
    () => getSelection().selectAllChildren(button.nextElementSibling), // where pages may not copy
  );
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
all("fieldset input, #seed").forEach((box) => box.addEventListener("change", filter));
all("[data-column]").forEach((box) => box.addEventListener("change", () => showColumn(box)));
all(".copy").forEach((button) => button.addEventListener("click", () => copy(button)));
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
all("[data-column]").forEach(showColumn);
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => fade(entry.target.closest(".wide"))));
all(".wide").forEach((box) => {
  box.addEventListener("scroll", () => fade(box));
  [box, box.firstElementChild].forEach((one) => sizes.observe(one));
});
Promise.all(["plotly", "figures"].map((name) => unpack(document.getElementById(name)))).then(([plotly, content]) => {
  const code = document.createElement("script");
  code.textContent = plotly;
  document.head.append(code);
  ({ figures, lists } = content);
  all(".plot").forEach((place) => sight.observe(place));
}, () => all(".plot").forEach((place) => {
  place.textContent = "This browser cannot unpack the figures; they are in the folder figures beside this page.";
}));
