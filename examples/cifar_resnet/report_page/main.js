// ------------------------------------------------------------------------------------------------------------ page

function showNumbers(head, training, latency) {
  const cards = [];
  const add = (label, value, note, kind = '') => cards.push(el('div', {class: 'number-card ' + kind}, el('dt', {}, label), el('dd', {}, value), el('p', {}, note)));
  const images = isNumber(head.test_images) ? `of ${count(head.test_images)} test images` : 'of the test images';
  const last = training.epochs.at(-1);
  if (isNumber(head.fp32_accuracy)) {
    add('fp32 accuracy', percent(head.fp32_accuracy), `${images} that the float network classifies correctly` +
      (last ? `, after ${count(last.epoch)} ${last.epoch === 1 ? 'epoch' : 'epochs'} of training` : ''), 'fp32');
  }
  if (isNumber(head.int8_accuracy)) add('int8 accuracy', percent(head.int8_accuracy), `the same, of the network in the int8 file`, 'int8');
  if (isNumber(head.accuracy_drop)) {
    const p = head.mcnemar_p;
    add('Drop', `${fixed(head.accuracy_drop, 2).replace('-', '−')} points`, 'what quantization costs, in percentage points' + (isNumber(p)
      ? `; chance alone gives a difference this large with probability ${p < 0.001 ? 'below 0.001' : fixed(p, p < 0.1 ? 3 : 2)} (McNemar)` : ''));
  }
  if (isNumber(head.agreement)) {
    add('Agreement', percent(head.agreement), 'of the images get the same class from both networks' +
      (isNumber(head.changed_labels) ? `; ${count(head.changed_labels)} get another one` : ''));
  }
  if (isNumber(head.int8_file_bytes) && isNumber(head.fp32_file_bytes)) {
    add('Size of the file', bytes(head.int8_file_bytes), `of the int8 network, ${times(head.fp32_file_bytes / head.int8_file_bytes)} smaller than ` +
      `${bytes(head.fp32_file_bytes)} in fp32`);
  } else if (isNumber(head.fp32_file_bytes)) {
    add('Size of the file', bytes(head.fp32_file_bytes), 'of the fp32 network');
  }
  const pairs = latencyPairs(latency?.ptq ?? latency?.bench ?? []), most = Math.max(0, ...pairs.map((p) => p.threads));
  for (const batch of [1, 32]) {
    const pair = pairs.find((p) => p.batch === batch && p.threads === most);
    if (speedup(pair)) {
      add(batch === 1 ? 'Speed-up, one image' : `Speed-up, batch of ${batch}`, times(speedup(pair)), `${milliseconds(pair.fp32.ms_per_image)} → ` +
        `${milliseconds(pair.int8.ms_per_image)} per image, fp32 → int8, with ${threadsText(most)}`);
    }
  }
  if (isNumber(head.int8_mac_coverage)) {
    add('Runs in int8', percent(head.int8_mac_coverage, head.int8_mac_coverage === 1 ? 0 : 2), 'of all multiply-accumulates; the rest stays in float');
  }
  const rows = head.about.map(([name, value]) => {
    const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : typeof value === 'number' ? (Number.isInteger(value) ? String(value) : short(value)) : value;
    return el('tr', {}, el('th', {scope: 'row'}, name.replaceAll('_', ' ')), el('td', {}, text));
  });
  if (!cards.length && !rows.length) return;
  const body = section('numbers', 'Results');
  if (cards.length) body.append(el('dl', {class: 'numbers'}, cards));
  if (rows.length) {
    body.append(el('details', {}, el('summary', {}, 'Machine, version and options of the commands'),
      el('div', {class: 'scroll'}, el('table', {class: 'about'}, el('tbody', {}, rows)))));
  }
}

function themeButton() {
  const button = document.getElementById('theme'), names = {auto: 'Colours: system', light: 'Colours: light', dark: 'Colours: dark'};
  let theme = 'auto';
  try { theme = localStorage.getItem('mininn-theme') ?? theme; } catch { /* a page from a file may have no storage */ }
  const apply = () => {
    if (!(theme in names)) theme = 'auto';
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = names[theme];
  };
  button.addEventListener('click', () => {
    const order = Object.keys(names);
    theme = order[(order.indexOf(theme) + 1) % order.length];
    try { localStorage.setItem('mininn-theme', theme); } catch { /* as above */ }
    apply();
  });
  apply();
}

themeButton();
showNumbers(data.head, data.training, data.latency);
showTraining(data.training);
showLayers(data.layers);
showConfusion(data.confusion);
showMisclassified(data.details);
showHistograms(data.details);
showMemory(data.details, data.head);
showLatency(data.latency);
showFeatures(data.features);
