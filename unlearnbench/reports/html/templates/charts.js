// Charts are made in Python; here they get the colours of the scheme that is on, and are drawn once they come into sight.
let plotly = null;
function loadPlotly() {
  plotly ??= unpack("plotly").then((bytes) => {
    const script = element("script");
    script.textContent = new TextDecoder().decode(bytes);
    document.head.append(script); // the page's policy knows this script by its hash
    return window.Plotly;
  });
  return plotly;
}

function themed(chart) {
  const [ink, dim, line, panel] = ["ink", "dim", "line", "panel"].map(colour);
  const layout = structuredClone(chart.layout);
  Object.assign(layout, { paper_bgcolor: panel, plot_bgcolor: panel, autosize: true });
  layout.font = { ...layout.font, color: ink, family: "system-ui, sans-serif", size: 12 };
  layout.hoverlabel = { bgcolor: panel, bordercolor: line, font: { color: ink } };
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
    Object.assign(layout[key], { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true });
  }
  const data = structuredClone(chart.data);
  for (const trace of data) {
    if (trace.type === "heatmap") {
      // the ends are so light, or so dark, that the figures can be read on them
      trace.colorscale = [[0, isDark() ? "#9c4a0e" : "#e07b39"], [0.5, panel], [1, isDark() ? "#1b6496" : "#4fa3db"]];
      trace.textfont = { ...trace.textfont, color: ink };
    } else if (trace.textfont) {
      trace.textfont.color = dim;
    }
  }
  return { data, layout };
}

const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

async function draw(place, chart) {
  const library = await loadPlotly();
  const { data, layout } = themed(chart);
  if (place.clientWidth < 500) {
    layout.legend = { ...layout.legend, orientation: "h", x: 0, y: -0.25 };
    layout.margin = { ...layout.margin, r: 10 };
  }
  const pointer = matchMedia("(hover: hover)").matches; // without one, buttons would always cover the chart, and a swipe zoom it
  if (!pointer) layout.dragmode = false;
  place.style.minHeight = `${chart.height}px`;
  await library.react(place, data, layout, { ...CONFIG, displayModeBar: pointer && place.clientWidth >= 500 ? "hover" : false });
  place.dataset.drawn = "yes";
}

// Charts that nobody has looked at yet: drawn one by one when there is nothing else to do, or at once for printing.
const waiting = new Set();

function drawWhenSeen(place, chart) {
  const begin = () => {
    watcher.disconnect();
    return waiting.delete(begin) && place.isConnected ? draw(place, chart) : null;
  };
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) begin();
  }, { rootMargin: "300px" });
  watcher.observe(place);
  waiting.add(begin);
  redraws.push(() => { if (place.dataset.drawn && place.isConnected) draw(place, chart); });
}

function drawInPeace() {
  const later = window.requestIdleCallback ?? ((then) => setTimeout(then, 300));
  later(async () => {
    const [begin] = waiting;
    if (!begin) return;
    await begin();
    drawInPeace();
  });
}

function startCharts(charts) {
  for (const place of document.querySelectorAll("[data-chart]")) {
    drawWhenSeen(place, charts[place.dataset.chart]);
  }
  addEventListener("load", drawInPeace);
}

// One small chart for each quantity that the chosen row logged.
function startCurves(curves) {
  const choice = byId("curves-row");
  const grid = byId("curves-grid");
  if (!choice) return;
  const show = () => {
    byId("curves-name").textContent = choice.value;
    grid.replaceChildren();
    for (const chart of curves[choice.value] ?? []) {
      const place = element("div", { class: "chart", role: "img", "aria-label": chart.alt });
      grid.append(element("figure", {}, place));
      drawWhenSeen(place, chart);
    }
  };
  choice.addEventListener("change", show);
  show();
}
