// Search over window.labkitIndex and the choice between light and dark. No request leaves the page.
"use strict";

const base = document.body.dataset.base;
const query = document.getElementById("query");
const found = document.getElementById("found");
const list = document.getElementById("results");
const count = document.getElementById("count");
const MOST = 20;

function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

// Every word must occur; a word of the heading counts more than one of the text, a whole word more than a part.
function score(record, wanted) {
  const heading = record.heading.toLowerCase();
  const text = `${record.title} ${record.text}`.toLowerCase();
  let sum = 0;
  for (const word of wanted) {
    const inHeading = heading.includes(word);
    if (!inHeading && !text.includes(word)) return 0;
    if (inHeading) sum += heading.split(/[^\p{L}\p{N}_-]+/u).includes(word) ? 20 : 10;
    sum += Math.min(text.split(word).length - 1, 5);
  }
  return sum + (record.page.startsWith("reference/") ? 0 : 3);
}

function search(text) {
  const wanted = words(text);
  if (!wanted.length) return [];
  return window.labkitIndex
    .map((record) => ({ record, points: score(record, wanted) }))
    .filter((one) => one.points > 0)
    .sort((a, b) => b.points - a.points)
    .map((one) => one.record);
}

// The text around the first word that occurs, the words marked.
function excerpt(text, wanted) {
  const lower = text.toLowerCase();
  const first = Math.min(...wanted.map((word) => lower.indexOf(word)).filter((place) => place >= 0));
  const start = Number.isFinite(first) ? Math.max(0, first - 50) : 0;
  const piece = document.createElement("span");
  piece.className = "text";
  let rest = (start ? "…" : "") + text.slice(start, start + 150);
  while (rest) {
    const places = wanted.map((word) => [rest.toLowerCase().indexOf(word), word.length]).filter(([at]) => at >= 0);
    if (!places.length) break;
    const [at, length] = places.reduce((a, b) => (b[0] < a[0] ? b : a));
    const mark = document.createElement("mark");
    mark.textContent = rest.slice(at, at + length);
    piece.append(rest.slice(0, at), mark);
    rest = rest.slice(at + length);
  }
  piece.append(rest);
  return piece;
}

function show() {
  const wanted = words(query.value);
  const records = search(query.value);
  list.replaceChildren(
    ...records.slice(0, MOST).map((record) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `${base}${record.page}#${record.anchor}`;
      const heading = document.createElement("strong");
      heading.textContent = record.heading;
      const where = document.createElement("span");
      where.className = "where";
      where.textContent = record.heading === record.title ? "" : ` – ${record.title}`;
      link.append(heading, where, excerpt(record.text, wanted));
      item.append(link);
      return item;
    }),
  );
  count.textContent = records.length === 1 ? "1 result" : `${records.length} results`;
  found.hidden = !wanted.length;
}

function move(step) {
  const links = [...list.querySelectorAll("a")];
  const place = links.indexOf(document.activeElement) + step;
  (place < 0 ? query : links[Math.min(place, links.length - 1)] ?? query).focus();
}

query.addEventListener("input", show);
query.addEventListener("keydown", (event) => {
  if (event.key === "Enter") list.querySelector("a")?.click();
});
document.addEventListener("keydown", (event) => {
  const inside = event.target.closest(".search");
  if (event.key === "/" && !inside && !event.ctrlKey && !event.metaKey) {
    query.focus();
    event.preventDefault();
  } else if (event.key === "Escape" && inside) {
    found.hidden = true;
    query.focus();
  } else if (inside && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    move(event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("#results a");
  if (link || !event.target.closest(".search")) found.hidden = true;
});

// --- light and dark ---

const button = document.getElementById("theme");

function stored(value) {
  try {
    if (value) localStorage.setItem("labkit-docs-theme", value);
    return localStorage.getItem("labkit-docs-theme");
  } catch {
    return value; // a browser that keeps nothing for files
  }
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  button.setAttribute("aria-pressed", String(dark()));
}

button.addEventListener("click", () => {
  const theme = dark() ? "light" : "dark";
  stored(theme);
  paint(theme);
});
paint(stored());
