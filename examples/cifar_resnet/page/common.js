// What both pages are made of: embed.cmake puts it before their own scripts.
'use strict';

// ------------------------------------------------------------------------------------------------------- elements

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name.startsWith('aria-')) node.setAttribute(name, value);  // their false is a value, too
    else if (value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((c) => c !== undefined && c !== null));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

// ----------------------------------------------------------------------------------------------------------- words

const count = (v) => v.toLocaleString('en-US');
const percent = (v, places = 2) => (100 * v).toFixed(places) + '%';

// 1, 2 or 5 times a power of ten, at least `least` apart: about `about` round numbers from lo to hi.
function roundNumbers(lo, hi, about, least = 0) {
  const raw = Math.max((hi - lo) / about, least), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw * 0.999) * power;
  const out = [];
  if (!(step > 0 && Math.max(Math.abs(lo), Math.abs(hi)) / step < 1e12)) return out;
  for (let k = Math.ceil(lo / step - 1e-6); k * step <= hi + 1e-6 * step; ++k) out.push(Number((k * step).toPrecision(14)) + 0);
  return out;
}

// -------------------------------------------------------------------------------------------------------- pictures

// Makes a canvas one of width x height pixels; color(i) gives [r, g, b] of the i-th one.
function paint(canvas, width, height, color) {
  Object.assign(canvas, {width, height});
  const context = canvas.getContext('2d'), image = context.createImageData(width, height);
  for (let i = 0; i < width * height; ++i) image.data.set([...color(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

// The color(i) of an image whose bytes lie in three planes of this size: red, green, blue.
const planes = (bytes, size) => (i) => [bytes[i], bytes[size + i], bytes[2 * size + i]];

// Of a byte: the colours of matplotlib's viridis, which are known at nine places.
const kViridis = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98],
                  [173, 220, 48], [253, 231, 37]];
function viridis(byte) {
  const at = (byte / 255) * 8, i = Math.min(7, Math.floor(at));
  return kViridis[i].map((v, k) => Math.round(v + (kViridis[i + 1][k] - v) * (at - i)));
}
