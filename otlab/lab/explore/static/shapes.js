/* One mark on a path, arrow heads, words and rasters: what several marks are made of. */
import { table, mapOf, shade } from "./colours.js";

/** Add one mark to a path; the four shapes have about the same area. */
export function addShape(path, shape, x, y, r) {
  if (shape === "circle" || shape === "dot") {
    if (shape === "dot") r *= 0.7;
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 6.2832);
  } else if (shape === "triangle") {
    path.moveTo(x, y - 1.3 * r);
    path.lineTo(x + 1.18 * r, y + 0.8 * r);
    path.lineTo(x - 1.18 * r, y + 0.8 * r);
    path.closePath();
  } else if (shape === "diamond") {
    path.moveTo(x, y - 1.32 * r);
    path.lineTo(x + 1.12 * r, y);
    path.lineTo(x, y + 1.32 * r);
    path.lineTo(x - 1.12 * r, y);
    path.closePath();
  } else path.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
}

/** Elements 0..n−1 in groups of equal colour, drawn from low to high: [colour, indices]. */
export function byColour(mark, block, n, theme) {
  if (!mark.value) return [[theme[mark.role], null]];
  const level = block.subarray(mark.value.at, mark.value.at + n);
  const bins = Array.from({ length: 64 }, () => []);
  for (let i = 0; i < n; i++) bins[level[i] >> 2].push(i);
  return bins.map((some, k) => [shade(mapOf(mark, theme), 4 * k + 2), some]).filter(([, some]) => some.length);
}

export const each = (indices, n, f) => {
  if (indices) for (const i of indices) f(i);
  else for (let i = 0; i < n; i++) f(i);
};
export const radius = (n) => Math.max(1.7, Math.min(4.6, 9 - 0.95 * Math.log2(Math.max(n, 1))));
export const thin = (n) => Math.max(0.6, Math.min(1.6, 3 - 0.25 * Math.log2(Math.max(n, 1))));

export function arrowHead(path, a, b, c, d) {
  const length = Math.hypot(c - a, d - b);
  if (length < 1) return;
  const size = Math.min(5.5, 0.5 * length), u = (c - a) / length, v = (d - b) / length;
  path.moveTo(c, d);
  path.lineTo(c - size * (u + 0.5 * v), d - size * (v - 0.5 * u));
  path.lineTo(c - size * (u - 0.5 * v), d - size * (v + 0.5 * u));
  path.closePath();
}

/** Words on the picture, with a rim in the colour of the surface. */
export function words(ctx, theme, colour, text, x, y, right) {
  ctx.textAlign = right ? "right" : "left";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 3;
  ctx.lineJoin = "round";
  ctx.strokeStyle = theme.surface;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

/** Shades as a picture of one pixel a cell; three channels are taken as red, green, blue. */
export function raster(block, at, rows, columns, channels, cmap) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const ctx = canvas.getContext("2d");
  const picture = ctx.createImageData(columns, rows);
  const lut = table(cmap);
  for (let i = 0; i < rows * columns; i++) {
    for (let c = 0; c < 3; c++)
      picture.data[4 * i + c] = channels === 3 ? block[at + 3 * i + c] : lut[3 * block[at + i] + c];
    picture.data[4 * i + 3] = 255;
  }
  ctx.putImageData(picture, 0, 0);
  return canvas;
}
