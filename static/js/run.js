// The live curve of a run: fetches new points every two seconds while it runs, and draws them with uPlot. The moving text
// above it is htmx's work. Colours come from the page's variables, so light and dark need nothing here.
"use strict";

(() => {
  const box = document.getElementById("curves");
  if (!box || !window.uPlot) return;
  const empty = document.getElementById("curve-empty");
  const table = document.querySelector("#curve-table tbody");
  const announcer = document.getElementById("run-announcer");
  const colours = { loss: "--accent", accuracy: "--good", chosen: "--left", rejected: "--right", margin: "--good" };
  const points = new Map();
  const charts = [];
  let after = 0;
  let failures = 0;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figure = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(document.documentElement.lang, { maximumSignificantDigits: 4 }));

  const axis = () => ({
    stroke: () => colour("--muted"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  });

  function makeChart(holder) {
    const names = holder.dataset.series.split(" ");
    const labels = holder.dataset.labels.split("|");
    const chart = new uPlot(
      {
        width: Math.max(200, holder.clientWidth),
        height: 210,
        scales: { x: { time: false }, y: names[0] === "accuracy" ? { range: [0, 1] } : {} },
        legend: { live: true },
        axes: [axis(), { ...axis(), size: 54 }],
        series: [
          { label: box.dataset.unit },
          ...names.map((name, place) => ({
            label: labels[place],
            stroke: () => colour(colours[name]),
            width: 2,
            points: { show: false },
            spanGaps: true,
            value: (_, value) => figure(value),
          })),
        ],
      },
      [[], ...names.map(() => [])],
      holder,
    );
    charts.push({ holder, chart, names });
  }

  function draw() {
    const rows = [...points.values()].sort((a, b) => a.step - b.step);
    empty.hidden = rows.length > 0;
    if (rows.length > 0 && charts.length === 0) box.querySelectorAll(".curve").forEach(makeChart);
    for (const { chart, names } of charts) {
      chart.setData([rows.map((row) => row.step), ...names.map((name) => rows.map((row) => row[name] ?? null))]);
    }
    fillTable(rows);
  }

  function fillTable(rows) {
    const stride = Math.ceil(rows.length / 25) || 1;
    const shown = rows.filter((_, place) => place % stride === 0 || place === rows.length - 1);
    table.replaceChildren(
      ...shown.map((row) => {
        const line = document.createElement("tr");
        const accuracy = row.accuracy === null || row.accuracy === undefined ? "–" : `${Math.round(100 * row.accuracy)} %`;
        for (const text of [row.step, figure(row.loss), accuracy, figure(row.margin)]) {
          const cell = document.createElement("td");
          cell.className = "number";
          cell.textContent = text;
          line.append(cell);
        }
        return line;
      }),
    );
  }

  async function look() {
    let active = true;
    try {
      const answer = await fetch(`${box.dataset.url}?after=${after}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      for (const point of news.points) points.set(point.step, point);
      if (news.points.length > 0) draw();
      after = news.after;
      active = news.active;
      failures = 0;
    } catch {
      // A restart of the site is no reason to stop looking, but not twice a second for ever either.
      failures += 1;
    }
    if (active) setTimeout(look, Math.min(2000 * 2 ** failures, 30000));
  }

  // What a screen reader hears: the state when it changes, not every step.
  let told = "";
  new MutationObserver(() => {
    const state = document.querySelector("#run-live .run-state .badge");
    if (state && state.textContent !== told) announcer.textContent = told = state.textContent;
  }).observe(document.getElementById("run-live"), { childList: true, subtree: true });

  new ResizeObserver(() => {
    for (const { holder, chart } of charts) chart.setSize({ width: Math.max(200, holder.clientWidth), height: 210 });
  }).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ chart }) => chart.redraw(false)));

  look();
})();
