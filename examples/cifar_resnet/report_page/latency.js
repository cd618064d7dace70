// --------------------------------------------------------------------------------------------------------- latency

// Rows of one measurement as {batch, threads, fp32, int8}, those with a net each.
function latencyPairs(rows) {
  const pairs = new Map();
  for (const row of rows) {
    const id = row.threads + '/' + row.batch;
    if (!pairs.has(id)) pairs.set(id, {batch: row.batch, threads: row.threads});
    pairs.get(id)[row.net] = row;
  }
  return [...pairs.values()].sort((a, b) => a.threads - b.threads || a.batch - b.batch);
}
const speedup = (pair) => (pair?.fp32 && pair?.int8 && pair.int8.ms_per_image > 0 ? pair.fp32.ms_per_image / pair.int8.ms_per_image : null);
const threadsText = (n) => (n === 1 ? '1 thread' : `${n} threads`);

function latencyTable(pairs) {
  const most = Math.max(...pairs.flatMap((p) => ['fp32', 'int8'].map((net) => p[net]?.ms_per_image ?? 0)), 1e-12);
  const tails = pairs.some((p) => isNumber((p.fp32 ?? p.int8).p95));
  const time = (p, net) => el('td', {class: 'number'}, p[net] ? milliseconds(p[net].ms_per_image) : '–',
    p[net] ? minibar(p[net].ms_per_image / most, `var(--${net})`) : null);
  const speed = (p, net) => el('td', {class: 'number'}, p[net] && p[net].ms_per_image > 0 ? count(Math.round(1000 / p[net].ms_per_image)) : '–');
  const tail = (p, net) => el('td', {class: 'number small'}, p[net] ? ['p50', 'p95', 'p99'].map((q) => or(p[net][q], (v) => short(Number(v.toPrecision(3))))).join(' / ') : '–');
  const heads = ['threads', 'batch', 'fp32', 'int8', 'speed-up', 'fp32 images/s', 'int8 images/s',
    ...(tails ? ['fp32 call p50 / p95 / p99, ms', 'int8 call p50 / p95 / p99, ms'] : [])];
  return el('div', {class: 'scroll'}, el('table', {class: 'rows latency'},
    el('thead', {}, el('tr', {}, heads.map((h) => el('th', {scope: 'col', class: 'number'}, h)))),
    el('tbody', {}, pairs.map((p) => el('tr', {}, el('td', {class: 'number'}, p.threads), el('td', {class: 'number'}, p.batch), time(p, 'fp32'), time(p, 'int8'),
      el('td', {class: 'number'}, el('b', {}, or(speedup(p), times))), speed(p, 'fp32'), speed(p, 'int8'),
      ...(tails ? [tail(p, 'fp32'), tail(p, 'int8')] : []))))));
}

function latencyChart(pairs) {
  const batches = [...new Set(pairs.map((p) => p.batch))].sort((a, b) => a - b), threads = [...new Set(pairs.map((p) => p.threads))];
  if (batches.length < 3) return null;
  const box = chartBox('Throughput', 'images per second');
  const chart = new LineChart(box, {label: 'images per second over the batch size', xText: (i) => batches[i], tipText: (v) => count(Math.round(v)),
    yText: (v) => count(v), yRange: (lo, hi) => [0, hi * 1.05]});
  const series = threads.flatMap((t, i) => ['fp32', 'int8'].map((net) => ({
    name: `${net}, ${threadsText(t)}`, color: `var(--${net})`, dash: i ? `${6 * i} ${3 * i}` : null, dots: true,
    points: pairs.filter((p) => p.threads === t && p[net]?.ms_per_image > 0).map((p) => [batches.indexOf(p.batch), 1000 / p[net].ms_per_image])})));
  chart.set(series, 'batch', batches.map((_, i) => i));
  box.querySelector('h3').after(el('p', {class: 'legend'}, chart.series.map((s) => el('span', {class: 'key'},
    svg('svg', {width: 30, height: 8, 'aria-hidden': true}, svg('line', {x1: 0, x2: 30, y1: 4, y2: 4, class: 'curve', style: `stroke:${s.color}`, 'stroke-dasharray': s.dash})), s.name))));
  return box;
}

function showLatency(latency) {
  const sources = [['ptq', 'Measured by ptq', 'medians; both networks take turns in one process'],
                   ['bench', 'Measured by bench', 'bench.json of this folder']].filter(([key]) => latency?.[key]?.length);
  if (!sources.length) return;
  const body = section('latency', 'Latency', 'Time per image, fp32 against int8, over batch sizes and threads.');
  for (const [key, title, note] of sources) {
    const pairs = latencyPairs(latency[key]);
    body.append(el('h3', {}, title, el('small', {}, ' ' + note)), latencyTable(pairs), latencyChart(pairs) ?? '');
  }
}
