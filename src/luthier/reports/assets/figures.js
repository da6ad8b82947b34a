// Draws every figure of the page in the colours of the reader's theme, and searches the points of those with a search box.
const dark = matchMedia("(prefers-color-scheme: dark)");
const templates = JSON.parse(document.getElementById("templates").textContent);
const theme = () => templates[dark.matches ? "dark" : "light"];

for (const place of document.querySelectorAll(".plot")) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const layout = { ...figure.layout, template: theme(), autosize: true };
  const config = { displaylogo: false, responsive: true };
  Plotly.newPlot(place, figure.data, layout, config).then(() => {
    place.dataset.drawn = "yes";
    const search = place.parentNode.querySelector(".search");
    if (search) searchable(place, search.querySelector("input"), search.querySelector("output"));
  });
  dark.addEventListener("change", () => Plotly.relayout(place, { template: theme() }));
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
