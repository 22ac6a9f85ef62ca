// The live curves: what a run measures over its steps, drawn as SVG from a history and what comes after it.
//
// kernel → page: snapshot {seq, series, reveal, info} | append {from, seq, series, info} | over {data}
// page → kernel: hello | ack {seq}
// The trait `charts` describes the plots: {title, lines: [{key, label, fill, dashed, smooth}],
// rules: [{value, note}], range, log, small}; small ones are folded, rules are lines across the plot.
// A series is [steps, values] under its key; null is a value that is not finite. What the page shows is a pure
// function of the records up to `seq`; a gap, a reload or a second page says hello again and is told everything.

const NS = "http://www.w3.org/2000/svg";
const LEFT = 48, RIGHT = 20, TOP = 18, BOTTOM = 24;
const MOST = 4000; // points kept of a series; more are thinned to half
const FEW = 40; // points up to which each is marked
const PATIENCE = 4000; // ms until hello is said again
const GRACE = 1500; // ms the kernel has to replace the output itself when a run ends

const make = (tag, parent, attributes = {}, text) => {
  const svg = ["svg", "path", "text", "g", "circle", "line"].includes(tag);
  const node = svg ? document.createElementNS(NS, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};

// About five round numbers that cover low to high.
function ticks(low, high) {
  const rough = Math.max(high - low, Math.abs(high) * 1e-9, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toFixed(12));
}

// Half of MOST points: the first, the last, and the least and greatest of equal shares between them.
function thin([x, y]) {
  const share = (x.length - 2) / (MOST / 4 - 1);
  const chosen = new Set([0, x.length - 1]);
  for (let from = 1; from < x.length - 1; from += share) {
    const part = [];
    for (let i = Math.floor(from); i < Math.min(from + share, x.length - 1); i++) if (y[i] !== null) part.push(i);
    if (!part.length) continue;
    chosen.add(part.reduce((a, b) => (y[b] < y[a] ? b : a)));
    chosen.add(part.reduce((a, b) => (y[b] > y[a] ? b : a)));
  }
  const kept = [...chosen].sort((a, b) => a - b);
  return [kept.map((i) => x[i]), kept.map((i) => y[i])];
}

const shown = (value) => {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size >= 1e4 || (size && size < 1e-3) ? brief(value) : value.toPrecision(4);
};
const brief = (value) => {
  const size = Math.abs(value);
  if (size >= 1e4) return `${+(value / (size >= 1e6 ? 1e6 : 1e3)).toPrecision(4)}${size >= 1e6 ? "M" : "k"}`;
  return size && size < 1e-3 ? (+value.toPrecision(3)).toExponential() : String(+value.toPrecision(6));
};
const paint = (node, { fill, dashed }) => {
  node.style.setProperty("--lk-mine", `var(--lk-fill-${fill})`);
  node.classList.toggle("lk-dashed", dashed);
  return node;
};

function append(series, news) {
  for (const [key, [x, y]] of Object.entries(news)) {
    const old = (series[key] ??= [[], []]);
    for (let i = 0; i < x.length; i++) {
      old[0].push(x[i]);
      old[1].push(y[i]);
    }
    if (old[0].length > MOST) series[key] = thin(old);
  }
}

// Powers of ten, each with its double and fivefold where there are few, that cover low to high.
function powers(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
  const steps = last - first > 3 ? [1] : [1, 2, 5];
  const all = [];
  for (let k = first; k <= last; k++) for (const m of steps) all.push(m * 10 ** k);
  const begin = all.findLastIndex((v) => v <= low * 1.0001), end = all.findIndex((v) => v >= high * 0.9999);
  return all.slice(Math.max(begin, 0), Math.max(end < 0 ? all.length : end, begin + 1) + 1);
}

// A running mean whose beginning is not drawn to zero (Kingma and Ba's correction); gaps stay gaps.
function smooth(y, weight) {
  let mean = 0, seen = 0;
  return y.map((v) => {
    if (v === null) return null;
    mean = mean * weight + v * (1 - weight);
    return mean / (1 - weight ** ++seen);
  });
}

// One plot: axes, its lines, a legend at its side, and a cross-hair that the pointer or the arrow keys move in all plots
// at once. `view` is how all plots are shown and where the cross-hair is.
class Plot {
  constructor(parent, chart, view, words) {
    Object.assign(this, { chart, view, words, height: chart.small ? 130 : 210, series: {} });
    const figure = make("figure", parent, { class: chart.small ? "lk-small" : "" });
    const caption = make("figcaption", figure);
    make("b", caption, {}, chart.title);
    this.tip = make("span", caption, { class: "lk-tip" });
    const row = make("div", figure, { class: "lk-plot" });
    this.svg = make("svg", row, { height: this.height, role: "img", tabindex: 0, "aria-label": chart.title });
    const named = chart.lines.some((line) => line.label);
    const legend = named ? make("div", row, { class: "lk-legend", style: `height: ${this.height}px` }) : caption;
    this.lines = chart.lines.map((line) => {
      const label = make("div", legend, { title: line.label });
      if (line.label) {
        const key = make("svg", label, { width: 20, height: 10, "aria-hidden": "true" });
        paint(make("path", key, { d: "M0 5H20", class: "lk-line" }), line);
        make("span", label, {}, line.label);
      }
      return { ...line, said: make("span", label, { class: "lk-value" }) };
    });
    this.svg.addEventListener("pointermove", (event) => {
      this.point((event.offsetX - LEFT) / (this.width - LEFT - RIGHT));
    });
    this.svg.addEventListener("pointerleave", () => view.move(null));
    this.svg.addEventListener("blur", () => view.move(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  draw(series) {
    this.log = Boolean(this.view.log && this.chart.log);
    this.series = {};
    for (const { key, smooth: wanted } of this.lines) {
      const [x, y] = series[key] ?? [[], []];
      const raw = this.log ? y.map((v) => (v > 0 ? v : null)) : y;
      const weight = wanted && x.length > FEW / 2 ? this.view.smoothing : 0;
      this.series[key] = { x, raw, y: weight ? smooth(raw, weight) : raw };
    }
    this.width = this.svg.clientWidth || 380;
    const values = Object.values(this.series).flatMap(({ raw }) => raw).filter((v) => v !== null);
    this.rules = values.length ? this.chart.rules.filter(({ value }) => !this.log || value > 0) : [];
    values.push(...this.rules.map(({ value }) => value));
    const least = values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const last = Math.max(1, ...Object.values(series).map(([x]) => x.at(-1) ?? 1));
    this.right = this.end(last);
    const xs = ticks(0, this.right).filter((x) => x <= this.right);
    const ys = this.chart.range ? [0, 0.25, 0.5, 0.75, 1] : !values.length ? [0, 1]
      : this.log ? powers(least, most) : most > least ? ticks(least, most) : ticks(least - Math.abs(least) / 9, most + Math.abs(most) / 9);
    [this.low, this.high] = [this.at(ys[0]), this.at(ys.at(-1))];
    this.grid(xs, ys);
    this.none ??= make("text", this.svg, { class: "lk-none", y: this.height / 2, "text-anchor": "middle" }, this.words.nothing);
    this.none.setAttribute("x", (this.width + LEFT - RIGHT) / 2);
    this.none.style.display = values.length ? "none" : "";
    for (const line of this.lines) this.line(line);
    this.show();
  }

  // Where the axis of steps ends: at the last step of the run from a quarter of it on, and of one that has ended where it
  // ended; before, at a round number, so that the first steps are not squeezed.
  end(last) {
    const { steps = 0, over } = this.view;
    return over ? last : steps >= last && last >= steps / 4 ? steps : ticks(0, last).at(-1);
  }

  at(value) {
    return this.log ? Math.log10(value) : value;
  }

  x(step) {
    return LEFT + ((this.width - LEFT - RIGHT) * step) / this.right;
  }

  y(value) {
    const inside = this.height - TOP - BOTTOM;
    return this.height - BOTTOM - (inside * (this.at(value) - this.low)) / (this.high - this.low || 1);
  }

  grid(xs, ys) {
    const { epochs, steps } = this.view;
    const stamp = [this.width, this.log, this.right, epochs, steps, this.rules.length, ...xs, ...ys].join();
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.axes?.remove();
    this.axes = make("g", null, { class: "lk-axes" });
    this.svg.prepend(this.axes);
    make("path", this.axes, { d: ys.map((y) => `M${LEFT} ${this.y(y)}H${this.width - RIGHT}`).join("") });
    for (const y of ys) make("text", this.axes, { x: LEFT - 6, y: this.y(y) + 4, "text-anchor": "end" }, brief(y));
    for (const x of xs) {
      make("text", this.axes, { x: this.x(x), y: this.height - 6, "text-anchor": "middle" }, brief(x));
    }
    make("text", this.axes, { x: 2, y: this.height - 6, class: "lk-axis-name" }, this.words.step);
    if (epochs && steps) this.epochs(steps / epochs);
    for (const { value, note } of this.rules) {
      const y = this.y(value);
      make("path", this.axes, { d: `M${LEFT} ${y}H${this.width - RIGHT}`, class: "lk-rule" });
      const narrow = this.width - LEFT - RIGHT < 7 * note.length;
      make("text", this.axes, { x: this.width - RIGHT, y: y - 4, "text-anchor": "end" }, narrow ? brief(value) : note);
    }
  }

  // A dotted line at the end of every epoch, or of every few where there are many; the numbers are an axis at the top.
  epochs(each) {
    const room = Math.max(1, Math.ceil((28 * this.right) / ((this.width - LEFT - RIGHT) * each)));
    let path = "";
    for (let epoch = room; epoch * each <= this.right * 1.0001 && path.length < 5000; epoch += room) {
      const x = this.x(epoch * each).toFixed(1);
      path += `M${x} ${TOP}V${this.height - BOTTOM}`;
      if (!this.chart.small) make("text", this.axes, { x, y: 10, "text-anchor": "middle", class: "lk-epoch" }, epoch);
    }
    if (path && !this.chart.small) make("text", this.axes, { x: 2, y: 10, class: "lk-epoch" }, this.words.epoch);
    make("path", this.axes, { d: path, class: "lk-epoch" });
  }

  line(line) {
    const { x, y, raw } = this.series[line.key];
    if (!line.drawn) {
      line.faint = paint(make("path", this.svg, { class: "lk-line lk-faint" }), line);
      line.drawn = paint(make("path", this.svg, { class: "lk-line", "data-series": line.key }), line);
      line.marks = paint(make("path", this.svg, { class: "lk-marks" }), line);
    }
    line.drawn.setAttribute("d", this.path(x, y));
    line.drawn.setAttribute("data-points", x.length);
    line.faint.setAttribute("d", y === raw ? "" : this.path(x, raw));
    const mark = line.dashed ? "m-3 -3h6v6h-6z" : "m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0";
    const few = x.length <= FEW && y === raw;
    const dots = few ? x.map((step, i) => (y[i] === null ? "" : `M${this.place(step, y[i])}${mark}`)) : [];
    line.marks.setAttribute("d", dots.join(""));
  }

  place(step, value) {
    return `${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}`;
  }

  path(x, y) {
    let path = "", pen = "M";
    for (let i = 0; i < x.length; i++) {
      if (y[i] !== null) path += pen + this.place(x[i], y[i]);
      pen = y[i] === null ? "M" : "L";
    }
    return path;
  }

  get recorded() {
    return [...new Set(Object.values(this.series).flatMap(({ x }) => x))].sort((a, b) => a - b);
  }

  // Move the cross-hair to the recorded step next to this share of the axis.
  point(share) {
    const wanted = Math.min(Math.max(share, 0), 1) * this.right;
    const all = this.recorded;
    this.view.move(all.length ? all[nearest(all, wanted)] : null);
  }

  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation(); // not the notebook's command mode
    const steps = this.recorded;
    const here = steps.findIndex((step) => step >= (this.view.cursor ?? Infinity));
    this.view.move(steps.at(Math.min(Math.max((here < 0 ? steps.length : here) + move, 0), steps.length - 1)) ?? null);
  }

  // The cross-hair, and in the legend the values there; without one the last values.
  show() {
    this.hair ??= make("line", this.svg, { class: "lk-hair", y1: TOP, y2: this.height - BOTTOM });
    const { cursor, epochs, steps } = this.view;
    for (const { key, said } of this.lines) {
      const { x, raw } = this.series[key] ?? { x: [] };
      const best = !x.length ? -1 : cursor === null ? x.length - 1 : nearest(x, cursor);
      said.textContent = best < 0 ? "" : shown(raw[best]);
      said.classList.toggle("lk-away", cursor !== null && best >= 0 && x[best] !== cursor);
      said.title = best < 0 ? "" : this.words.step_at.replace("{step}", x[best]);
    }
    const parts = cursor === null ? [] : [this.words.step_at.replace("{step}", cursor)];
    if (parts.length && epochs && steps) parts.push(this.words.epoch_at.replace("{epoch}", Math.ceil((cursor * epochs) / steps) || 1));
    this.tip.textContent = this.chart.small ? "" : parts.join(" · ");
    this.hair.style.display = parts.length && cursor <= this.right ? "" : "none";
    if (parts.length) for (const end of ["x1", "x2"]) this.hair.setAttribute(end, this.x(cursor));
  }
}

// The place of the value in ascending `all` that is next to `wanted`.
function nearest(all, wanted) {
  const after = all.findIndex((value) => value >= wanted);
  if (after <= 0) return after < 0 ? all.length - 1 : 0;
  return all[after] - wanted < wanted - all[after - 1] ? after : after - 1;
}

// Smoothing and logarithmic scale: how the plots are shown, kept in the model so that a reload does not lose it.
function tools(parent, model, words, view, redraw) {
  const line = make("div", parent, { class: "lk-tools" });
  const label = make("label", line, {}, `${words.smoothing} `);
  const slider = make("input", label, { type: "range", min: 0, max: 0.99, step: 0.01 });
  const amount = make("output", label);
  const other = make("label", line);
  const box = make("input", other, { type: "checkbox" });
  make("span", other, {}, ` ${words.log_scale}`);
  const read = () => {
    Object.assign(view, { smoothing: model.get("smoothing"), log: model.get("log") });
    slider.value = view.smoothing;
    amount.textContent = view.smoothing.toFixed(2);
    box.checked = view.log;
    redraw();
  };
  const write = () => {
    model.set({ smoothing: +slider.value, log: box.checked });
    read();
  };
  slider.addEventListener("input", write);
  box.addEventListener("input", write);
  for (const control of [slider, box]) {
    control.addEventListener("change", () => model.save_changes());
    control.addEventListener("keydown", (event) => event.stopPropagation());
  }
  model.on("change:smoothing change:log", read);
  read();
  return () => model.off("change:smoothing change:log", read);
}

// Name, state, progress and facts; the state is announced, and only when it changes.
class Head {
  constructor(parent, words) {
    const line = make("div", parent, { class: "lk-head" });
    this.name = make("strong", line);
    this.status = make("span", line, { class: "lk-status", role: "status", "aria-live": "polite" });
    this.message = make("span", line, { class: "lk-message" });
    this.bar = make("div", parent, { class: "lk-bar", role: "progressbar", "aria-valuemin": 0, "aria-label": words.progress });
    this.done = make("div", this.bar);
    const known = make("div", parent, { class: "lk-known" });
    this.help = make("span", known, { class: "lk-explained", tabindex: 0 }, "ⓘ");
    this.facts = make("div", known, { class: "lk-facts" });
  }

  draw(info) {
    this.name.textContent = info.name;
    if (this.status.textContent !== info.word) this.status.textContent = info.word;
    this.status.dataset.status = info.status;
    this.message.textContent = info.message;
    this.bar.setAttribute("aria-valuenow", info.step);
    this.bar.setAttribute("aria-valuemax", info.steps || 1);
    this.done.style.width = `${(100 * info.step) / Math.max(info.steps, info.step, 1)}%`;
    // One text: parts of their own would push each other. It breaks between facts only, not inside "9.2e-6".
    this.facts.textContent = info.facts.map((fact) => fact.replaceAll(" ", "\u00a0").replaceAll("-", "-\u2060")).join(" · ");
    const help = info.facts.map((fact, i) => (info.helps?.[i] ? `${fact}: ${info.helps[i]}` : "")).filter(Boolean).join("\n");
    this.help.title = this.facts.title = help;
    this.help.setAttribute("aria-label", help);
  }
}

// Put the static result next to the panel in the notebook, so that it is saved. The kernel does so too, but a page that
// was reloaded does not know the output's display id. Only JupyterLab and Notebook let a widget reach the cells.
function keep(model, { data }) {
  const root = model.get("root"), output = { output_type: "display_data", data, metadata: {} };
  for (const cell of model.widget_manager?.context?.model?.cells ?? []) {
    const outputs = cell.outputs, all = Array.from({ length: outputs?.length ?? 0 }, (_, i) => outputs.get(i));
    const mine = all.findIndex((one) => one.data?.["application/vnd.jupyter.widget-view+json"]?.model_id === root);
    if (mine < 0) continue;
    const old = all.findIndex((one) => String(one.data?.["text/html"] ?? "").includes("labkit-kept"));
    if (old >= 0) outputs.set(old, output);
    else outputs.add(output);
  }
}

// Scroll a panel that is out of the window into it. JupyterLab lays out the cells above only as they come into view, so
// this is repeated for a moment, unless the user acts.
function reveal(panel) {
  const acts = ["wheel", "pointerdown", "keydown"];
  const stop = () => {
    clearInterval(timer);
    acts.forEach((act) => window.removeEventListener(act, stop, true));
  };
  const look = () => {
    const { top, bottom } = panel.getBoundingClientRect();
    if (top > window.innerHeight - 100 || bottom < 100) panel.scrollIntoView({ block: "center" });
  };
  const timer = setInterval(look, 150);
  acts.forEach((act) => window.addEventListener(act, stop, true));
  setTimeout(stop, 2500);
  look();
}

function render({ model, el }) {
  const words = model.get("words");
  el.classList.add("labkit-live");
  const head = new Head(el, words);
  const bar = make("div", el);
  const box = make("div", el, { class: "lk-charts" });
  const folded = make("details", el, { class: "lk-system" });
  make("summary", folded, {}, words.system);
  const system = make("div", folded, { class: "lk-charts" });
  const view = { smoothing: model.get("smoothing"), log: false, cursor: null };
  view.move = (step) => {
    if (step === view.cursor) return;
    view.cursor = step;
    plots.forEach((plot) => plot.show());
  };
  let plots = [], seq = -1, series = {}, info, timer, ending, asked = 0;

  const draw = () => plots.forEach((plot) => plot.draw(series));
  const build = () => {
    box.replaceChildren();
    system.replaceChildren();
    plots = model.get("charts").map((chart) => new Plot(chart.small ? system : box, chart, view, words));
    folded.hidden = !plots.some((plot) => plot.chart.small);
    if (info) tell();
    draw();
  };
  const hello = () => {
    clearTimeout(timer);
    model.send({ type: "hello" });
    timer = setTimeout(() => ++asked < 5 && hello(), PATIENCE);
  };
  const tell = () => {
    head.draw(info);
    Object.assign(view, { steps: info.steps, epochs: info.epochs, over: info.over });
    for (const plot of plots) {
      plot.svg.setAttribute("aria-label", plot.chart.small ? plot.chart.title : `${plot.chart.title}. ${info.spoken}`);
    }
  };
  const heard = (message) => {
    if (message.type === "snapshot") {
      clearTimeout(timer);
      asked = 0;
      ({ seq, series } = message);
      model.send({ type: "ack", seq });
      if (message.reveal) reveal(el.closest(".labkit-panel") ?? el);
    } else if (message.type === "append" && seq >= 0 && message.seq >= seq) {
      if (message.from > seq) return hello();
      if (message.seq > seq) append(series, message.series);
      seq = message.seq;
    } else if (message.type === "over") {
      clearTimeout(ending);
      ending = setTimeout(() => keep(model, message), GRACE);
      return;
    } else return;
    el.dataset.seq = seq;
    info = message.info;
    tell();
    draw();
  };

  const resized = new ResizeObserver(() => seq >= 0 && draw());
  resized.observe(box);
  resized.observe(system);
  folded.open = model.get("unfolded");
  folded.addEventListener("toggle", () => {
    model.set("unfolded", folded.open);
    model.save_changes();
  });
  model.on("msg:custom", heard);
  model.on("change:charts", build);
  build();
  const untool = model.get("tools") ? tools(bar, model, words, view, draw) : () => {};
  hello();
  return () => {
    clearTimeout(timer);
    clearTimeout(ending);
    resized.disconnect();
    untool();
    model.off("msg:custom", heard);
    model.off("change:charts", build);
  };
}

export default { render };
