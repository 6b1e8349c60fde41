"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId("matches");
  const matches = Array.from(list.children, (element, listed) => ({
    element,
    listed,
    query: element.dataset.query,
    database: element.dataset.database,
    verdict: element.dataset.verdict,
    score: Number(element.dataset.score),
    seconds: Number(element.dataset.seconds),
    text: element.dataset.text.toLowerCase(),
  }));
  const orders = {
    listed: (a, b) => a.listed - b.listed,
    score: (a, b) => b.score - a.score || a.listed - b.listed,
    seconds: (a, b) => b.seconds - a.seconds || a.listed - b.listed,
    database: (a, b) => a.database.localeCompare(b.database) || a.listed - b.listed,
  };
  let order = "listed";

  function filter() {
    const query = byId("query").value;
    const verdict = byId("verdict").value;
    const least = parseFloat(byId("least").value);
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const match of matches) {
      const fits =
        (!query || match.query === query) &&
        (!verdict || match.verdict === verdict) &&
        (Number.isNaN(least) || match.score >= least) &&
        words.every((word) => match.text.includes(word));
      match.element.hidden = !fits;
      shown += fits;
    }
    byId("shown").textContent =
      shown === matches.length ? `${shown} matches` : `${shown} of ${matches.length} matches shown`;
    byId("none").hidden = shown > 0;
  }

  function sort() {
    if (byId("sort").value === order) return;
    order = byId("sort").value;
    matches.sort(orders[order]);
    list.append(...matches.map((match) => match.element));
  }

  byId("controls").addEventListener("input", () => {
    sort();
    filter();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  sort();
  filter(); // the browser may have kept what was chosen before
})();
