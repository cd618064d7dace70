const data = JSON.parse(document.getElementById('data').textContent);

// ------------------------------------------------------------------------------------------------------- elements

// A section of the page and its entry in the contents.
function section(id, title, intro) {
  document.getElementById('contents').append(el('li', {}, el('a', {href: '#' + id}, title)));
  const body = el('section', {id, 'aria-labelledby': id + '-title'}, el('h2', {id: id + '-title'}, title));
  if (intro) body.append(el('p', {class: 'intro'}, intro));
  document.getElementById('main').append(body);
  return body;
}

// Buttons of which one is on. change(value) is called at once and whenever another one is chosen.
function choice(label, values, change) {
  const buttons = values.map(([value, text]) =>
    el('button', {type: 'button', 'data-value': value, onclick: () => choose(value)}, text));
  const choose = (value) => {
    for (const b of buttons) b.setAttribute('aria-pressed', b.dataset.value === value);
    change(value);
  };
  choose(values[0][0]);
  return el('span', {class: 'choice', role: 'group', 'aria-label': label}, el('span', {class: 'label'}, label), buttons);
}

function checkbox(label, change) {
  const box = el('input', {type: 'checkbox', onchange: () => change(box.checked)});
  return el('label', {}, box, label);
}

// A bar of a length from 0 to 1 below a number; without a colour it has that of its place.
const minibar = (share, color) => el('span', {class: 'minibar', 'aria-hidden': true},
  el('i', {style: `width:${(100 * share).toFixed(1)}%` + (color ? `;background:${color}` : '')}));

// Calls draw(width) now and whenever the width of `host` changes.
function onWidth(host, draw) {
  let last = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== last) draw((last = width));
  }).observe(host);
}

// ----------------------------------------------------------------------------------------------------------- words

const isNumber = (v) => typeof v === 'number' && Number.isFinite(v);
const or = (v, format) => (isNumber(v) ? format(v) : '–');
const fixed = (v, places) => v.toFixed(places);
const times = (v) => v.toFixed(2) + '×';
const short = (v) => {
  if (v === 0 || !isNumber(v)) return String(v);
  return Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(2) : String(Number(v.toPrecision(4)));
};
const milliseconds = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v >= 1 ? v.toFixed(2) : v.toFixed(3)) + ' ms';
const bytes = (v) => {
  if (v >= 1048576) return (v / 1048576).toFixed(2) + ' MiB';
  if (v >= 1024) return (v / 1024).toFixed(v >= 10240 ? 0 : 1) + ' KiB';
  return v + ' B';
};

// ------------------------------------------------------------------------------------------------------------- tip

const tip = document.getElementById('tip');

// Lines are texts, or [text, colour of a mark before it].
function showTip(x, y, lines) {
  tip.replaceChildren(...lines.map((line) => {
    const [text, color] = Array.isArray(line) ? line : [line];
    return el('div', {}, color ? el('i', {style: `background:${color}`}) : null, text);
  }));
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect(), gap = 14;
  const left = x + gap + width > innerWidth ? x - gap - width : x + gap;
  tip.style.left = Math.max(4, Math.min(left, innerWidth - width - 4)) + 'px';
  tip.style.top = Math.max(4, Math.min(y + gap, innerHeight - height - 4)) + 'px';
}
const hideTip = () => { tip.hidden = true; };
addEventListener('keydown', (e) => { if (e.key === 'Escape') hideTip(); });
addEventListener('scroll', hideTip, {passive: true});

// The pictures of the logs: bytes in base64.
const decoded = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const pixels = (width, height, label, color) => paint(el('canvas', {role: 'img', 'aria-label': label}), width, height, color);
const photo = (text, label) => pixels(32, 32, label, planes(decoded(text), 32 * 32));
