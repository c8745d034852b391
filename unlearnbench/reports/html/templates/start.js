startTheme();
startTables();
const page = readJson("page");
if (page) {
  startCharts(page.charts);
  startCurves(page.curves);
  startExplorer(page.items);
  startTalks(page.talks);
}
document.documentElement.dataset.ready = "yes";
performance.mark("ready");
