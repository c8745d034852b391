// Conversations side by side: each model's answers and what the judge made of them.
class Talks {
  constructor(infos) {
    this.infos = infos;
    this.choice = byId("talks-question");
    this.benchmark = byId("talks-benchmark");
    fillSelect(this.benchmark, infos.map((info, place) => [place, info.name]));
    this.benchmark.addEventListener("change", () => this.load());
    this.choice.addEventListener("change", () => this.show());
    byId("talks-before").addEventListener("click", () => this.turn(-1));
    byId("talks-after").addEventListener("click", () => this.turn(1));
  }

  async load() {
    this.pack = await unpackJson(this.infos[Number(this.benchmark.value)].pack);
    const talks = new Map();
    this.pack.ids.forEach((id, item) => {
      const name = id.replace(/\/turn-\d+$/, "");
      talks.set(name, [...(talks.get(name) ?? []), item]);
    });
    this.talks = [...talks.values()];
    fillSelect(this.choice, [...talks.keys()].map((name, place) => {
      const first = this.talks[place][0];
      const asked = this.pack.texts?.[first] ?? "";
      return [place, `${name} · ${this.pack.parts[this.pack.part[first]]} · ${asked.slice(0, 60)}`];
    }));
    this.show();
  }

  turn(by) {
    this.choice.value = String(Number(this.choice.value) + by);
    this.show();
  }

  show() {
    const place = Number(this.choice.value);
    byId("talks-before").disabled = place === 0;
    byId("talks-after").disabled = place === this.talks.length - 1;
    const { pack } = this;
    const asked = this.talks[place].map((item, turn) => element("div", { class: "turn" },
      element("strong", {}, `Turn ${turn + 1}`), longText(pack.texts?.[item] ?? pack.ids[item]),
      pack.references?.[item] ? element("details", {}, element("summary", {}, "reference answer"),
        element("div", { class: "inside" }, longText(pack.references[item]))) : null));
    byId("talks-asked").replaceChildren(...asked);
    byId("talks-list").replaceChildren(...pack.runs.map((run, number) => this.talk(run, number, this.talks[place])));
  }

  talk(run, number, items) {
    const { pack } = this;
    const box = element("article", { class: "talk" }, element("h4", {}, element("bdi", {}, run.name)));
    items.forEach((item, turn) => {
      const score = pack.scores[number][item];
      box.append(element("div", { class: "turn" },
        element("span", { class: "chip" }, `turn ${turn + 1}: ${score === null ? "not judged" : score.toFixed(1)}`),
        pack.errors?.[number][item] ? element("div", { class: "chip wrong" }, `${score === null ? "no score: " : ""}${pack.errors[number][item].slice(0, SHOWN)}`) : null,
        longText(pack.answers_text[number][item] || "(nothing)"),
        pack.judgments?.[number][item] ? element("details", {}, element("summary", {}, "judgment"),
          element("div", { class: "inside" }, longText(pack.judgments[number][item]))) : null));
    });
    return box;
  }
}

function startTalks(infos) {
  if (!infos?.length || !byId("talks-list")) return;
  const talks = new Talks(infos);
  whenSeen(byId("talks"), () => talks.load());
}
