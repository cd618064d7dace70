// ----------------------------------------------------------------------------------------------------------- table

// A table that sorts by any column and keeps the rows whose text holds all words of a filter. Columns are
// {key, title, text(v), bar: share of 1 of a row, color, note}; those without text() hold words.
function sortableTable(columns, rows, {noun, totals}) {
  let key = null, falling = false, words = [];
  const body = el('tbody'), shown = el('span', {class: 'count', role: 'status'});
  const cell = (c, row) => {
    const v = row[c.key];
    if (!c.text) return el('td', {class: c.long ? 'words long' : 'words'}, v === '' ? '–' : v);
    const share = c.bar ? Math.max(0, Math.min(1, c.bar(row) || 0)) : 0;
    return el('td', {class: 'number'}, or(v, c.text),
      c.bar ? minibar(share, c.color) : null);
  };
  const update = () => {
    const kept = rows.filter((row) => {
      const text = columns.filter((c) => !c.text).map((c) => row[c.key]).join(' ').toLowerCase();
      return words.every((w) => text.includes(w));
    });
    if (key) {
      const missing = (v) => v === null || v === undefined;
      kept.sort((a, b) => {
        const u = a[key], v = b[key];
        if (missing(u) || missing(v)) return missing(u) - missing(v);  // at the end, whatever the direction
        const order = typeof u === 'number' ? u - v : String(u).localeCompare(String(v), 'en', {numeric: true});
        return falling ? -order : order;
      });
    }
    body.replaceChildren(...kept.map((row) => el('tr', {}, columns.map((c) => cell(c, row)))));
    shown.textContent = `${kept.length} of ${rows.length} ${noun}`;
    for (const th of heads) th.setAttribute('aria-sort', th.dataset.key !== key ? 'none' : falling ? 'descending' : 'ascending');
  };
  // The first click sorts words from A, numbers from the largest; the third one restores the order of the network.
  const sort = (c) => {
    const first = Boolean(c.text);
    if (key !== c.key) [key, falling] = [c.key, first];
    else if (falling === first) falling = !first;
    else key = null;
    update();
  };
  const heads = columns.map((c) => el('th', {scope: 'col', class: c.text ? 'number' : 'words', 'data-key': c.key, title: c.note},
    el('button', {type: 'button', onclick: () => sort(c)}, c.title)));
  const filter = el('input', {type: 'search', placeholder: 'filter, e.g. layer3 conv', 'aria-label': `filter ${noun}`,
    oninput: () => { words = filter.value.toLowerCase().split(/\s+/).filter(Boolean); update(); }});
  update();
  return [el('div', {class: 'controls'}, filter, shown),
    el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': noun},
      el('table', {class: 'rows'}, el('thead', {}, el('tr', {}, heads)), body,
        el('tfoot', {}, el('tr', {}, columns.map((c) => el('td', {class: c.text ? 'number' : 'words'}, totals[c.key] ?? ''))))))];
}

function showLayers(layers) {
  if (!layers?.length) return;
  const sum = (key) => layers.reduce((s, l) => s + (l[key] || 0), 0), most = (key) => Math.max(...layers.map((l) => l[key] || 0), 1e-300);
  const macs = sum('macs'), ms = sum('ms'), hasMacs = macs > 0;
  const rows = layers.map((l) => ({...l, share: hasMacs && isNumber(l.macs) ? l.macs / macs : null}));
  const largest = most('fp32_bytes');
  const body = section('layers', 'Layers',
    'What became of each layer. Sizes are those of weights, scales and biases; times are for one image, each layer timed ' +
    'inside the running network. Click a heading to sort.');
  const exact = (v) => count(v);
  body.append(...sortableTable([
    {key: 'name', title: 'layer'}, {key: 'op', title: 'op', note: 'with what is fused into it'},
    {key: 'kernel', title: 'kernel', long: true, note: 'chosen by measuring; several where larger batches have another one'},
    {key: 'fp32_bytes', title: 'fp32 bytes', text: exact, bar: (l) => l.fp32_bytes / largest, color: 'var(--fp32)'},
    {key: 'int8_bytes', title: 'int8 bytes', text: exact, bar: (l) => l.int8_bytes / largest, color: 'var(--int8)'},
    {key: 'sqnr_db', title: 'SQNR, dB', text: (v) => fixed(v, 1), bar: (l) => l.sqnr_db / most('sqnr_db'), color: 'var(--good)',
     note: 'signal to quantization noise of the output, with the errors of all layers before it; higher is better'},
    {key: 'ms', title: 'ms', text: (v) => fixed(v, 4), bar: (l) => l.ms / most('ms'), color: 'var(--muted)'},
    {key: 'share', title: 'share of MACs', text: (v) => percent(v, 1), bar: (l) => l.share / (most('macs') / (macs || 1)), color: 'var(--muted)',
     note: 'of all multiply-accumulates'}],
    rows, {noun: 'layers', totals: {name: 'all', fp32_bytes: exact(sum('fp32_bytes')), int8_bytes: exact(sum('int8_bytes')),
                                    ms: ms ? fixed(ms, 3) : '', share: hasMacs ? '100%' : ''}}));
}
