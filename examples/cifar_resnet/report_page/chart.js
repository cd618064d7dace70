// ---------------------------------------------------------------------------------------------------------- charts

const kMargin = {left: 58, right: 14, top: 10, bottom: 40};

// What all charts have: lines of the grid and marks below the x axis, each [place, text], the axis and its title.
function frame(figure, width, height, margin, lines, marks, title) {
  const right = width - margin.right, base = height - margin.bottom;
  const line = (y, kind) => svg('line', {x1: margin.left, x2: right, y1: y, y2: y, class: kind});
  figure.replaceChildren(
    ...lines.flatMap(([y, text]) => [line(y, 'grid'), svg('text', {x: margin.left - 8, y: y + 4, class: 'tick end'}, text)]),
    ...marks.map(([x, text]) => svg('text', {x, y: base + 17, class: 'tick middle'}, text)),
    line(base, 'axis'), svg('text', {x: (margin.left + right) / 2, y: height - 6, class: 'tick middle'}, title));
}

// Curves over a common x axis. Charts of one `group` show their cursors together.
class LineChart {
  // yText(v), xText(v) and tipText(v) make labels; yRange(lo, hi) makes the axis of the extent of the values.
  constructor(host, {label, group = [], yText = short, xText = short, tipText = yText, yRange = (lo, hi) => [Math.min(0, lo), hi],
                     height = 230}) {
    Object.assign(this, {group, yText, xText, tipText, yRange, height, series: [], xTitle: '', xMarks: null});
    group.push(this);
    this.figure = svg('svg', {
      role: 'img', tabindex: 0, 'aria-label': label, height,
      onpointermove: (e) => this.point(e.clientX - this.figure.getBoundingClientRect().left, e),
      onpointerleave: () => this.leave(), onblur: () => this.leave(), onkeydown: (e) => this.key(e)});
    host.append(this.figure);
    onWidth(host, (width) => this.draw(width));
  }

  // Series are {name, color, points: [[x, y], ...], thin, dots, dash}.
  set(series, xTitle, xMarks = null) {
    Object.assign(this, {series: series.filter((s) => s.points.length), xTitle, xMarks});
    this.xs = [...new Set(this.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
    if (this.width) this.draw(this.width);
  }

  draw(width) {
    this.width = width;
    const {figure, height} = this, m = kMargin;
    figure.setAttribute('width', width);
    if (!this.series.length) {
      figure.replaceChildren(svg('text', {x: width / 2, y: height / 2, class: 'empty'}, 'nothing chosen'));
      return;
    }
    const ys = this.series.flatMap((s) => s.points.map((p) => p[1]));
    let lo = Infinity, hi = -Infinity;
    for (const y of ys) { lo = Math.min(lo, y); hi = Math.max(hi, y); }
    [lo, hi] = this.yRange(lo, hi);
    if (!(lo < hi)) hi = lo + Math.max(1e-9, Math.abs(lo) * 0.1);
    const first = this.xs[0], last = this.xs[this.xs.length - 1], span = last - first || 1;
    const inner = width - m.left - m.right;
    this.x = (v) => m.left + (last === first ? inner / 2 : (inner * (v - first)) / span);
    this.y = (v) => height - m.bottom - ((height - m.top - m.bottom) * Math.max(0, Math.min(1, (v - lo) / (hi - lo))));

    const marks = last === first ? [first] : this.xMarks ?? roundNumbers(first, last, Math.max(2, Math.floor(inner / 70)));
    frame(figure, width, height, m, roundNumbers(lo, hi, 5).map((v) => [this.y(v), this.yText(v)]),
          marks.map((v) => [this.x(v), this.xText(v)]), this.xTitle);
    for (const s of this.series) {
      const path = s.points.map(([x, y], i) => (i ? 'L' : 'M') + this.x(x).toFixed(1) + ' ' + this.y(y).toFixed(1)).join('');
      figure.append(svg('path', {d: path, class: s.thin ? 'curve thin' : 'curve', style: `stroke:${s.color}`, 'stroke-dasharray': s.dash}));
      if (s.dots && s.points.length <= 80) {
        for (const [x, y] of s.points) figure.append(svg('circle', {cx: this.x(x), cy: this.y(y), r: 3, style: `fill:${s.color}`}));
      }
    }
    this.cursor = svg('g', {class: 'cursor', visibility: 'hidden'});
    figure.append(this.cursor);
  }

  // The nearest point of each curve, of those that lie next to x at all.
  nearest(x) {
    return this.series.map((s) => {
      let best = s.points[0];
      for (const p of s.points) if (Math.abs(p[0] - x) < Math.abs(best[0] - x)) best = p;
      return {series: s, point: best};
    });
  }

  mark(x) {
    if (!this.cursor) return;
    this.cursor.replaceChildren(
      svg('line', {x1: this.x(x), x2: this.x(x), y1: kMargin.top, y2: this.height - kMargin.bottom, class: 'cross'}));
    for (const {series, point} of this.nearest(x)) {
      this.cursor.append(svg('circle', {cx: this.x(point[0]), cy: this.y(point[1]), r: 4.5, style: `fill:${series.color}`}));
    }
    this.cursor.setAttribute('visibility', 'visible');
  }

  // Shows the values nearest to a place on the screen, at that of the pointer if there is one.
  point(place, event) {
    if (!this.series.length || !this.x) return;
    let x = this.xs[0];
    for (const v of this.xs) if (Math.abs(this.x(v) - place) < Math.abs(this.x(x) - place)) x = v;
    this.at = x;
    for (const chart of this.group) if (chart.series.length) chart.mark(x);
    const box = this.figure.getBoundingClientRect();
    showTip(event?.clientX ?? box.left + this.x(x), event?.clientY ?? box.top + kMargin.top, [
      `${this.xTitle} ${this.xText(x)}`,
      ...this.nearest(x).map(({series, point}) => [
        `${series.name}: ${this.tipText(point[1])}` + (point[0] === x ? '' : ` (${this.xTitle} ${this.xText(point[0])})`),
        series.color])]);
  }

  key(e) {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (!step || !this.series.length) return;
    e.preventDefault();
    const i = this.at === undefined ? (step > 0 ? -1 : this.xs.length) : this.xs.indexOf(this.at);
    this.point(this.x(this.xs[Math.max(0, Math.min(this.xs.length - 1, i + step))]));
  }

  leave() {
    hideTip();
    for (const chart of this.group) chart.cursor?.setAttribute('visibility', 'hidden');
  }
}

const chartBox = (title, note) =>
  el('div', {class: 'chart'}, el('h3', {}, title, note ? el('small', {}, ' ' + note) : null));
