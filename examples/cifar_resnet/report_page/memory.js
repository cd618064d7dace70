// ---------------------------------------------------------------------------------------------------------- memory

// Which node needs which bytes of the block that activations share: nodes to the right, addresses upwards.
class ArenaMap {
  constructor(host, net, memory, most) {
    Object.assign(this, {net, memory, most, common: false});
    this.figure = svg('svg', {role: 'img', height: 260, 'aria-label': `memory map of the ${net} network's activations`,
      onpointerleave: hideTip});
    host.append(this.figure);
    this.live = memory.nodes.map((_, i) => memory.arena.reduce((sum, p) => sum + (p.first <= i && i <= p.last ? p.bytes : 0), 0));
    this.peak = this.live.indexOf(Math.max(...this.live));
    onWidth(host, (width) => this.draw(width));
  }

  useCommonScale(on) {
    this.common = on;
    if (this.width) this.draw(this.width);
  }

  draw(width) {
    this.width = width;
    const {figure, memory, net} = this, m = {...kMargin, left: 66}, height = 260, n = memory.nodes.length;
    const most = (this.common ? this.most : memory.arena_bytes) || 1;
    const x = (i) => m.left + ((width - m.left - m.right) * i) / n;
    const y = (v) => height - m.bottom - ((height - m.bottom - m.top) * v) / most;
    figure.setAttribute('width', width);
    const lines = [], marks = roundNumbers(1, n, Math.max(2, Math.floor(width / 70))).filter((v) => Number.isInteger(v));
    let unit = 64;
    while (most / unit > 5) unit *= 2;
    for (let v = 0; v <= most; v += unit) lines.push([y(v), bytes(v)]);
    frame(figure, width, height, m, lines, marks.map((i) => [x(i - 0.5), i]), 'node, in the order in which they run');
    figure.append(svg('rect', {x: x(this.peak), width: x(1) - x(0), y: m.top, height: height - m.bottom - m.top, class: 'band'}));
    for (const p of memory.arena) {
      const lines = [p.is_value ? `result of ${memory.nodes[p.first]}` : `scratch memory of ${memory.nodes[p.first]}`,
        `${bytes(p.bytes)} at byte ${count(p.offset)}`,
        p.first === p.last ? `during node ${p.first + 1} of ${n}` : `nodes ${p.first + 1} to ${p.last + 1} of ${n}, until ${memory.nodes[p.last]}`];
      figure.append(svg('rect', {x: x(p.first) + 0.5, width: Math.max(1, x(p.last + 1) - x(p.first) - 1), y: y(p.offset + p.bytes),
        height: Math.max(1, y(p.offset) - y(p.offset + p.bytes) - 0.5), rx: 1.5, class: p.is_value ? 'piece' : 'piece scratch',
        style: `fill:var(--${net})`, onpointermove: (e) => showTip(e.clientX, e.clientY, lines)}));
    }
  }
}

function showMemory(details, head) {
  if (!details?.memory) return;
  const {fp32, int8} = details.memory, resident = head.peak_rss_mib;
  const body = section('memory', 'Memory',
    'Activations of one image share one block: a piece is used again as soon as nobody needs the value in it. Each rectangle ' +
    'is such a piece, as wide as the nodes that need it; dashed ones are scratch memory of a kernel. The column of the node ' +
    'that needs most is shaded.');
  const unshared = (m) => m.arena.reduce((sum, p) => sum + p.bytes, 0);
  const rows = [['weights, scales and biases', (m) => m.weight_bytes, 'as in the file'],
    ['weights as kernels want them', (m) => m.packed_bytes, 'copies in another order, made when a network is loaded, for one or several sizes of batches'],
    ['block for activations', (m) => m.arena_bytes, 'of one image; grows with the batch'],
    ['activations without sharing', unshared, 'what the block would be if every piece had its own place']];
  body.append(el('div', {class: 'scroll'}, el('table', {class: 'rows'},
    el('thead', {}, el('tr', {}, ['', 'fp32', 'int8', 'fp32 / int8'].map((t, i) => el('th', {scope: 'col', class: i ? 'number' : ''}, t)))),
    el('tbody', {}, rows.map(([name, value, note]) => {
      const most = Math.max(value(fp32), value(int8), 1);
      const cell = (m, net) => el('td', {class: 'number'}, bytes(value(m)), minibar(value(m) / most, `var(--${net})`));
      return el('tr', {}, el('th', {scope: 'row'}, name, el('small', {}, note)), cell(fp32, 'fp32'), cell(int8, 'int8'),
        el('td', {class: 'number'}, value(int8) && value(fp32) ? times(value(fp32) / value(int8)) : '–'));
    })))));
  if (isNumber(resident)) {
    body.append(el('p', {}, `The quantizing process took at most ${resident.toFixed(0)} MiB of memory (peak resident set), with the images ` +
      'of the calibration and both networks in it.'));
  }
  const most = Math.max(fp32.arena_bytes, int8.arena_bytes);
  const maps = [['fp32', fp32], ['int8', int8]].map(([net, m]) => {
    const box = chartBox(`${net}: ${bytes(m.arena_bytes)}`);
    const map = new ArenaMap(box, net, m, most);
    if (map.peak >= 0) box.querySelector('h3').append(el('small', {}, ` ${bytes(map.live[map.peak])} in use at node ${map.peak + 1}, ${m.nodes[map.peak]}`));
    return [map, box];
  });
  body.append(el('div', {class: 'controls'}, checkbox('the same scale for both', (on) => maps.forEach(([map]) => map.useCommonScale(on)))),
    el('div', {class: 'grid2'}, maps.map(([, box]) => box)));
}
