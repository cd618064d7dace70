// Shows what the training run says in server-sent events: run, step, epoch, progress, samples, end.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}
function shape(tag, attributes = {}, text = "") {
  const e = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.textContent = text;
  return e;
}

const percent = (v) => (100 * v).toFixed(1) + "%";
const digits = (v) => v.toPrecision(3);
const whole = (v) => Math.round(v).toLocaleString("en");
function duration(seconds) {
  const s = Math.max(0, Math.round(seconds)), two = (n) => String(n).padStart(2, "0");
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + two(s % 60) + " s";
  return Math.floor(s / 3600) + " h " + two(Math.floor((s % 3600) / 60)) + " min";
}

// Round numbers from `from` to `to`, about `count` of them.
function ticks(from, to, count, least = 0) {
  const rough = Math.max((to - from) / count, least, 1e-12), power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].find((u) => u * power >= rough * 0.999) * power;
  const out = [];
  for (let i = Math.ceil(from / unit - 1e-9); i * unit <= to + unit * 1e-9; ++i) out.push(Number((i * unit).toPrecision(12)));
  return out;
}

// ------------------------------------------------------------------------------------------------------------ charts
const MARGIN = {left: 48, right: 10, top: 12, bottom: 24};

class Chart {
  static all = [];
  static right = 0;  // epochs on the common x axis

  constructor(title, format, limits) {
    this.format = format;
    this.limits = limits;
    this.legend = element("div", {class: "legend"});
    this.svg = shape("svg", {role: "img", "aria-label": title});
    this.card = element("div", {class: "card chart"},
        element("div", {class: "card-head"}, element("h2", {}, title), this.legend), this.svg);
    $("charts").append(this.card);
    Chart.all.push(this);
    this.clear();
    new ResizeObserver(() => this.change()).observe(this.svg);
    this.svg.addEventListener("pointermove", (e) => this.point(e.clientX - this.svg.getBoundingClientRect().left));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }
  clear() {
    this.series = {};
    this.at = null;
    Chart.right = 0;
    this.change();
  }
  // `x` in epochs.
  add(name, x, y) {
    if (!Number.isFinite(y)) return;
    (this.series[name] ??= []).push([x, y]);
    Chart.right = Math.max(Chart.right, x);
    for (const chart of Chart.all) chart.change();
  }
  change() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.draw();
    });
  }
  point(at) {
    this.at = at;
    this.change();
  }
  draw() {
    const {width, height} = this.svg.getBoundingClientRect();
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const all = Object.values(this.series).flat();
    this.name();
    if (!all.length) {
      this.svg.append(shape("text", {class: "nothing", x: width / 2, y: height / 2}, "nothing yet"));
      this.card.querySelector(".hint")?.remove();
      return;
    }
    const right = Chart.right || 1;
    let low = Math.min(...all.map((p) => p[1])), high = Math.max(...all.map((p) => p[1]));
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    low = this.limits.zero ? 0 : Math.max(low - room, this.limits.low ?? -Infinity);
    high = Math.min(high + room, this.limits.high ?? Infinity);
    if (!(high > low)) high = low + 1;
    const X = (x) => MARGIN.left + (x / right) * (width - MARGIN.left - MARGIN.right);
    const Y = (y) => height - MARGIN.bottom - ((y - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    for (const y of ticks(low, high, 5)) {
      this.svg.append(shape("line", {class: "rule", x1: MARGIN.left, x2: width - MARGIN.right, y1: Y(y), y2: Y(y)}),
                      shape("text", {x: MARGIN.left - 8, y: Y(y) + 4, "text-anchor": "end"}, this.tick(y)));
    }
    for (const x of ticks(0, right, width / 90, right >= 2 ? 1 : 0))
      this.svg.append(shape("text", {x: X(x), y: height - 6, "text-anchor": x ? "middle" : "start"},
                            x ? String(x) : "epoch 0"));
    for (const [name, points] of Object.entries(this.series)) {
      const line = points.map(([x, y]) => X(x).toFixed(1) + "," + Y(y).toFixed(1)).join(" ");
      this.svg.append(shape("polyline", {class: name, points: line}));
      if (points.length <= 60)
        for (const [x, y] of points) this.svg.append(shape("circle", {class: name, cx: X(x), cy: Y(y), r: 2.6}));
    }
    this.explain(X, Y, right, width);
  }
  // A round number.
  tick(y) {
    return this.format === percent ? Number((100 * y).toPrecision(3)) + "%" : String(y);
  }
  name() {
    this.legend.replaceChildren(...Object.entries(this.series).map(([name, points]) =>
        element("span", {}, element("i", {class: name}), name + " ", element("b", {}, this.format(points.at(-1)[1])))));
  }
  // What the curves say where the pointer is.
  explain(X, Y, right, width) {
    let hint = this.card.querySelector(".hint");
    if (this.at === null || this.at < MARGIN.left) {
      hint?.remove();
      return;
    }
    const x = ((this.at - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * right;
    if (!hint) this.card.append(hint = element("div", {class: "hint"}));
    hint.replaceChildren(element("div", {}, "epoch " + Math.min(x, right).toFixed(2)));
    for (const [name, points] of Object.entries(this.series)) {
      const [px, py] = points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      hint.append(element("div", {}, element("i", {class: name}), name + " " + this.format(py)));
      this.svg.append(shape("circle", {class: name, cx: X(px), cy: Y(py), r: 4}));
    }
    this.svg.append(shape("line", {class: "cross", x1: this.at, x2: this.at, y1: MARGIN.top, y2: 186}));
    hint.style.top = "54px";
    hint.style.left = (this.at > width / 2 ? this.at - hint.offsetWidth + 2 : this.at + 30) + "px";
  }
}

// ------------------------------------------------------------------------------------------------------------- state
const charts = {
  loss: new Chart("Loss", digits, {low: 0}),
  accuracy: new Chart("Accuracy", percent, {low: 0, high: 1}),
  lr: new Chart("Learning rate", digits, {zero: true}),
  images_per_s: new Chart("Images per second", whole, {zero: true}),
};
let run = null;
let steps_of_epoch = new Set();  // epochs with curves of their own
let samples = null;
let finished = false, step = 0, seconds = 0, left = 0;
const chosen = {image: 0, layer: null};

function show_status(text, kind) {
  $("status").textContent = text;
  $("status").className = "pill " + kind;
}

function begin(plan) {
  run = plan;
  step = plan.first_step;
  seconds = left = 0;
  samples = null;
  finished = false;
  steps_of_epoch = new Set();
  for (const chart of Object.values(charts)) chart.clear();
  $("title").textContent = document.title = run.title;
  show_status("training", "live");
  show_progress();
  make_samples();
}

function add_train(at, values) {
  for (const key of ["loss", "accuracy"]) charts[key].add("train", at, values[key]);
  charts.lr.add("train", at, values.lr);
  if (values.images_per_s > 0) charts.images_per_s.add("train", at, values.images_per_s);  // 0: of a resumed run that only tested
}

function take_step(s) {
  steps_of_epoch.add(s.epoch);
  add_train(s.step / run.steps_per_epoch, s);
}

function take_epoch(e) {
  const at = e.step / run.steps_per_epoch;
  if (!steps_of_epoch.has(e.epoch)) add_train(at, {...e, loss: e.train_loss, accuracy: e.train_accuracy});
  for (const name of ["validation", "test"])
    for (const key of ["loss", "accuracy"]) charts[key].add(name, at, e[name + "_" + key]);
  step = e.step;
  finished = e.epoch === run.epochs;
  show_progress();
}

function show_progress() {
  const steps = run.epochs * run.steps_per_epoch, share = 100 * Math.min(1, step / steps);
  $("done").style.width = share + "%";
  $("bar").setAttribute("aria-valuenow", share.toFixed(0));
  const epoch = Math.min(run.epochs, Math.floor(step / run.steps_per_epoch) + 1);
  $("where").textContent = `epoch ${epoch} of ${run.epochs}, step ${whole(step)} of ${whole(steps)}`;
  $("time").textContent = duration(seconds) + (left > 0 ? ", about " + duration(left) + " left" : "");
}

// ------------------------------------------------------------------------------------------------- images and maps
async function bytes_of(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return new Uint8Array(await answer.arrayBuffer());
}

// Draws height x width pixels; `color` gives the red, green and blue of each.
function paint(canvas, height, width, color) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < height * width; ++i) pixels.data.set([...color(i), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

async function make_samples() {
  const {height, width, classes, truths} = run, plane = height * width;
  const bytes = await bytes_of("things/images");
  $("samples").replaceChildren(...truths.map((truth, k) => {
    const canvas = element("canvas"), first = 3 * plane * k;
    paint(canvas, height, width, (i) => [bytes[first + i], bytes[first + plane + i], bytes[first + 2 * plane + i]]);
    const tile = element("button", {class: "sample", type: "button", "aria-pressed": k === chosen.image}, canvas,
        element("span", {class: "truth"}, "is " + classes[truth]),
        element("span", {class: "guess"}, "…"),
        element("span", {class: "sure"}, element("span", {class: "track"}, element("span")), element("span")));
    tile.addEventListener("click", () => {
      chosen.image = k;
      mark($("samples"), k);
      show_maps();
    });
    return tile;
  }));
  if (samples) show_predictions();
}

function mark(group, index) {
  [...group.children].forEach((child, i) => child.setAttribute("aria-pressed", i === index));
}

function show_predictions() {
  $("samples-note").textContent = `What the network said of them after step ${whole(samples.step)}; a click chooses one.`;
  [...$("samples").children].forEach((tile, k) => {
    const probabilities = samples.probabilities[k].map(Number), most = Math.max(...probabilities);
    const best = probabilities.indexOf(most), kind = best === run.truths[k] ? "right" : "wrong";
    tile.querySelector(".guess").textContent = (kind === "right" ? "✓ " : "✗ ") + run.classes[best];
    tile.querySelector(".track span").style.width = 100 * most + "%";
    tile.querySelector(".sure").lastChild.textContent = (100 * most).toFixed(0) + "%";
    tile.className = "sample " + kind;
    const order = probabilities.map((p, c) => [p, run.classes[c]]).sort((a, b) => b[0] - a[0]);
    tile.title = order.slice(0, 3).map(([p, c]) => c + " " + percent(p)).join(", ");
  });
}

function take_samples(s) {
  samples = s;
  const names = s.layers.map((l) => l.name);
  if (!names.includes(chosen.layer)) chosen.layer = names[0];
  if ($("layers").children.length !== names.length)
    $("layers").replaceChildren(...names.map((name, i) => {
      const button = element("button", {type: "button", "aria-pressed": name === chosen.layer}, name);
      button.addEventListener("click", () => {
        chosen.layer = name;
        mark($("layers"), i);
        show_maps();
      });
      return button;
    }));
  show_predictions();
  show_maps();
}

// Viridis at a few places, by Smith and van der Walt.
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
                 [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const COLOR_OF_BYTE = Array.from({length: 256}, (_, v) => {
  const at = (v / 255) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2), t = at - i;
  return VIRIDIS[i].map((c, k) => Math.round(c + t * (VIRIDIS[i + 1][k] - c)));
});

let maps_asked = 0;
async function show_maps() {
  if (!samples) return;
  const asked = ++maps_asked, layer = samples.layers.find((l) => l.name === chosen.layer);
  const bytes = await bytes_of(`things/maps/${layer.name}/${chosen.image}`);
  if (asked !== maps_asked) return;  // a newer choice is on its way
  const {height, width, shown, channels} = layer, group = $("maps");
  while (group.children.length > shown) group.lastChild.remove();
  while (group.children.length < shown) group.append(element("canvas", {title: "channel " + group.children.length}));
  [...group.children].forEach((canvas, c) =>
    paint(canvas, height, width, (i) => COLOR_OF_BYTE[bytes[c * height * width + i]]));
  $("maps-note").textContent =
      `${layer.name} for the ${run.classes[run.truths[chosen.image]]}: ` +
      `${shown < channels ? shown + " of " : ""}${channels} channels of ${height} × ${width}, bright is strong`;
}

// -------------------------------------------------------------------------------------------------------- connection
const events = new EventSource("events");
const on = (kind, take) => events.addEventListener(kind, (e) => take(JSON.parse(e.data)));
on("run", begin);
on("step", take_step);
on("epoch", take_epoch);
on("progress", (p) => {
  ({step, seconds, seconds_left: left} = p);
  show_progress();
});
on("samples", take_samples);
let ended = false;
on("end", (e) => {
  ended = true;
  step = e.step;
  left = 0;
  if (run) show_progress();
  show_status(finished ? "finished" : `stopped after step ${whole(e.step)}`, finished ? "done" : "lost");
});
events.onopen = () => {
  ended = false;
  show_status(run ? "training" : "waiting", "live");
};
events.onerror = () => {  // the browser tries again: somebody may go on with the run
  if (!ended) show_status("no connection", "lost");
};
