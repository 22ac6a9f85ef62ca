// A table of numbers whose cells are buttons: a confusion matrix. Arrow keys walk, Enter and a click choose.

const make = (tag, parent, attributes = {}, text) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};

function render({ model, el }) {
  el.classList.add("lk-matrix");
  let cells = [];

  const mark = () => {
    const [row, column] = model.get("selected");
    cells.forEach((line, i) => line.forEach((cell, j) => {
      const chosen = i === row && j === column;
      cell.setAttribute("aria-pressed", chosen);
      cell.tabIndex = chosen || (row === undefined && i + j === 0) ? 0 : -1;
    }));
  };
  const choose = (i, j) => {
    const [row, column] = model.get("selected");
    model.set("selected", row === i && column === j ? [] : [i, j]);
    model.save_changes();
  };
  const walk = (event, i, j) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.stopPropagation(); // not the notebook's command mode
    if (!step) return;
    event.preventDefault();
    const next = cells[i + step[0]]?.[j + step[1]];
    if (!next) return;
    for (const line of cells) for (const cell of line) cell.tabIndex = cell === next ? 0 : -1;
    next.focus();
  };
  const draw = () => {
    const { rows, columns, values, axes } = model.get("table");
    el.replaceChildren();
    const table = make("table", el, { role: "grid", "aria-label": model.get("label") });
    el.classList.toggle("lk-many", (columns ?? []).length > 5 && columns.some((name) => name.length > 5));
    const top = make("tr", make("thead", table));
    make("th", top, {}, axes ?? "");
    for (const name of columns ?? []) make("span", make("th", top, { scope: "col", title: name }), {}, name);
    const body = make("tbody", table);
    cells = (values ?? []).map((line, i) => {
      const row = make("tr", body), whole = line.reduce((a, b) => a + b, 0) || 1;
      make("th", row, { scope: "row", title: rows[i] }, rows[i]);
      return line.map((value, j) => {
        const button = make("button", make("td", row), { type: "button" }, value.toLocaleString());
        button.setAttribute("aria-label", `${rows[i]} → ${columns[j]}: ${value}`);
        button.style.setProperty("--lk-share", value / whole);
        button.classList.add(i === j ? "lk-right" : "lk-wrong");
        button.addEventListener("click", () => choose(i, j));
        button.addEventListener("keydown", (event) => walk(event, i, j));
        return button;
      });
    });
    mark();
  };
  model.on("change:table change:label", draw);
  model.on("change:selected", mark);
  draw();
  return () => {
    model.off("change:table change:label", draw);
    model.off("change:selected", mark);
  };
}

export default { render };
