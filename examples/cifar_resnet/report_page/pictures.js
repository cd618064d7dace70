// ------------------------------------------------------------------------------------------------ what it got wrong

// One of three tables over the same classes. background(truth, prediction) and text(...) say what a cell looks like.
function matrix(title, note, classes, text, style, describe) {
  const n = classes.length;
  const cells = [];
  const show = (cell) => {
    const box = cell.getBoundingClientRect();
    showTip(box.right - 8, box.bottom - 8, describe(...cell.dataset.at.split(',').map(Number)));
  };
  const move = (e) => {
    const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -n, ArrowDown: n}[e.key];
    const next = steps && cells[cells.indexOf(e.target) + steps];
    if (!next) return;
    e.preventDefault();
    e.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };
  const body = classes.map((name, t) => el('tr', {}, el('th', {scope: 'row'}, name), classes.map((_, p) => {
    const cell = el('td', {'data-at': `${t},${p}`, tabindex: t + p ? -1 : 0, ...style(t, p)}, text(t, p));
    cells.push(cell);
    return cell;
  })));
  const table = el('table', {class: 'matrix', onfocusin: (e) => e.target.dataset.at && show(e.target), onfocusout: hideTip, onkeydown: move,
      onpointerover: (e) => e.target.dataset.at ? show(e.target) : hideTip(), onpointerleave: hideTip},
    el('caption', {}, el('b', {}, title), ' ', note),
    el('thead', {}, el('tr', {}, el('td', {class: 'corner'}, 'truth ↓ predicted →'),
      classes.map((c) => el('th', {scope: 'col'}, el('span', {}, c))))),
    el('tbody', {}, body));
  return el('div', {class: 'scroll'}, table);
}

// Which ink a background needs.
const depth = (strength) => (strength > 78 ? 'deep deeper' : strength > 62 ? 'deep' : '');

function showConfusion(confusion) {
  if (!confusion) return;
  const {classes, fp32, int8} = confusion, n = classes.length;
  const at = (counts, t, p) => counts[t * n + p];
  const total = (counts) => counts.reduce((a, b) => a + b, 0);
  const right = (counts) => classes.reduce((sum, _, i) => sum + at(counts, i, i), 0);
  const row = (counts, t) => Math.max(1, total(counts.slice(t * n, (t + 1) * n)));
  const body = section('confusion', 'Confusion matrices',
    'A row holds the images of one class, a column those that the network takes for it. Mistakes are coloured by the square ' +
    'root of their share of the row, so that rare ones can be seen. Point at a cell, or walk with the arrow keys.');
  const describe = (t, p) => [`truth ${classes[t]}, predicted ${classes[p]}: ${at(fp32, t, p)} → ${at(int8, t, p)}`,
    `of ${count(row(fp32, t))} images of class ${classes[t]}; fp32 → int8`];
  const of = (counts) => [(t, p) => count(at(counts, t, p)), (t, p) => {
    const share = at(counts, t, p) / row(counts, t);
    const strength = t === p ? 25 + 60 * share * share : Math.min(85, 160 * Math.sqrt(share));
    return at(counts, t, p) === 0 ? {class: 'zero'}
      : {class: depth(strength), style: `--c:var(${t === p ? '--fp32' : '--bad'});--s:${strength.toFixed(0)}%`};
  }];
  const change = (t, p) => at(int8, t, p) - at(fp32, t, p);
  const largest = Math.max(1, ...fp32.map((_, i) => Math.abs(int8[i] - fp32[i])));
  const summary = (counts) => `${count(right(counts))} of ${count(total(counts))} right`;
  body.append(el('div', {class: 'grid3'},
    matrix('fp32', summary(fp32), classes, ...of(fp32), describe), matrix('int8', summary(int8), classes, ...of(int8), describe),
    matrix('int8 − fp32', 'green: better, red: worse', classes,
      (t, p) => (change(t, p) > 0 ? '+' : change(t, p) < 0 ? '−' : '') + Math.abs(change(t, p)),
      (t, p) => {
        if (change(t, p) === 0) return {class: 'zero'};
        const strength = 20 + (65 * Math.abs(change(t, p))) / largest;
        return {class: depth(strength),
                style: `--c:var(${change(t, p) > 0 === (t === p) ? '--good' : '--bad'});--s:${strength.toFixed(0)}%`};
      }, describe)));
}

function showMisclassified(details) {
  if (!details) return;
  const {classes, misclassified, wrong} = details;
  const body = section('mistakes', 'Misclassified images', wrong === 0 ? 'There are none: every image was classified correctly.'
    : `${count(misclassified.length)} of ${count(wrong)} test images that one network or both got wrong; first those on which ` +
      'the networks disagree, which is what quantization changed. Bars are probabilities of the three likeliest classes.');
  if (!misclassified.length) return;
  const differ = (m) => m.fp32[0].class !== m.int8[0].class;
  const guesses = (m, net) => el('div', {}, el('b', {style: `color:var(--${net}-text)`}, net), m[net].map((g) =>
    el('div', {class: g.class === m.truth ? 'guess right' : 'guess'}, el('span', {}, classes[g.class]),
      minibar(g.probability), el('span', {}, percent(g.probability, g.probability > 0.995 && g.probability < 1 ? 1 : 0)))));
  const cards = misclassified.map((m) => el('li', {class: differ(m) ? 'card differ' : 'card'},
    el('div', {class: 'who'}, photo(m.pixels, `test image ${m.index}, a ${classes[m.truth]}`),
      el('div', {}, el('b', {}, classes[m.truth]), el('small', {}, `image ${m.index}`),
        differ(m) ? el('small', {class: 'flag'}, m.fp32[0].class === m.truth ? 'only fp32 right'
          : m.int8[0].class === m.truth ? 'only int8 right' : 'both wrong, differently') : el('small', {}, 'both say ' + classes[m.fp32[0].class]))),
    el('div', {class: 'sides'}, guesses(m, 'fp32'), guesses(m, 'int8'))));
  let only = false, truth = '';
  const counter = el('span', {class: 'count', role: 'status'});
  const update = () => {
    let shown = 0;
    cards.forEach((card, i) => {
      card.hidden = (only && !differ(misclassified[i])) || (truth !== '' && String(misclassified[i].truth) !== truth);
      shown += !card.hidden;
    });
    counter.textContent = `${shown} shown`;
  };
  const select = el('select', {onchange: () => { truth = select.value; update(); }}, el('option', {value: ''}, 'all classes'),
    classes.map((c, i) => (misclassified.some((m) => m.truth === i) ? el('option', {value: i}, c) : null)));
  update();
  body.append(el('div', {class: 'controls'}, el('label', {}, 'truth ', select),
    checkbox('only where the networks disagree', (on) => { only = on; update(); }), counter), el('ul', {class: 'cards'}, cards));
}

// ---------------------------------------------------------------------------------------------------- feature maps

function showFeatures(features) {
  if (!features) return;
  const body = section('features', 'Feature maps',
    'What the first channels of some layers of the trained fp32 network make of one image, each from its least (dark) to its ' +
    'largest value (bright).');
  body.append(el('div', {class: 'features'}, el('figure', {}, photo(features.pixels, features.caption), el('figcaption', {}, features.caption)),
    el('div', {}, features.layers.map((l) => el('div', {}, el('h3', {}, l.name, el('small', {}, ` ${l.channels.length} of ${l.all} channels, ${l.height} × ${l.width}`)),
      el('div', {class: 'maps'}, l.channels.map((text, c) => {
        const map = decoded(text);
        return pixels(l.width, l.height, `${l.name}, channel ${c}`, (i) => viridis(map[i]));
      })))))));
}
