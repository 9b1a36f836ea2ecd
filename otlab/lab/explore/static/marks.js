/* Marks: points, segments, paths, lines, bars, rules, as the scene names them. */
import { decode } from "./arrays.js";
import { mapOf, shade } from "./colours.js";
import { SHAPES } from "./theme.js";
import { addShape, byColour, each, radius, thin, arrowHead, words, raster } from "./shapes.js";

export const DRAW = {
  points(ctx, mark, block, box, theme) {
    const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
    const r = mark.size || radius(n) * Math.max(0.75, Math.min(1.1, box.W / 300));
    for (const [colour, some] of byColour(mark, block, n, theme)) {
      const path = new Path2D();
      each(some, n, (i) => addShape(path, SHAPES[mark.role], box.x(x[i]), box.y(y[i]), r));
      if (n <= 600) {
        ctx.lineWidth = 1.6;
        ctx.strokeStyle = theme.surface;
        ctx.stroke(path);
      }
      ctx.globalAlpha = n > 600 && !some ? 0.8 : 1;
      ctx.fillStyle = colour;
      ctx.fill(path);
      ctx.globalAlpha = 1;
    }
  },

  segments(ctx, mark, block, box, theme, panel) {
    const field = panel.marks.some((m) => m.kind === "heatmap"); // any colour may lie below
    const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
    const x2 = decode(mark.x2, block), y2 = decode(mark.y2, block);
    ctx.lineWidth = mark.head ? 1.3 : thin(n);
    ctx.lineCap = "round";
    for (const [colour, some] of byColour(mark, block, n, theme)) {
      ctx.strokeStyle = ctx.fillStyle = colour;
      ctx.globalAlpha = some || mark.head ? 0.9 : mark.role === "plan" ? 0.4 : 0.6;
      const path = new Path2D(), heads = new Path2D();
      each(some, n, (i) => {
        const a = box.x(x[i]), b = box.y(y[i]), c = box.x(x2[i]), d = box.y(y2[i]);
        path.moveTo(a, b);
        path.lineTo(c, d);
        if (mark.head) arrowHead(heads, a, b, c, d);
      });
      if (field) {
        ctx.save();
        ctx.strokeStyle = "#ffffff";
        ctx.lineWidth += 1.8;
        ctx.stroke(path);
        ctx.stroke(heads);
        ctx.restore();
      }
      if (field && mark.role === "plan" && !some) ctx.strokeStyle = ctx.fillStyle = "#333333";
      ctx.stroke(path);
      if (mark.head) ctx.fill(heads);
    }
    ctx.globalAlpha = 1;
  },

  paths(ctx, mark, block, box, theme) {
    const x = decode(mark.x, block), y = decode(mark.y, block), k = mark.k, n = x.length / k;
    ctx.lineWidth = thin(n);
    ctx.lineJoin = "round";
    for (const [colour, some] of byColour(mark, block, n, theme)) {
      ctx.strokeStyle = colour;
      ctx.globalAlpha = some ? 0.9 : 0.5;
      const path = new Path2D();
      each(some, n, (i) => {
        path.moveTo(box.x(x[i * k]), box.y(y[i * k]));
        for (let j = i * k + 1; j < (i + 1) * k; j++) path.lineTo(box.x(x[j]), box.y(y[j]));
      });
      ctx.stroke(path);
    }
    ctx.globalAlpha = 1;
  },

  lines(ctx, mark, block, box, theme) {
    const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
    if (!n) return;
    const colour = mark.value ? shade(mapOf(mark, theme), block[mark.value.at]) : theme[mark.role];
    if (mark.low) {
      const low = decode(mark.low, block), high = decode(mark.high, block);
      ctx.beginPath();
      for (let i = 0; i < n; i++) ctx.lineTo(box.x(x[i]), box.y(low[i]));
      for (let i = n - 1; i >= 0; i--) ctx.lineTo(box.x(x[i]), box.y(high[i]));
      ctx.fillStyle = colour;
      ctx.globalAlpha = 0.18;
      ctx.fill();
      ctx.globalAlpha = 1;
    }
    ctx.beginPath();
    for (let i = 0; i < n; i++) ctx.lineTo(box.x(x[i]), box.y(y[i]));
    ctx.strokeStyle = colour;
    ctx.lineWidth = mark.role === "plan" ? 1.3 : 2;
    ctx.lineJoin = "round";
    if (mark.role === "baseline") ctx.setLineDash([6, 4]);
    ctx.stroke();
    ctx.setLineDash([]);
    if (mark.role !== "plan" && (mark.marks ?? n <= 12)) {
      const path = new Path2D();
      for (let i = 0; i < n; i++) addShape(path, SHAPES[mark.role], box.x(x[i]), box.y(y[i]), 3.8);
      ctx.lineWidth = 2.4;
      ctx.strokeStyle = theme.surface;
      ctx.stroke(path);
      ctx.fillStyle = colour;
      ctx.fill(path);
    }
  },

  rule(ctx, mark, block, box, theme, panel) {
    const at = decode(mark.at, block)[0];
    const { L, T, W, H } = box;
    const v = Math.round(mark.axis === "y" ? box.y(at) : box.x(at)) + 0.5;
    ctx.strokeStyle = theme[mark.role];
    ctx.lineWidth = 1;
    ctx.setLineDash([4, 3]);
    ctx.beginPath();
    if (mark.axis === "y") { ctx.moveTo(L, v); ctx.lineTo(L + W, v); }
    else { ctx.moveTo(v, T); ctx.lineTo(v, T + H); }
    ctx.stroke();
    ctx.setLineDash([]);
    if (!mark.label || (mark.axis === "y" && panel.labelled)) return;
    const y = mark.axis === "y" ? v - 7 : T + 8;
    const right = mark.axis === "y" || v > L + W / 2;
    words(ctx, theme, theme.text[mark.role], mark.label, mark.axis === "y" ? L + W - 4 : v + (right ? -5 : 5), y, right);
  },

  labels(ctx, mark, block, box, theme) {
    const x = decode(mark.x, block), y = decode(mark.y, block);
    mark.texts.forEach((text, i) => {
      const right = box.x(x[i]) > box.L + 0.75 * box.W;
      words(ctx, theme, theme.text[mark.role], text, box.x(x[i]) + (right ? -8 : 8), box.y(y[i]) - 8, right);
    });
  },

  bars(ctx, mark, block, box, theme, panel) {
    const group = panel.marks.filter((m) => m.kind === "bars");
    const y = decode(mark.y, block), zero = box.y(decode(mark.zero, block)[0]);
    const slot = 0.76 / group.length;
    const centre = (i) => box.x(i + (group.indexOf(mark) - (group.length - 1) / 2) * slot);
    const wide = (box.x(slot) - box.x(0)) * 0.9;
    ctx.fillStyle = theme[mark.role];
    y.forEach((v, i) => ctx.fillRect(centre(i) - wide / 2, Math.min(zero, box.y(v)), wide, Math.abs(box.y(v) - zero)));
    if (!mark.low) return;
    const low = decode(mark.low, block), high = decode(mark.high, block);
    ctx.strokeStyle = theme.ink;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    y.forEach((_, i) => {
      const c = centre(i), cap = Math.min(5, wide / 3);
      ctx.moveTo(c, box.y(low[i])); ctx.lineTo(c, box.y(high[i]));
      for (const end of [low[i], high[i]]) { ctx.moveTo(c - cap, box.y(end)); ctx.lineTo(c + cap, box.y(end)); }
    });
    ctx.stroke();
  },

  heatmap(ctx, mark, block, box) {
    const [rows, columns] = mark.shape;
    const picture = raster(block, mark.value.at, rows, columns, 1, mark.cmap);
    ctx.imageSmoothingEnabled = false;
    if (!mark.x) return ctx.drawImage(picture, box.L, box.T, box.W, box.H);
    const [x0, x1] = decode(mark.x, block), [y0, y1] = decode(mark.y, block);
    ctx.save();
    ctx.translate(box.x(x0), box.y(y0));
    ctx.scale((box.x(x1) - box.x(x0)) / columns, (box.y(y1) - box.y(y0)) / rows);
    ctx.drawImage(picture, 0, 0);
    ctx.restore();
  },
};
