/* Axes: the box that they leave to a panel, their ticks, names of lines and bars. */
import { ticksOf } from "./ticks.js";

export const FONT = 11.5;

/** Where the axes of a panel lie on a canvas of w × h, and how data become pixels. */
export function axesBox(ctx, panel, w, h) {
  const equal = panel.equal;
  const top = panel.ylabel && panel.axes ? 24 : 8;
  const bottom = panel.axes ? 20 + barLabelSpace(ctx, panel, w) + (panel.xlabel ? 18 : 0) : 6;
  let H = Math.max(20, h - top - bottom);
  const ratio = equal ? (panel.ylim[1] - panel.ylim[0]) / (panel.xlim[1] - panel.xlim[0]) : 0;
  const likely = Math.min(w - 50, equal ? H / ratio : Infinity);
  const step = equal ? ticksOf(panel, "x", likely).step : undefined; // both axes of one measure
  const yTicks = ticksOf(panel, "y", H, step);
  const widest = Math.max(0, ...yTicks.map((t) => ctx.measureText(t.text).width));
  const left = panel.axes ? Math.ceil(widest) + 12 : 6;
  const right = 8 + labelSpace(ctx, panel, w);
  let W = Math.max(20, w - left - right);
  let L = left;
  if (equal) {
    const free = W;
    W = Math.min(W, H / ratio);
    H = W * ratio;
    L += (free - W) / 2;
  }
  const [x0, x1] = panel.xlim;
  const [y0, y1] = panel.ylim;
  return {
    L, T: top, W, H, right: w - right, yTicks, xTicks: ticksOf(panel, "x", W, step),
    x: (v) => L + ((v - x0) / (x1 - x0)) * W,
    y: (v) => top + H - ((v - y0) / (y1 - y0)) * H,
  };
}

export const endsAtRight = (m) => m.label && (m.kind === "lines" || (m.kind === "rule" && m.axis === "y"));

/** Room at the right for labels written at the ends of lines; 0 sends them to the legend. */
export function labelSpace(ctx, panel, w) {
  if (!panel.legend) return 0;
  const labels = panel.marks.filter(endsAtRight).map((m) => m.label);
  const widest = Math.max(0, ...labels.map((text) => ctx.measureText(text).width));
  return widest && widest < 0.32 * w ? Math.ceil(widest) + 8 : 0;
}

function wrapBarName(ctx, text, room) {
  const lines = [];
  for (const word of text.split(" ")) {
    const joined = lines.length ? lines[lines.length - 1] + " " + word : word;
    if (lines.length && ctx.measureText(joined).width <= room) lines[lines.length - 1] = joined;
    else lines.push(word);
  }
  return lines;
}

function barLabels(ctx, panel, w) {
  const bars = panel.marks.find((m) => m.kind === "bars");
  if (!bars) return null;
  const room = (w - 50) / Math.max(1, bars.names.length) - 4;
  const lines = bars.names.map((name) => wrapBarName(ctx, name, room));
  const fits = lines.every((some) => some.every((line) => ctx.measureText(line).width <= room));
  const numeric = bars.names.every((name) => !Number.isNaN(Number(name)));
  return { lines, slant: !fits && !numeric, room };
}

function barLabelSpace(ctx, panel, w) {
  const labels = barLabels(ctx, panel, w);
  if (!labels) return 0;
  if (!labels.slant) return 14 * (Math.max(...labels.lines.map((some) => some.length)) - 1);
  const widest = Math.max(...labels.lines.map((some) => ctx.measureText(some.join(" ")).width));
  return Math.min(70, widest * 0.64);
}

export function drawAxes(ctx, panel, box, theme, w) {
  const { L, T, W, H } = box;
  if (!panel.axes) return;
  ctx.lineWidth = 1;
  ctx.strokeStyle = theme.grid;
  ctx.beginPath();
  const half = (v) => Math.round(v) + 0.5;
  const bars = barLabels(ctx, panel, w);
  const field = panel.marks.some((m) => m.kind === "heatmap");
  if (!field) for (const t of box.yTicks) { ctx.moveTo(L, half(box.y(t.at))); ctx.lineTo(L + W, half(box.y(t.at))); }
  if (!bars && !field) for (const t of box.xTicks) { ctx.moveTo(half(box.x(t.at)), T); ctx.lineTo(half(box.x(t.at)), T + H); }
  ctx.stroke();
  ctx.strokeStyle = theme.axis;
  ctx.beginPath();
  ctx.moveTo(L, half(T + H));
  ctx.lineTo(L + W, half(T + H));
  ctx.stroke();
  ctx.fillStyle = theme.muted;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  for (const t of box.yTicks) ctx.fillText(t.text, L - 6, box.y(t.at));
  ctx.textBaseline = "top";
  ctx.textAlign = "center";
  if (bars) drawBarNames(ctx, bars, box);
  else drawXTicks(ctx, box);
  ctx.fillStyle = theme.ink;
  ctx.textAlign = "right";
  ctx.textBaseline = "alphabetic";
  if (panel.xlabel) ctx.fillText(panel.xlabel, L + W, T + H + 33 + (bars ? barLabelSpace(ctx, panel, w) : 0));
  ctx.textAlign = "left";
  if (panel.ylabel) ctx.fillText(panel.ylabel, Math.min(L, 2), T - 11);
}

function drawXTicks(ctx, box) {
  let end = -Infinity;
  for (const t of box.xTicks) {
    const half = ctx.measureText(t.text).width / 2;
    const x = box.x(t.at);
    if (x - half < end + 5) continue;
    ctx.fillText(t.text, x, box.T + box.H + 6);
    end = x + half;
  }
}

function drawBarNames(ctx, bars, box) {
  const y = box.T + box.H + 6;
  if (!bars.slant) {
    const widest = Math.max(...bars.lines.flat().map((line) => ctx.measureText(line).width));
    const stride = Math.ceil((widest + 6) / (bars.room + 4));
    bars.lines.forEach((some, at) => {
      if (stride > 1 && at % stride) return;
      some.forEach((line, k) => ctx.fillText(line, box.x(at), y + 14 * k));
    });
    return;
  }
  ctx.textAlign = "right";
  bars.lines.forEach((some, at) => {
    ctx.save();
    ctx.translate(box.x(at) + 4, y + 2);
    ctx.rotate(-0.65);
    ctx.fillText(some.join(" "), 0, 0);
    ctx.restore();
  });
  ctx.textAlign = "center";
}
