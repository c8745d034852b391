// A link to a row's evidence opens it.
function unfold() {
  const place = location.hash.length > 1 ? byId(location.hash.slice(1)) : null;
  if (place instanceof HTMLDetailsElement) place.open = true;
}

startTheme();
startTables();
const page = readJson("page");
if (page) {
  startCharts(page.charts);
  startCurves(page.curves);
  startExplorer(page.items);
  startTalks(page.talks);
}
startCues();
addEventListener("hashchange", unfold);
unfold();
document.documentElement.dataset.ready = "yes";
performance.mark("ready");
