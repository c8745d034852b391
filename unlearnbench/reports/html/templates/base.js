// Everything that comes from data reaches the page as text: nodes are made here, never from strings of HTML.
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function readJson(id) {
  const node = byId(id);
  return node ? JSON.parse(node.textContent) : null;
}

// What is large lies in the page as gzip in base64 and is unpacked when it is first needed.
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, inflate(readJson(id)));
  return unpacked.get(id);
}

async function unpackJson(id) {
  return JSON.parse(new TextDecoder().decode(await unpack(id)));
}

// The colour that a style variable has now, in the scheme that is on.
function colour(name) {
  const probe = element("span", { hidden: true });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const redraws = [];
function startTheme() {
  const button = byId("theme");
  if (!button) return;
  const changed = () => redraws.forEach((redraw) => redraw());
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  startPrinting(changed);
}

// On paper everything is light, and what is folded or not drawn yet is shown.
function startPrinting(changed) {
  let before;
  let folded = [];
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    document.documentElement.dataset.paper = "yes"; // charts are drawn as wide as a page
    folded = [...document.querySelectorAll("#evidence details:not([open]), #provenance details:not([open])")];
    folded.forEach((one) => { one.open = true; });
    [...waiting].forEach((begin) => begin());
    changed();
  });
  addEventListener("afterprint", () => {
    folded.forEach((one) => { one.open = false; });
    delete document.documentElement.dataset.paper;
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    changed();
  });
}
