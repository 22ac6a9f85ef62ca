// A table whose rows can be chosen: by a click, or with the arrow keys and Enter.

function render({ model, el }) {
  el.classList.add("lk-rows");
  let lines = [];
  let typed = false; // a key has decided on a row: the focus follows the choice that the kernel makes

  const mark = (focus) => {
    const chosen = model.get("chosen");
    lines.forEach((line, number) => {
      line.setAttribute("aria-selected", number === chosen);
      line.tabIndex = number === (chosen < 0 ? 0 : chosen) ? 0 : -1;
    });
    if (focus) lines[chosen]?.focus();
  };
  const choose = (number) => {
    typed = false;
    if (number < 0 || number >= lines.length) return;
    model.set("chosen", number);
    model.save_changes();
    mark(true);
  };
  const draw = () => {
    const [head, rows, numeric] = ["head", "rows", "numeric"].map((key) => model.get(key));
    el.replaceChildren();
    el.hidden = !rows.length;
    const table = document.createElement("table");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", model.get("label"));
    const line = (parent, tag, values) => {
      const row = document.createElement("tr");
      values.forEach((value, place) => {
        const cell = document.createElement(tag);
        cell.textContent = value;
        cell.title = value;
        if (tag === "th") cell.scope = "col";
        else cell.setAttribute("role", "gridcell");
        if (numeric.includes(place)) cell.className = "lk-number";
        row.append(cell);
      });
      parent.append(row);
      return row;
    };
    line(table.createTHead(), "th", head);
    const body = table.createTBody();
    lines = rows.map((values, number) => {
      const row = line(body, "td", values);
      row.addEventListener("click", () => choose(number));
      row.addEventListener("keydown", (event) => {
        if (model.get("hotkeys").includes(event.key) && !(event.ctrlKey || event.metaKey || event.altKey)) {
          event.stopPropagation(); // not the notebook's command mode
          event.preventDefault();
          typed = true;
          model.set("chosen", number);
          model.set("pressed", [model.get("pressed")[0] + 1, event.key]);
          return model.save_changes();
        }
        const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (!step && event.key !== "Enter" && event.key !== " ") return;
        event.stopPropagation(); // not the notebook's command mode
        event.preventDefault();
        choose(number + (step ?? 0));
      });
      return row;
    });
    el.append(table);
    mark(typed);
  };
  model.on("change:rows change:head change:label", draw);
  const again = () => mark(typed);
  model.on("change:chosen", again);
  draw();
  return () => {
    model.off("change:rows change:head change:label", draw);
    model.off("change:chosen", again);
  };
}

export default { render };
