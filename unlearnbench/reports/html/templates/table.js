// Tables that sort by a click on a column's head and show the rows that match the filters.
function sortValue(row, column) {
  const text = row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  if (text === "") return null;
  return Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other));
}

// Rows without a value come last in both directions.
function sortRows(body, column, descending) {
  const rows = [...body.rows].map((row, place) => ({ row, place, key: sortValue(row, column) }));
  rows.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
    return (descending ? compare(b.key, a.key) : compare(a.key, b.key)) || a.place - b.place;
  });
  body.append(...rows.map((one) => one.row));
}

function startTable(table) {
  const body = table.querySelector("tbody.rows");
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = head.dataset.first ?? "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      sortRows(body, column, order === "descending");
    });
  });
  startFilters(table, body);
}

function startFilters(table, body) {
  const words = byId(`${table.id}-words`);
  const verdict = byId(`${table.id}-verdict`);
  const told = byId(`${table.id}-told`);
  if (!words) return;
  const apply = () => {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const fits = row.dataset.words.toLowerCase().includes(wanted) && (!verdict?.value || row.dataset.verdict === verdict.value);
      row.hidden = !fits;
      shown += fits;
    }
    told.textContent = `${shown} of ${body.rows.length} rows`;
  };
  words.addEventListener("input", apply);
  verdict?.addEventListener("change", apply);
  apply();
}

function startTables() {
  document.querySelectorAll("table.sortable").forEach(startTable);
}

// Where something goes on beside what is seen, the edge fades and it is said.
function startCues() {
  for (const box of document.querySelectorAll(".scroll, .talks, nav ul")) {
    const look = () => {
      const before = box.scrollLeft > 1;
      const after = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
      box.dataset.more = `${before ? "before" : ""} ${after ? "after" : ""}`.trim();
    };
    box.addEventListener("scroll", look, { passive: true });
    const watcher = new ResizeObserver(look);
    [box, ...box.children].forEach((one) => watcher.observe(one));
  }
}
