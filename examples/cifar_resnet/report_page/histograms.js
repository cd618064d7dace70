// ------------------------------------------------------------------------------------------------------ histograms

class HistogramChart {
  constructor(host, label) {
    this.figure = svg('svg', {role: 'img', 'aria-label': label, height: 250, onpointermove: (e) => this.point(e), onpointerleave: () => {
      hideTip();
      this.band?.setAttribute('visibility', 'hidden');
    }});
    host.append(this.figure);
    onWidth(host, (width) => this.draw(width));
  }

  set(histogram, logarithmic) {
    Object.assign(this, {h: histogram, logarithmic});
    if (this.width) this.draw(this.width);
  }

  draw(width) {
    this.width = width;
    const {h, figure} = this, m = kMargin, height = 250, n = h.before.length;
    const share = (counts) => {
      const all = counts.reduce((a, b) => a + b, 0) || 1;
      return counts.map((c) => c / all);
    };
    this.before = share(h.before);
    this.after = share(h.after);
    const top = Math.max(...this.before, ...this.after, 1e-12), least = top * 1e-5;  // tails matter to quantization
    const scale = this.logarithmic ? (v) => Math.log(Math.max(v, least) / least) / Math.log(top / least) : (v) => v / top;
    const x = (i) => m.left + ((width - m.left - m.right) * i) / n;
    const y = (v) => height - m.bottom - (height - m.bottom - m.top - 4) * scale(v);
    this.bin = (px) => Math.floor(((px - m.left) / (width - m.left - m.right)) * n);
    figure.setAttribute('width', width);
    const decades = [];
    for (let p = Math.ceil(Math.log10(least)); p <= Math.log10(top); ++p) decades.push(10 ** p);
    const lines = this.logarithmic ? decades : roundNumbers(0, top, 4);
    const marks = roundNumbers(h.lo, h.hi, Math.max(2, Math.floor(width / 110)));
    frame(figure, width, height, m, lines.map((v) => [y(v), Number((100 * v).toPrecision(2)) + '%']),
          marks.map((v) => [x((n * (v - h.lo)) / (h.hi - h.lo)), short(v)]), 'value');
    const outline = (shares) => shares.map((v, i) => `L${x(i).toFixed(1)} ${y(v).toFixed(1)}L${x(i + 1).toFixed(1)} ${y(v).toFixed(1)}`).join('');
    const base = height - m.bottom;
    this.band = svg('rect', {y: m.top, width: (width - m.left - m.right) / n, height: base - m.top, class: 'band', visibility: 'hidden'});
    this.bandX = x;
    figure.append(this.band, svg('path', {d: `M${x(0)} ${base}${outline(this.before)}L${x(n)} ${base}Z`, class: 'area'}),
      svg('path', {d: 'M' + outline(this.after).slice(1), class: 'curve', style: 'stroke:var(--int8)'}));
  }

  point(e) {
    const i = this.bin(e.clientX - this.figure.getBoundingClientRect().left), {h} = this;
    if (!(i >= 0 && i < h.before.length)) return hideTip();
    const edge = (k) => short(h.lo + ((h.hi - h.lo) * k) / h.before.length);
    this.band.setAttribute('x', this.bandX(i));
    this.band.setAttribute('visibility', 'visible');
    showTip(e.clientX, e.clientY, [`${edge(i)} to ${edge(i + 1)}`,
      [`fp32: ${percent(this.before[i], 3)} (${count(h.before[i])} values)`, 'var(--fp32)'],
      [`int8: ${percent(this.after[i], 3)} (${count(h.after[i])} values)`, 'var(--int8)']]);
  }
}

function showHistograms(details) {
  if (!details?.histograms.length) return;
  const {histograms} = details;
  const body = section('histograms', 'What quantization changes',
    'Share of the values of a layer: fp32 filled, the same values after int8 as a line. Activations are those of eight test ' +
    'images. The first layer is missing: its int8 weights hold the normalisation of the input, too.');
  const weights = chartBox('Weights'), activations = chartBox('Activations', 'outputs of the layer');
  let chosen = 0, logarithmic = true;
  const charts = [[new HistogramChart(weights, 'histogram of weights'), 'weights'],
                  [new HistogramChart(activations, 'histogram of activations'), 'activations']];
  const update = () => charts.forEach(([chart, key]) => chart.set(histograms[chosen][key], logarithmic));
  const select = el('select', {onchange: () => { chosen = Number(select.value); update(); }},
    histograms.map((h, i) => el('option', {value: i}, h.name)));
  const step = (by) => { select.value = chosen = Math.max(0, Math.min(histograms.length - 1, chosen + by)); update(); };
  update();
  body.append(el('div', {class: 'controls'}, el('label', {}, 'layer ', select),
    el('span', {class: 'choice'}, el('button', {type: 'button', 'aria-label': 'previous layer', onclick: () => step(-1)}, '‹'),
      el('button', {type: 'button', 'aria-label': 'next layer', onclick: () => step(1)}, '›')),
    choice('scale', [['log', 'logarithmic'], ['linear', 'linear']], (v) => { logarithmic = v === 'log'; update(); }),
    el('span', {class: 'legend'}, el('span', {class: 'key'}, el('i', {style: 'background:var(--fp32);opacity:.45'}), 'fp32'),
      el('span', {class: 'key'}, el('i', {class: 'thin', style: 'background:var(--int8)'}), 'int8'))),
    el('div', {class: 'grid2'}, weights, activations));
}
