// The form and the answers. `about` describes the model, `words` holds the texts of the page by language.
"use strict";
const about = JSON.parse(document.getElementById("about").textContent);
const words = JSON.parse(document.getElementById("words").textContent);
const kind = about.text ? "text" : about.image ? "image" : "table";
let language = (navigator.language || "en").startsWith("zh") ? "zh" : "en";
const element = (id) => document.getElementById(id);
const word = (key) => words[language][key] || words.en[key];

async function unpacked(id) {
  const node = element(id);
  const text = atob(node.textContent.trim());
  node.textContent = "";
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

let session = null;
let tokenize = null;

async function run(feeds) {
  const found = await session.run(feeds);
  return Array.from(found[about.outputs[0]].data, Number);
}

const whole = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

async function answerText(text, pair = null) {
  const tokens = tokenize(text, pair);
  const shape = [1, tokens.ids.length];
  const all = { input_ids: tokens.ids, attention_mask: tokens.ids.map(() => 1), token_type_ids: tokens.types };
  return run(Object.fromEntries(about.inputs.map(({ name }) => [name, whole(all[name], shape)])));
}

// --- pictures: cover the size of the model, bilinear with a window that grows as the picture shrinks, as Pillow does ---

function weightsOf(from, to, count, limit) {
  const scale = (to - from) / count;
  const wide = Math.max(scale, 1);
  return Array.from({ length: count }, (_unused, place) => {
    const centre = from + (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - wide + 0.5), 0);
    const last = Math.min(Math.trunc(centre + wide + 0.5), limit);
    const found = [];
    for (let at = first; at < last; at += 1) found.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / wide)));
    const sum = found.reduce((a, b) => a + b, 0);
    return [first, found.map((each) => Math.round((each / sum) * 4194304))];
  });
}

const clipped = (value) => Math.min(255, Math.max(0, Math.floor((value + 2097152) / 4194304)));

function resized(pixels, width, height, channels, wide, high) {
  if (width === wide && height === high) return pixels;
  let [x, y] = [width, height];
  if (width / height > wide / high) x = (wide / high) * height;
  else if (width / height < wide / high) y = width / (wide / high);
  const [left, top] = [(width - x) * 0.5, (height - y) * 0.5];
  const across = weightsOf(left, left + x, wide, width);
  const down = weightsOf(top, top + y, high, height);
  const half = new Uint8Array(height * wide * channels);
  for (let row = 0; row < height; row += 1) {
    across.forEach(([first, weights], column) => {
      for (let c = 0; c < channels; c += 1) {
        let sum = 0;
        weights.forEach((weight, i) => { sum += weight * pixels[(row * width + first + i) * channels + c]; });
        half[(row * wide + column) * channels + c] = clipped(sum);
      }
    });
  }
  const found = new Uint8Array(high * wide * channels);
  down.forEach(([first, weights], row) => {
    for (let place = 0; place < wide * channels; place += 1) {
      let sum = 0;
      weights.forEach((weight, i) => { sum += weight * half[(first + i) * wide * channels + place]; });
      found[row * wide * channels + place] = clipped(sum);
    }
  });
  return found;
}

async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const { channels } = about.image;
  const found = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i += 1) {
    const share = data[4 * i + 3] / 255;
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(data[4 * i + c] * share + 255 * (1 - share)));
    if (channels === 1) found[i] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
    else found.set([r, g, b], 3 * i);
  }
  return resized(found, width, height, channels, about.image.width, about.image.height);
}

async function answerPixels(pixels) {
  const { height, width, channels, whole: bytes, peak } = about.image;
  const shape = [1, height, width, channels];
  const scaled = Array.from(pixels, (value) => (value * peak) / 255);
  const tensor = bytes
    ? new ort.Tensor("uint8", Uint8Array.from(scaled, (value) => {
      const down = Math.floor(value); // halves to even, as NumPy rounds
      return value - down === 0.5 ? down + (down % 2) : Math.round(value);
    }), shape)
    : new ort.Tensor("float32", Float32Array.from(scaled), shape);
  return run({ pixels: tensor });
}

const answerImage = async (blob) => answerPixels(await pixelsOf(blob));

// --- tables ---

function featuresOf(row) {
  const values = {};
  for (const column of about.table.columns) {
    const given = row[column.name];
    const missing = given === null || given === undefined || given === "" || Number.isNaN(given);
    if (column.kind === "category") {
      column.features.forEach((name, i) => { values[name] = !missing && column.words[i] === given ? 1 : 0; });
    } else {
      const number = Number(given);
      if (!missing && !Number.isFinite(number)) throw new Error(`${column.name}: ${word("no_number")}`);
      values[column.features[0]] = missing ? NaN : number;
      column.features.slice(1).forEach((name) => { values[name] = missing ? 1 : 0; });
    }
  }
  return about.table.features.map((name) => values[name]);
}

const answerFeatures = (features) => run({
  features: new ort.Tensor("float64", Float64Array.from(features), [1, features.length]),
});
const answerTable = (row) => answerFeatures(featuresOf(row));

// --- the page ---

function show(values) {
  const place = element("answer");
  place.replaceChildren();
  if (about.answers === "number") {
    values.forEach((value, i) => {
      const line = document.createElement("p");
      line.className = "number";
      line.textContent = `${about.classes[i]}: ${Number(value.toPrecision(7))}`;
      place.append(line);
    });
    return;
  }
  const order = values.map((_unused, i) => i).sort((a, b) => values[b] - values[a]);
  const chosen = about.answers === "labels"
    ? order.filter((i) => values[i] >= about.threshold).map((i) => about.classes[i]).join(", ") || word("no_label")
    : about.classes[order[0]];
  const title = document.createElement("p");
  title.className = "chosen";
  title.textContent = chosen;
  place.append(title);
  for (const i of order.slice(0, 10)) {
    const row = document.createElement("div");
    row.className = "row";
    const [name, track, share] = ["span", "span", "span"].map((tag) => document.createElement(tag));
    name.textContent = about.classes[i];
    name.className = "name";
    track.className = "track";
    const bar = document.createElement("span");
    bar.style.width = `${100 * values[i]}%`;
    track.append(bar);
    share.className = "share";
    share.textContent = `${(100 * values[i]).toFixed(1)} %`;
    row.append(name, track, share);
    place.append(row);
  }
}

function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").className = wrong ? "wrong" : "";
}

let picture = null;

async function answer() {
  try {
    if (kind === "text") {
      const text = element("first").value;
      if (!text.trim()) throw new Error(word("empty"));
      show(await answerText(text, about.pairs ? element("second").value : null));
    } else if (kind === "image") {
      if (!picture) throw new Error(word("no_picture"));
      show(await answerImage(picture));
    } else {
      const row = {};
      for (const column of about.table.columns) row[column.name] = element("ask").elements[column.name].value;
      for (const column of about.table.columns) {
        if (column.kind === "boolean" && row[column.name] !== "") row[column.name] = row[column.name] === "true";
      }
      show(await answerTable(row));
    }
    say("");
  } catch (error) {
    say(error.message, true);
  }
}

function choose(file) {
  picture = file;
  element("preview").src = URL.createObjectURL(file);
  element("preview").hidden = false;
  answer();
}

function build() {
  const fields = element("fields");
  const label = (name, control) => {
    const made = document.createElement("label");
    const said = document.createElement("span");
    said.textContent = name;
    made.append(said, control);
    fields.append(made);
    return said;
  };
  if (kind === "text") {
    for (const [id, key] of about.pairs ? [["first", "first"], ["second", "second"]] : [["first", "text"]]) {
      const area = document.createElement("textarea");
      area.id = id;
      area.rows = 4;
      label("", area).dataset.word = key;
    }
  } else if (kind === "image") {
    const file = document.createElement("input");
    file.type = "file";
    file.accept = "image/*";
    file.id = "file";
    file.addEventListener("change", () => file.files[0] && choose(file.files[0]));
    label("", file).dataset.word = "picture";
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
    });
  } else {
    for (const column of about.table.columns) {
      const options = column.kind === "category" ? column.words : column.kind === "boolean" ? ["true", "false"] : null;
      const control = document.createElement(options ? "select" : "input");
      control.name = column.name;
      if (options) control.append(...["", ...options].map((each) => new Option(each || "–", each)));
      else control.inputMode = "decimal";
      label(column.name, control);
    }
  }
  element("ask").addEventListener("submit", (event) => { event.preventDefault(); answer(); });
}

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
}

// The model is compared with answers that labkit gave to fixed inputs when the page was made.
async function check() {
  let worst = 0;
  for (const each of about.page.check) {
    const found = kind === "text" ? await answerText(...each.input) : kind === "image"
      ? await answerPixels(each.input) : await answerFeatures(each.input.map((value) => value ?? NaN));
    if (kind === "text" && tokenize(...each.input).ids.join() !== each.ids.join()) throw new Error(word("differs"));
    each.answer.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - found[i]) / Math.max(1, Math.abs(value)));
    });
  }
  if (!(worst <= about.page.tolerance)) throw new Error(word("differs"));
  return worst;
}

async function start() {
  build();
  for (const each of ["en", "zh"]) {
    element(each).addEventListener("click", () => { language = each; translate(); });
  }
  translate();
  say(word("loading"));
  try {
    if (kind === "text") {
      tokenize = makeTokenizer(JSON.parse(new TextDecoder().decode(await unpacked("tokenizer"))), about.text.max_length);
    }
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
    ort.env.wasm.wasmBinary = await unpacked("wasm");
    session = await ort.InferenceSession.create(await unpacked("model"), { executionProviders: ["wasm"] });
    const worst = await check();
    element("go").disabled = false;
    say("");
    return worst;
  } catch (error) {
    say(error.message, true);
    throw error;
  }
}

const ready = start();
globalThis.labkit = {
  ready, answerText, answerImage, answerTable, answerPixels, tokenize: (...given) => tokenize(...given),
};
