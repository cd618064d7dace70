// -------------------------------------------------------------------------------------------------------- training

function showTraining({steps, epochs}) {
  if (!epochs.length && !steps.length) return;
  const body = section('training', 'Training',
    'Thin lines are training inside the epochs, each value the mean over the images since the one before; points are whole ' +
    'epochs. Point at a curve, or focus it and use the arrow keys.');
  const last = epochs.filter((e) => e.step > 0).at(-1);
  const perEpoch = last ? last.step / last.epoch : 0;
  const kinds = {
    step: {name: 'training, inside epochs', color: 'var(--train)'},
    train: {name: 'training, epochs', color: 'var(--train)'},
    validation: {name: 'validation', color: 'var(--other)'},
    test: {name: 'test', color: 'var(--held-out)'}};
  const known = Object.keys(kinds).filter((k) =>
    k === 'step' ? steps.length && perEpoch : k === 'train' ? epochs.length : epochs.some((e) => isNumber(e[k + '_loss'])));
  const on = new Set(known);
  let axis = 'step';
  const x = (step, epoch) => (axis === 'step' ? step : perEpoch ? step / perEpoch : epoch);
  const columns = {loss: 2, accuracy: 3, lr: 4, images_per_s: 5};  // of a step

  const group = [], charts = {};
  const grid = el('div', {class: 'grid2'});
  const add = (key, title, note, options) => {
    const box = chartBox(title, note);
    charts[key] = new LineChart(box, {label: title, group, ...options});
    grid.append(box);
  };
  add('loss', 'Loss', 'cross entropy, nats', {tipText: (v) => fixed(v, 4), yRange: (lo, hi) => [0, hi * 1.03]});
  add('accuracy', 'Accuracy', '', {
    yText: (v) => percent(v, 0), tipText: (v) => percent(v), yRange: (lo, hi) => [Math.min(Math.floor(lo * 10) / 10, 0.9), Math.max(1, hi)]});
  add('lr', 'Learning rate', '', {yRange: (lo, hi) => [0, hi * 1.05], tipText: short});
  add('images_per_s', 'Training speed', 'images per second', {yRange: (lo, hi) => [0, hi * 1.1], tipText: (v) => fixed(v, 0)});

  const update = () => {
    for (const [key, chart] of Object.entries(charts)) {
      const once = key === 'lr' || key === 'images_per_s';  // not measured on test or validation images
      chart.xText = (v) => (axis === 'step' ? count(Math.round(v)) : short(v));
      chart.set([...on].filter((k) => !once || k === 'step' || k === 'train').map((k) => ({
        ...kinds[k], thin: k === 'step', dots: k !== 'step',
        points: (k === 'step' ? steps.map((s) => [x(s[0], s[1]), s[columns[key]]])
          : epochs.map((e) => [x(e.step, e.epoch), e[once ? key : `${k}_${key}`]])).filter((p) => isNumber(p[1]))})), axis);
    }
  };
  const toggles = known.map((k) => el('button', {
    type: 'button', class: 'series', 'aria-pressed': true, 'data-series': k,
    onclick: (e) => {
      if (!on.delete(k)) on.add(k);
      e.currentTarget.setAttribute('aria-pressed', on.has(k));
      update();
    }}, el('i', {class: k === 'step' ? 'thin' : '', style: `background:${kinds[k].color}`}), kinds[k].name));
  const axes = perEpoch ? [['step', 'steps'], ['epoch', 'epochs']] : [['epoch', 'epochs']];
  body.append(el('div', {class: 'controls'},
    el('span', {class: 'legend', role: 'group', 'aria-label': 'curves'}, toggles),
    choice('over', axes, (value) => { axis = value; update(); })), grid);
}
