/* Draws the plotly figures of a page from the data beside them; no kernel, no other host. */
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure.otlab-plotly")) {
    const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
    window.Plotly.newPlot(figure.querySelector("div"), data, { ...layout, autosize: true }, {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["sendDataToCloud"],
    });
  }
});
