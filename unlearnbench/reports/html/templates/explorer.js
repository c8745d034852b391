// The item explorer: what every model answered to every question, a page at a time.
const PAGE = 20;
const SHOWN = 4000; // characters of a text, until all of it is asked for
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

function longText(text, className = "text") {
  const whole = element("div", { class: className, dir: "auto" }, text.slice(0, SHOWN));
  if (text.length <= SHOWN) return whole;
  const more = element("button", { type: "button", onclick: () => { whole.textContent = text; more.remove(); } },
    `Show all ${text.length.toLocaleString("en")} characters`);
  return element("div", {}, whole, more);
}

function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, label]) => element("option", { value }, label)));
}

const letterOf = (choice) => (choice < 0 ? "-" : LETTERS[choice] ?? String(choice));
const choiceOf = (pack, run, item) => LETTERS.indexOf(pack.choices[run][item]);

// Log-probabilities: hundredths of a nat in two bytes, all low bytes before all high ones.
async function logprobsOf(info, pack) {
  if (!info.logprobs) return null;
  const bytes = new Uint8Array(await unpack(info.logprobs));
  const half = bytes.length / 2;
  const per = half / (pack.ids.length * pack.runs.length);
  return (run, item) => Array.from({ length: per }, (_, option) => {
    const place = (run * pack.ids.length + item) * per + option;
    const value = (bytes[place] | (bytes[half + place] << 8)) << 16 >> 16;
    return value === -32768 ? null : value / 100;
  });
}

class Explorer {
  constructor(infos) {
    this.infos = infos;
    this.controls = Object.fromEntries(
      ["benchmark", "row", "show", "part", "words"].map((name) => [name, byId(`items-${name}`)]));
    fillSelect(this.controls.benchmark, infos.map((info, place) => [place, info.name]));
    this.controls.benchmark.addEventListener("change", () => this.load());
    for (const name of ["row", "show", "part"]) this.controls[name].addEventListener("change", () => this.filter());
    this.controls.words.addEventListener("input", () => this.filter());
    byId("items-before").addEventListener("click", () => this.turn(-1));
    byId("items-after").addEventListener("click", () => this.turn(1));
  }

  async load() {
    this.info = this.infos[Number(this.controls.benchmark.value)];
    this.pack = await unpackJson(this.info.pack);
    this.logprobs = await logprobsOf(this.info, this.pack);
    const { runs, parts } = this.pack;
    this.base = runs.findIndex((run) => run.base);
    fillSelect(this.controls.row, runs.map((run, place) => [place, run.name]).filter(([place]) => place !== this.base || runs.length === 1));
    fillSelect(this.controls.part, [["", "all parts"], ...parts.map((part, place) => [place, part])]);
    this.filter();
  }

  filter() {
    const { pack, base, controls } = this;
    const run = Number(controls.row.value);
    const part = controls.part.value;
    const words = controls.words.value.trim().toLowerCase();
    const test = {
      all: () => true,
      lost: (before, after) => before && !after,
      regained: (before, after) => !before && after,
      differs: (before, after, item) => pack.choices[base]?.[item] !== pack.choices[run][item],
      right: (before, after) => after,
      wrong: (before, after) => !after,
    }[controls.show.value];
    const isRight = (which, item) => which >= 0 && pack.choices[which][item] === pack.answers[item];
    this.found = [];
    for (let item = 0; item < pack.ids.length; item += 1) {
      if (part !== "" && pack.part[item] !== Number(part)) continue;
      if (!test(isRight(base, item), isRight(run, item), item)) continue;
      if (words && !this.words(item).includes(words)) continue;
      this.found.push(item);
    }
    this.run = run;
    this.page = 0;
    this.show();
  }

  words(item) {
    const { pack } = this;
    return `${pack.ids[item]} ${pack.texts?.[item] ?? ""} ${(pack.options?.[item] ?? []).join(" ")}`.toLowerCase();
  }

  turn(by) {
    this.page += by;
    this.show();
  }

  show() {
    const pages = Math.max(1, Math.ceil(this.found.length / PAGE));
    const start = this.page * PAGE;
    byId("items-told").textContent = `${this.found.length.toLocaleString("en")} of ${this.pack.ids.length.toLocaleString("en")} items · page ${this.page + 1} of ${pages}`;
    byId("items-before").disabled = this.page === 0;
    byId("items-after").disabled = this.page >= pages - 1;
    byId("items-list").replaceChildren(...this.found.slice(start, start + PAGE).map((item) => this.entry(item)));
  }

  chip(run, item, label) {
    const choice = choiceOf(this.pack, run, item);
    const right = this.pack.choices[run][item] === this.pack.answers[item];
    return element("span", { class: `chip ${right ? "right" : "wrong"}` }, `${label} ${letterOf(choice)} ${right ? "✓" : "✗"}`);
  }

  entry(item) {
    const { pack } = this;
    const chips = element("span");
    if (this.base >= 0) chips.append(this.chip(this.base, item, "base"), " ");
    if (this.run !== this.base) chips.append(this.chip(this.run, item, pack.runs[this.run].name));
    const asked = pack.texts?.[item] ?? pack.ids[item];
    const details = element("details", { class: "item" },
      element("summary", {},
        element("span", { class: "asked" }, asked.slice(0, 300)), chips,
        element("span", { class: "meta" }, element("bdi", {}, `${pack.parts[pack.part[item]]} · ${pack.ids[item]}`))));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(this.inside(item));
    });
    return details;
  }

  inside(item) {
    const { pack } = this;
    const options = pack.options?.[item] ?? [];
    const box = element("div", { class: "inside" });
    if (pack.texts) box.append(longText(pack.texts[item]));
    const answer = LETTERS.indexOf(pack.answers[item]);
    if (options.length) {
      box.append(element("ol", { type: "A" }, ...options.map((option, place) =>
        element("li", { dir: "auto" }, longText(option, ""), place === answer ? element("span", { class: "chip right" }, "right answer") : null))));
    }
    box.append(element("div", { class: "scroll" }, this.answers(item, answer)));
    return box;
  }

  answers(item, answer) {
    const { pack } = this;
    const rows = pack.runs.map((run, place) => ({ run, choice: choiceOf(pack, place, item), values: this.logprobs?.(place, item) ?? [] }));
    const count = Math.max(0, ...rows.map((row) => row.values.filter((value) => value !== null).length));
    const head = element("tr", {}, element("th", { class: "words", scope: "col" }, "model"), element("th", { scope: "col" }, "answer"),
      ...Array.from({ length: count }, (_, option) => element("th", { scope: "col" }, `log p(${letterOf(option)})`)));
    const body = rows.map(({ run, choice, values }) => element("tr", {},
      element("td", { class: "words" }, element("bdi", {}, run.name)),
      element("td", { class: choice === answer ? "right" : "wrong" }, letterOf(choice)),
      ...Array.from({ length: count }, (_, option) => element("td", {}, values[option] === null || values[option] === undefined ? "-" : values[option].toFixed(2)))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  }
}

function startExplorer(infos) {
  if (!infos?.length || !byId("items-list")) return;
  const explorer = new Explorer(infos);
  whenSeen(byId("items"), () => explorer.load());
}

function whenSeen(place, start) {
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    start();
  }, { rootMargin: "400px" });
  watcher.observe(place);
}
