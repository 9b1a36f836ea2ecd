/* Panels: images, matrices, and marks on axes, on one canvas each. */
import { FONT, axesBox, labelSpace, drawAxes } from "./axes.js";
import { raster } from "./shapes.js";
import { DRAW } from "./marks.js";
import { drawLineLabels } from "./line_labels.js";

function imageGrid(mark, w) {
  const [count, rows, columns] = mark.shape;
  const across = Math.min(mark.columns, count);
  const gap = w / across > 40 ? 6 : 3;
  const wide = Math.min(180, (w - gap * (across - 1)) / across);
  return { across, gap, wide, high: (wide * rows) / columns, down: Math.ceil(count / across), words: mark.labels ? 17 : 0 };
}

/** The height a panel would like at this width. */
export function naturalHeight(ctx, panel, w) {
  if (panel.layout === "images") {
    const g = imageGrid(panel.marks[0], w);
    return g.down * (g.high + g.words + g.gap);
  }
  if (panel.layout === "matrix") {
    const [rows, columns] = panel.marks[0].shape;
    return Math.min(400, ((w - 20) * rows) / columns) + (panel.xlabel ? 20 : 2) + (panel.ylabel ? 18 : 0);
  }
  const box = axesBox(ctx, panel, w, 260);
  const around = 260 - box.H;
  if (!panel.equal) return Math.max(170, Math.min(300, 0.72 * w)) + 20;
  const free = w - 8 - (panel.axes ? 40 : 6);
  const ratio = (panel.ylim[1] - panel.ylim[0]) / (panel.xlim[1] - panel.xlim[0]);
  const edge = (panel.axes ? 20 : 6) + (panel.xlabel && panel.axes ? 18 : 0) + (panel.ylabel && panel.axes ? 24 : 8);
  return Math.min(440, Math.max(120, free * ratio)) + Math.min(edge, Math.max(14, around));
}

function drawImages(ctx, mark, block, w, theme) {
  const g = imageGrid(mark, w);
  const [count, rows, columns] = mark.shape;
  const channels = mark.shape.length === 4 ? 3 : 1;
  const size = rows * columns * channels;
  const left = (w - g.across * (g.wide + g.gap) + g.gap) / 2;
  ctx.imageSmoothingEnabled = false;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  ctx.fillStyle = theme.muted;
  for (let i = 0; i < count; i++) {
    const x = left + (i % g.across) * (g.wide + g.gap);
    const y = Math.floor(i / g.across) * (g.high + g.gap + g.words);
    ctx.drawImage(raster(block, mark.value.at + i * size, rows, columns, channels, mark.cmap), x, y, g.wide, g.high);
    if (mark.labels) ctx.fillText(mark.labels[i], x + g.wide / 2, y + g.high + 3, g.wide + g.gap);
  }
}

function drawMatrix(ctx, panel, block, w, h, theme) {
  const [rows, columns] = panel.marks[0].shape;
  const top = panel.ylabel ? 18 : 0;
  const H = h - top - (panel.xlabel ? 20 : 2);
  const W = Math.min(w, (H * columns) / rows);
  const box = { L: 0, T: top, W, H: (W * rows) / columns };
  DRAW.heatmap(ctx, panel.marks[0], block, box);
  ctx.fillStyle = theme.ink;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "right";
  if (panel.xlabel) ctx.fillText(panel.xlabel, box.L + box.W, box.T + box.H + 15);
  ctx.textAlign = "left";
  if (panel.ylabel) ctx.fillText(panel.ylabel, box.L, 11);
}

/** Draw one panel on its canvas, w × h in CSS pixels. */
export function drawPanel(canvas, panel, block, w, h, theme) {
  const ratio = window.devicePixelRatio || 1;
  const [W, H] = [Math.round(w * ratio), Math.round(h * ratio)];
  if (canvas.width !== W || canvas.height !== H) {
    canvas.width = W;
    canvas.height = H;
    canvas.style.height = h + "px";
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, w, h);
  ctx.font = `${FONT}px ${theme.font}`;
  if (panel.layout === "images") return drawImages(ctx, panel.marks[0], block, w, theme);
  if (panel.layout === "matrix") return drawMatrix(ctx, panel, block, w, h, theme);
  const box = axesBox(ctx, panel, w, h);
  panel.labelled = labelSpace(ctx, panel, w) > 0;
  const under = panel.marks.filter((m) => m.kind === "heatmap");
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.L, box.T, box.W, box.H);
  ctx.clip();
  for (const mark of under) DRAW.heatmap(ctx, mark, block, box);
  ctx.restore();
  drawAxes(ctx, panel, box, theme, w);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.L - 5, box.T - 5, box.W + 10, box.H + 10);
  ctx.clip();
  for (const mark of panel.marks) if (mark.kind !== "heatmap") DRAW[mark.kind](ctx, mark, block, box, theme, panel);
  ctx.restore();
  if (panel.labelled) drawLineLabels(ctx, panel, block, box, theme);
}
