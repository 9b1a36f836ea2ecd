/* Names of lines, beside their ends and apart from each other. */
import { decode } from "./arrays.js";
import { endsAtRight } from "./axes.js";
import { words } from "./shapes.js";

/** Labels at the ends of lines, moved apart where they would touch. */
export function drawLineLabels(ctx, panel, block, box, theme) {
  const labels = [];
  for (const mark of panel.marks) {
    if (!endsAtRight(mark) || (mark.x && !mark.x.n)) continue;
    if (mark.kind === "rule") {
      const v = box.y(decode(mark.at, block)[0]);
      labels.push({ text: mark.label, x: box.L + box.W + 8, y: v, colour: theme.text[mark.role] });
      continue;
    }
    const x = decode(mark.x, block), y = decode(mark.y, block);
    let end = 0;
    for (let i = 1; i < x.length; i++) if (x[i] >= x[end]) end = i;
    const colour = mark.value ? theme.ink : theme.text[mark.role];
    const inside = Math.max(box.T, Math.min(box.T + box.H, box.y(y[end])));
    labels.push({ text: mark.label, x: Math.min(box.x(x[end]), box.L + box.W) + 8, y: inside, colour });
  }
  labels.sort((a, b) => a.y - b.y);
  for (let sweep = 0; sweep < 8; sweep++)
    for (let i = 1; i < labels.length; i++) {
      const gap = 14 - (labels[i].y - labels[i - 1].y);
      if (gap > 0) { labels[i - 1].y -= gap / 2; labels[i].y += gap / 2; }
    }
  for (const label of labels) words(ctx, theme, label.colour, label.text, label.x, label.y, false);
}
