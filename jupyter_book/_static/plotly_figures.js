/* Draws the plotly figures of a page from the data beside them: no kernel, no other host.
 * Until one comes near the screen its still stands there, and plotly's script is not loaded. */
document.addEventListener("DOMContentLoaded", () => {
  const here = document.querySelector('script[src*="plotly_figures.js"]').src;
  const library = new URL("plotly/plotly-gl3d.min.js", here).href;
  const DARK = { "#0072B2": "#4ba6e0", "#D55E00": "#f0823d", "#009E73": "#2fc79b",
    "#CC79A7": "#dd98bf", "#333333": "#aab3bd", "#E8EDF2": "#3a434e" };
  const radians = Math.PI / 180;
  let loading;

  function load() {
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: library, onload: done, onerror: failed });
      document.head.append(script);
    });
    return loading;
  }

  function parse(text) {
    const dark = document.documentElement.dataset.theme === "dark";
    const shown = dark ? text.replace(/#[0-9A-F]{6}/g, (colour) => DARK[colour] ?? colour) : text;
    const { data, layout } = JSON.parse(shown);
    const { sliders = [], title, meta, ...rest } = layout;
    const font = { ...rest.font, color: dark ? "#e7eaee" : "#1d2329" };
    return { data, sliders, layout: { ...rest, font, margin: { l: 0, r: 0, t: 0, b: 0 },
      paper_bgcolor: "rgba(0,0,0,0)", autosize: true } };
  }

  /** A native slider: named, with its value in words, and moved by keys. */
  function range(box, name, last, start, word, moved) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const value = document.createElement("output");
    Object.assign(input, { type: "range", min: 0, max: last, value: start, autocomplete: "off" });
    const tell = () => {
      value.textContent = word(Number(input.value));
      input.setAttribute("aria-valuetext", value.textContent);
    };
    input.setAttribute("aria-label", name);
    input.addEventListener("input", () => { tell(); moved(Number(input.value)); });
    label.append(Object.assign(document.createElement("span"), { textContent: name }), input, value);
    box.append(label);
    tell();
    return (position) => { input.value = position; tell(); };
  }

  async function draw(figure) {
    const text = figure.querySelector("script").textContent;
    const plot = figure.querySelector(".otlab-plot");
    const box = figure.querySelector(".otlab-plot-controls");
    await load();
    const { data, layout, sliders } = parse(text);
    const height = () => Math.min(520, Math.max(300, figure.clientWidth * 0.8));
    figure.classList.add("on");
    await Plotly.newPlot(plot, data, { ...layout, height: height() },
      { responsive: true, displayModeBar: false });
    const positions = [];
    sliders.forEach((slider, k) => {
      const steps = slider.steps;
      positions[k] = slider.active ?? 0;
      range(box, (slider.currentvalue?.prefix ?? "").replace(/[=:\s]+$/, "") || slider.name,
        steps.length - 1, positions[k], (j) => steps[j].label, (j) => {
          positions[k] = j;
          Plotly[steps[j].method](plot, ...structuredClone(steps[j].args)).then(count);
        });
    });
    const count = () => { plot.dataset.drawn = Number(plot.dataset.drawn ?? 0) + 1; };
    if (layout.scene) turn(plot, box, layout.scene.camera?.eye ?? { x: 1.25, y: 1.25, z: 1.25 });
    new MutationObserver(() => {
      const next = parse(text);
      next.layout.scene = { ...next.layout.scene, camera: plot.layout.scene?.camera };
      Plotly.react(plot, next.data, { ...next.layout, height: height() }).then(() => sliders.forEach(
        (s, k) => Plotly[s.steps[positions[k]].method](plot, ...structuredClone(s.steps[positions[k]].args))));
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  }

  /** Two sliders that move the eye round the scene; dragging moves them in turn. */
  function turn(plot, box, eye) {
    const far = Math.hypot(eye.x, eye.y, eye.z);
    const angles = ({ x, y, z }) => [Math.atan2(y, x) / radians,
      Math.asin(z / Math.hypot(x, y, z)) / radians];
    let [round, up] = angles(eye);
    const look = () => {
      const flat = far * Math.cos(up * radians);
      Plotly.relayout(plot, { "scene.camera.eye": { x: flat * Math.cos(round * radians),
        y: flat * Math.sin(round * radians), z: far * Math.sin(up * radians) } });
    };
    const setRound = range(box, "turn", 72, Math.round(round / 5) + 36, (k) => `${(k - 36) * 5}°`,
      (k) => { round = (k - 36) * 5; look(); });
    const setUp = range(box, "tilt", 34, Math.round(up / 5) + 17, (k) => `${(k - 17) * 5}°`,
      (k) => { up = (k - 17) * 5; look(); });
    plot.on("plotly_relayout", (change) => {
      const moved = change["scene.camera"]?.eye;
      if (!moved) return;
      [round, up] = angles(moved);
      setRound(Math.round(round / 5) + 36);
      setUp(Math.round(up / 5) + 17);
    });
  }

  const able = document.createElement("canvas").getContext("webgl");
  if (!able) return; // the still stays
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      draw(target).catch((error) => { target.classList.remove("on"); console.error(error); });
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll("figure.otlab-plotly").forEach((figure) => watch.observe(figure));
});
