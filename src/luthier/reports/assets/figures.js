// Draws every figure of the page as the reader's screen wants it, and searches the points of those with a search box.
const dark = matchMedia("(prefers-color-scheme: dark)");
const templates = JSON.parse(document.getElementById("templates").textContent);
const narrow = matchMedia("(max-width: 640px)");
const below = { orientation: "h", x: 0, y: -0.15, yanchor: "top", font: { size: 11 } };
const line = 20;  // pixels of one name in a legend

for (const place of document.querySelectorAll(".plot")) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const config = { displaylogo: false, responsive: true };
  Plotly.newPlot(place, figure.data, { ...figure.layout, ...fitting(place, figure), autosize: true }, config).then(() => {
    place.dataset.drawn = "yes";
    const search = place.parentNode.querySelector(".search");
    if (search) searchable(place, search.querySelector("input"), search.querySelector("output"));
  });
  for (const screen of [dark, narrow])
    screen.addEventListener("change", () => Plotly.relayout(place, fitting(place, figure)));
}

// The colours of the theme; on a narrow screen a legend that would stand beside the plot, and over its points, stands
// below it in room of its own.
function fitting(place, figure) {
  let { legend = {}, height } = figure.layout;
  const shown = figure.layout.showlegend === false ? [] : figure.data.filter((trace) => trace.showlegend !== false);
  if (narrow.matches && shown.length > 1 && !("x" in legend || "orientation" in legend)) {
    legend = { ...legend, ...below };
    height += line * shown.length;
  }
  place.style.height = `${height}px`;
  return { template: templates[dark.matches ? "dark" : "light"], legend, height };
}

// Points whose text (`customdata`, else `hovertext`) holds every word that was typed stand out; the others fade.
function searchable(place, input, count) {
  const texts = place.data.map((trace) => {
    if (Array.isArray(trace.customdata)) return trace.customdata.map((text) => String(text).toLowerCase());
    const own = Array.isArray(trace.hovertext) ? trace.hovertext : [];
    return own.map((text) => plain(String(text)).toLowerCase());
  });
  const sizes = place.data.map((trace) => trace.marker?.size);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    place.data.forEach((trace, at) => {
      if (!texts[at].length) return;
      const hits = [];
      texts[at].forEach((text, point) => { if (words.every((word) => text.includes(word))) hits.push(point); });
      found += hits.length;
      if (trace.type === "scatter3d") {  // which knows no selection: what was not found shrinks
        const within = new Set(hits);
        const size = words.length ? texts[at].map((_, point) => (within.has(point) ? sizes[at] * 1.6 : 0.6)) : sizes[at];
        Plotly.restyle(place, { "marker.size": [size] }, [at]);
      } else {
        Plotly.restyle(place, { selectedpoints: [words.length ? hits : null] }, [at]);
      }
    });
    count.value = words.length ? `${found.toLocaleString("en")} found` : "";
  });
}

function plain(text) {
  const holder = document.createElement("textarea");  // turns entities into characters, and runs nothing
  holder.innerHTML = text.replace(/<[^>]*>/g, " ");
  return holder.value;
}
