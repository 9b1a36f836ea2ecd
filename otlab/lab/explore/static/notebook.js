/* In a notebook: each state comes from the kernel. */
import { element } from "./words.js";
import { build } from "./figure.js";

const bytesOf = (b) => (b ? new Uint8Array(b.buffer || b, b.byteOffset || 0, b.byteLength) : new Uint8Array());

/** In a notebook: one request under way, the newest move next, the rest dropped. */
export function render({ model, el }) {
  const root = element("figure", "otlab-explore ox-on");
  const spec = model.get("spec");
  const view = Math.random().toString(36).slice(2);
  let flight = null, wanted = null, number = 0, clocks = [];

  function send() {
    flight = wanted;
    wanted = null;
    flight.id = ++number;
    model.send({ type: "ask", view, id: flight.id, index: flight.index });
    clocks.forEach(clearTimeout);
    clocks = [
      setTimeout(() => figure.wait("computing…"), 250),
      setTimeout(() => figure.wait("No answer yet. If the kernel is idle, run this cell again."), 12000),
    ];
  }

  const figure = build(root, spec, (index, started) => {
    wanted = { index, started };
    if (!flight) send();
    else if (performance.now() - flight.started > 20000) send(); // its answer was lost
  });

  function answer(message, buffers) {
    if (!message || message.type !== "state" || message.view !== view) return;
    if (!flight || message.id !== flight.id) return;
    clocks.forEach(clearTimeout);
    figure.wait("");
    const done = flight;
    flight = null;
    root.dataset.kernel = message.ms;
    if (message.error) figure.fail(message.error);
    else figure.show(message.state, bytesOf(buffers[0]), done.index, done.started);
    if (wanted) send();
  }

  if (spec.title) root.append(element("p", "otlab-title", spec.title));
  root.append(figure.app, element("figcaption", "", spec.caption));
  const alt = element("p", "ox-unseen", spec.alt);
  root.insertBefore(alt, figure.app);
  el.append(root);
  figure.show(JSON.parse(model.get("first")), bytesOf(model.get("first_bytes")), spec.controls.map((c) => c.start));
  model.on("msg:custom", answer);
  return () => {
    model.off("msg:custom", answer);
    clocks.forEach(clearTimeout);
    figure.forget();
  };
}
