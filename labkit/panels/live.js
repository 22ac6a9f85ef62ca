// The live curves: loss and F1 over steps, drawn as SVG from a history and what comes after it.
//
// kernel → page: snapshot {seq, series, info} | append {from, seq, series, info} | over {data}
// page → kernel: hello | ack {seq}
// A series is [steps, values] under "split/name"; null is a value that is not finite. What the page shows is a pure
// function of the records up to `seq`; a gap, a reload or a second page says hello again and is told everything.

const NS = "http://www.w3.org/2000/svg";
const SPLITS = ["train", "validation"];
const HEIGHT = 230, LEFT = 48, RIGHT = 12, TOP = 10, BOTTOM = 24;
const MOST = 4000; // points kept of a series; more are thinned to half
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

const shown = (value) => (value === null ? "–" : value.toPrecision(4));

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

// One plot: axes, a line a split, and a cursor that the pointer or the arrow keys move.
class Plot {
  constructor(parent, name, words) {
    this.name = name;
    this.cursor = null;
    this.lines = {};
    this.words = words;
    this.labels = {};
    const figure = make("figure", parent);
    const caption = make("figcaption", figure, {}, words[name]);
    for (const split of SPLITS) {
      const key = make("svg", caption, { width: 26, height: 10, class: `lk-${split}`, "aria-hidden": "true" });
      make("path", key, { d: "M0 5H26", class: "lk-line" });
      this.labels[split] = make("span", caption, {}, words[split]);
    }
    this.svg = make("svg", figure, { height: HEIGHT, role: "img", tabindex: 0 });
    this.tip = make("div", figure, { class: "lk-tip", hidden: "" });
    this.svg.addEventListener("pointermove", (event) => {
      this.point((event.offsetX - LEFT) / (this.width - LEFT - RIGHT));
    });
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  draw(series) {
    this.series = Object.fromEntries(SPLITS.map((s) => [s, series[`${s}/${this.name}`] ?? [[], []]]));
    this.width = this.svg.clientWidth || 380;
    const values = SPLITS.flatMap((s) => this.series[s][1]).filter((v) => v !== null);
    const least = values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const last = Math.max(1, ...Object.values(series).map(([x]) => x.at(-1) ?? 1));
    const xs = ticks(0, last);
    const ys = this.name !== "loss" ? [0, 0.25, 0.5, 0.75, 1] : values.length ? ticks(least, most) : [0, 1];
    this.right = xs.at(-1);
    [this.low, this.high] = [ys[0], ys.at(-1)];
    this.grid(xs, ys);
    for (const split of SPLITS) this.line(split);
    if (this.cursor !== null) this.show();
  }

  x(step) {
    return LEFT + ((this.width - LEFT - RIGHT) * step) / this.right;
  }

  y(value) {
    return HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - this.low)) / (this.high - this.low || 1);
  }

  grid(xs, ys) {
    const stamp = [this.width, ...xs, ...ys].join();
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.axes?.remove();
    this.axes = make("g", null, { class: "lk-axes" });
    this.svg.prepend(this.axes);
    const end = this.width - RIGHT;
    make("path", this.axes, { d: ys.map((y) => `M${LEFT} ${this.y(y).toFixed(1)}H${end}`).join("") });
    for (const y of ys) make("text", this.axes, { x: LEFT - 6, y: this.y(y) + 4, "text-anchor": "end" }, String(y));
    for (const x of xs) make("text", this.axes, { x: this.x(x), y: HEIGHT - 8, "text-anchor": "middle" }, String(x));
  }

  line(split) {
    const [x, y] = this.series[split];
    const [line, marks] = (this.lines[split] ??= ["line", "marks"].map((part) =>
      make("path", this.svg, { class: `lk-${part} lk-${split}`, "data-series": `${split}/${this.name}` }),
    ));
    const mark = split === "train" ? "m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0" : "m-3 -3h6v6h-6z";
    let path = "", dots = "", pen = "M";
    for (let i = 0; i < x.length; i++) {
      if (y[i] === null) {
        pen = "M";
        continue;
      }
      const at = `${this.x(x[i]).toFixed(1)} ${this.y(y[i]).toFixed(1)}`;
      path += pen + at;
      pen = "L";
      if (x.length <= 40) dots += `M${at}${mark}`;
    }
    line.setAttribute("d", path);
    line.setAttribute("data-points", x.length);
    marks.setAttribute("d", dots);
    this.labels[split].textContent = x.length ? `${this.words[split]} ${shown(y.at(-1))}` : this.words[split];
  }

  point(share) {
    this.cursor = share === null ? null : Math.min(Math.max(share, 0), 1) * this.right;
    this.show();
  }

  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation(); // not the notebook's command mode
    const steps = [...new Set(SPLITS.flatMap((s) => this.series[s][0]))].sort((a, b) => a - b);
    const here = steps.findIndex((step) => step >= (this.cursor ?? Infinity));
    this.cursor = steps.at(Math.min(Math.max((here < 0 ? steps.length : here) + move, 0), steps.length - 1)) ?? null;
    this.show();
  }

  show() {
    this.hair ??= make("line", this.svg, { class: "lk-hair", y1: TOP, y2: HEIGHT - BOTTOM });
    const said = [];
    for (const split of this.cursor === null ? [] : SPLITS) {
      const [x, y] = this.series[split];
      if (!x.length) continue;
      let best = 0;
      for (let i = 1; i < x.length; i++) if (Math.abs(x[i] - this.cursor) < Math.abs(x[best] - this.cursor)) best = i;
      said.push(`${this.words[split]} ${x[best]}: ${shown(y[best])}`);
    }
    this.tip.hidden = !said.length;
    this.tip.textContent = said.join("   ");
    this.hair.style.display = said.length ? "" : "none";
    if (said.length) for (const end of ["x1", "x2"]) this.hair.setAttribute(end, this.x(this.cursor));
  }
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
    this.facts = make("div", parent, { class: "lk-facts" });
  }

  draw(info) {
    this.name.textContent = info.name;
    if (this.status.textContent !== info.word) this.status.textContent = info.word;
    this.status.dataset.status = info.status;
    this.message.textContent = info.message;
    this.bar.setAttribute("aria-valuenow", info.step);
    this.bar.setAttribute("aria-valuemax", info.steps || 1);
    this.done.style.width = `${(100 * info.step) / Math.max(info.steps, info.step, 1)}%`;
    this.facts.textContent = info.facts.join(" · ");
  }
}

// Put the static result where the panel was in the notebook, so that it is saved. The kernel does so too, but a page
// that was reloaded does not know the output's display id. Only JupyterLab and Notebook let a widget reach the cells.
function keep(model, data) {
  const root = model.get("root");
  for (const cell of model.widget_manager?.context?.model?.cells ?? []) {
    const outputs = cell.outputs;
    for (let i = 0; i < (outputs?.length ?? 0); i++) {
      const view = outputs.get(i).data?.["application/vnd.jupyter.widget-view+json"];
      if (view?.model_id === root) outputs.set(i, { output_type: "display_data", data, metadata: {} });
    }
  }
}

function render({ model, el }) {
  const words = model.get("words");
  el.classList.add("labkit-live");
  const head = new Head(el, words);
  const charts = make("div", el, { class: "lk-charts" });
  const plots = ["loss", words.second].map((name) => new Plot(charts, name, words));
  let seq = -1, series = {}, timer, ending, asked = 0;

  const draw = () => plots.forEach((plot) => plot.draw(series));
  const hello = () => {
    clearTimeout(timer);
    model.send({ type: "hello" });
    timer = setTimeout(() => ++asked < 5 && hello(), PATIENCE);
  };
  const tell = (info) => {
    head.draw(info);
    for (const plot of plots) plot.svg.setAttribute("aria-label", `${words[plot.name]}. ${info.spoken}`);
  };
  const heard = (message) => {
    if (message.type === "snapshot") {
      clearTimeout(timer);
      asked = 0;
      ({ seq, series } = message);
      model.send({ type: "ack", seq });
    } else if (message.type === "append" && seq >= 0 && message.seq >= seq) {
      if (message.from > seq) return hello();
      if (message.seq > seq) append(series, message.series);
      seq = message.seq;
    } else if (message.type === "over") {
      clearTimeout(ending);
      ending = setTimeout(() => keep(model, message.data), GRACE);
      return;
    } else return;
    el.dataset.seq = seq;
    tell(message.info);
    draw();
  };

  const resized = new ResizeObserver(() => seq >= 0 && draw());
  resized.observe(charts);
  model.on("msg:custom", heard);
  draw();
  hello();
  return () => {
    clearTimeout(timer);
    clearTimeout(ending);
    resized.disconnect();
    model.off("msg:custom", heard);
  };
}

export default { render };
