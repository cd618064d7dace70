// Shows what the training run says in server-sent events: run, step, epoch, progress, samples, end.

const $ = (id) => document.getElementById(id);

const digits = (v) => v.toPrecision(3);
function duration(seconds) {
  const s = Math.max(0, Math.round(seconds)), two = (n) => String(n).padStart(2, "0");
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + two(s % 60) + " s";
  return Math.floor(s / 3600) + " h " + two(Math.floor((s % 3600) / 60)) + " min";
}

// ------------------------------------------------------------------------------------------------------------ charts
const MARGIN = {left: 48, right: 10, top: 12, bottom: 24};

class Chart {
  static all = [];
  static right = 0;  // epochs on the common x axis

  // format(v) makes texts of values, tick(v) of round ones.
  constructor(title, format, limits, tick = String) {
    Object.assign(this, {format, limits, tick});
    this.legend = el("div", {class: "legend"});
    this.svg = svg("svg", {
      role: "img", "aria-label": title, onpointerleave: () => this.point(null),
      onpointermove: (e) => this.point(e.clientX - this.svg.getBoundingClientRect().left)});
    this.card = el("div", {class: "card chart"},
        el("div", {class: "card-head"}, el("h2", {}, title), this.legend), this.svg);
    $("charts").append(this.card);
    Chart.all.push(this);
    this.clear();
    new ResizeObserver(() => this.change()).observe(this.svg);
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
      this.svg.append(svg("text", {class: "nothing", x: width / 2, y: height / 2}, "nothing yet"));
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
    for (const y of roundNumbers(low, high, 5)) {
      this.svg.append(svg("line", {class: "rule", x1: MARGIN.left, x2: width - MARGIN.right, y1: Y(y), y2: Y(y)}),
                      svg("text", {x: MARGIN.left - 8, y: Y(y) + 4, "text-anchor": "end"}, this.tick(y)));
    }
    for (const x of roundNumbers(0, right, width / 90, right >= 2 ? 1 : 0))
      this.svg.append(svg("text", {x: X(x), y: height - 6, "text-anchor": x ? "middle" : "start"},
                          x ? String(x) : "epoch 0"));
    for (const [name, points] of Object.entries(this.series)) {
      const line = points.map(([x, y]) => X(x).toFixed(1) + "," + Y(y).toFixed(1)).join(" ");
      this.svg.append(svg("polyline", {class: name, points: line}));
      if (points.length <= 60)
        for (const [x, y] of points) this.svg.append(svg("circle", {class: name, cx: X(x), cy: Y(y), r: 2.6}));
    }
    this.explain(X, Y, right, width, height);
  }
  name() {
    this.legend.replaceChildren(...Object.entries(this.series).map(([name, points]) =>
        el("span", {}, el("i", {class: name}), name + " ", el("b", {}, this.format(points.at(-1)[1])))));
  }
  // What the curves say where the pointer is.
  explain(X, Y, right, width, height) {
    let hint = this.card.querySelector(".hint");
    if (this.at === null || this.at < MARGIN.left) {
      hint?.remove();
      return;
    }
    const x = ((this.at - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * right;
    if (!hint) this.card.append(hint = el("div", {class: "hint"}));
    hint.replaceChildren(el("div", {}, "epoch " + Math.min(x, right).toFixed(2)));
    for (const [name, points] of Object.entries(this.series)) {
      const [px, py] = points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      hint.append(el("div", {}, el("i", {class: name}), name + " " + this.format(py)));
      this.svg.append(svg("circle", {class: name, cx: X(px), cy: Y(py), r: 4}));
    }
    this.svg.append(svg("line", {class: "cross", x1: this.at, x2: this.at, y1: MARGIN.top, y2: height - MARGIN.bottom}));
    hint.style.top = "54px";
    hint.style.left = (this.at > width / 2 ? this.at - hint.offsetWidth + 2 : this.at + 30) + "px";
  }
}

// ------------------------------------------------------------------------------------------------------------- state
const charts = {
  loss: new Chart("Loss", digits, {low: 0}),
  accuracy: new Chart("Accuracy", (v) => percent(v, 1), {low: 0, high: 1}, (v) => Number((100 * v).toPrecision(3)) + "%"),
  lr: new Chart("Learning rate", digits, {zero: true}),
  images_per_s: new Chart("Images per second", (v) => count(Math.round(v)), {zero: true}),
};
let run = null;
let steps_of_epoch = new Set();  // epochs with curves of their own
let samples = null;
let step = 0, seconds = 0, left = 0;
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
  show_progress();
}

function show_progress() {
  const steps = run.epochs * run.steps_per_epoch, share = 100 * Math.min(1, step / steps);
  $("done").style.width = share + "%";
  $("bar").setAttribute("aria-valuenow", share.toFixed(0));
  const epoch = Math.max(1, Math.ceil(step / run.steps_per_epoch));
  $("where").textContent = `epoch ${epoch} of ${run.epochs}, step ${count(step)} of ${count(steps)}`;
  $("time").textContent = duration(seconds) + (left > 0 ? ", about " + duration(left) + " left" : "");
}

// ------------------------------------------------------------------------------------------------- images and maps
async function bytes_of(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return new Uint8Array(await answer.arrayBuffer());
}

async function make_samples() {
  const {height, width, classes, truths} = run, plane = height * width;
  const bytes = await bytes_of("things/images");
  $("samples").replaceChildren(...truths.map((truth, k) => {
    const canvas = paint(el("canvas"), width, height, planes(bytes.subarray(3 * plane * k), plane));
    const choose = () => {
      chosen.image = k;
      mark($("samples"), k);
      show_maps();
    };
    return el("button", {class: "sample", type: "button", "aria-pressed": k === chosen.image, onclick: choose}, canvas,
        el("span", {class: "truth"}, "is " + classes[truth]),
        el("span", {class: "guess"}, "…"),
        el("span", {class: "sure"}, el("span", {class: "track"}, el("span")), el("span")));
  }));
  if (samples) show_predictions();
}

function mark(group, index) {
  [...group.children].forEach((child, i) => child.setAttribute("aria-pressed", i === index));
}

function show_predictions() {
  $("samples-note").textContent = `What the network said of them after step ${count(samples.step)}; a click chooses one.`;
  [...$("samples").children].forEach((tile, k) => {
    const probabilities = samples.probabilities[k].map(Number), most = Math.max(...probabilities);
    const best = probabilities.indexOf(most), kind = best === run.truths[k] ? "right" : "wrong";
    tile.querySelector(".guess").textContent = (kind === "right" ? "✓ " : "✗ ") + run.classes[best];
    tile.querySelector(".track span").style.width = 100 * most + "%";
    tile.querySelector(".sure").lastChild.textContent = percent(most, 0);
    tile.className = "sample " + kind;
    const order = probabilities.map((p, c) => [p, run.classes[c]]).sort((a, b) => b[0] - a[0]);
    tile.title = order.slice(0, 3).map(([p, c]) => c + " " + percent(p, 1)).join(", ");
  });
}

function take_samples(s) {
  samples = s;
  const names = s.layers.map((l) => l.name);
  if (!names.includes(chosen.layer)) chosen.layer = names[0];
  if ($("layers").children.length !== names.length)
    $("layers").replaceChildren(...names.map((name, i) => {
      const choose = () => {
        chosen.layer = name;
        mark($("layers"), i);
        show_maps();
      };
      return el("button", {type: "button", "aria-pressed": name === chosen.layer, onclick: choose}, name);
    }));
  show_predictions();
  show_maps();
}

let maps_asked = 0;
async function show_maps() {
  if (!samples) return;
  const asked = ++maps_asked, layer = samples.layers.find((l) => l.name === chosen.layer);
  const bytes = await bytes_of(`things/maps/${layer.name}/${chosen.image}`);
  if (asked !== maps_asked) return;  // a newer choice is on its way
  const {height, width, shown, channels} = layer, group = $("maps");
  while (group.children.length > shown) group.lastChild.remove();
  while (group.children.length < shown) group.append(el("canvas", {title: "channel " + group.children.length}));
  [...group.children].forEach((canvas, c) =>
    paint(canvas, width, height, (i) => viridis(bytes[c * height * width + i])));
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
  show_status(e.finished ? "finished" : `stopped after step ${count(e.step)}`, e.finished ? "done" : "lost");
});
events.onopen = () => {
  ended = false;
  show_status(run ? "training" : "waiting", "live");
};
events.onerror = () => {  // the browser tries again: somebody may go on with the run
  if (!ended) show_status("no connection", "lost");
};
