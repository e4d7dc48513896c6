// Asks for the graph again and again, and hands it to the picture and the panel.
import { draw, drawLegend } from "./picture.js";
import { showDetails, showOverview } from "./panel.js";

const PAUSE = 3000; // milliseconds between two answers; the controller reads proxies every 2 s at most
const at = (id) => document.getElementById(id);
const view = { graph: null, chosen: null };

function choose(chosen) {
  view.chosen = chosen;
  render();
}

// What the filters leave: edges that are wanted, and nodes that are in the namespace or joined to it.
function shown(graph) {
  const namespace = at("namespace").value;
  const space = new Map(graph.nodes.map((node) => [node.id, node.namespace]));
  const edges = graph.edges.filter((edge) =>
    (edge.active || at("idle").checked) &&
    (!namespace || space.get(edge.source) === namespace || space.get(edge.destination) === namespace));
  const ends = new Set(edges.flatMap((edge) => [edge.source, edge.destination]));
  const nodes = graph.nodes.filter((node) => !namespace || node.namespace === namespace || ends.has(node.id));
  return { ...graph, nodes, edges };
}

function render() {
  if (view.graph === null) return;
  const graph = shown(view.graph);
  if (view.chosen !== null && !chosenIn(view.graph)) view.chosen = null; // it has gone
  draw(at("picture"), graph, view.chosen, choose);
  drawLegend(at("legend"), graph);
  showEmptiness(graph);
  if (view.chosen === null) showOverview(at("panel"), view.graph, choose);
  else showDetails(at("panel"), view.graph, view.chosen, choose);
}

function chosenIn(graph) {
  const { kind, id } = view.chosen;
  return { node: graph.nodes, edge: graph.edges, policy: graph.policies }[kind].some((each) => each.id === id);
}

function showEmptiness(graph) {
  const empty = at("empty");
  empty.hidden = graph.edges.length > 0;
  const title = document.createElement("strong");
  title.textContent = "No traffic yet";
  const hint = view.graph.edges.length > 0
    ? "The filters above hide all connections."
    : "Connections of enrolled pods appear here within seconds.";
  empty.replaceChildren(title, hint);
  empty.classList.toggle("aside", graph.nodes.length > 0);
}

function showState(graph) {
  const readable = graph.proxies.filter((proxy) => !proxy.fault).length;
  const pods = graph.nodes.reduce((sum, node) => sum + node.enrolled, 0);
  at("summary").textContent =
    `${pods} enrolled pods · ${readable} of ${graph.proxies.length} node proxies read` +
    (graph.edges_left_out ? ` · the ${graph.edges_left_out} quietest connections are left out` : "");
  at("live").dataset.state = "live";
  at("live").textContent = graph.rates_over_seconds === null ? "measuring…" : "live";
  at("live").title = graph.rates_over_seconds === null ? "" : `rates are over ${graph.rates_over_seconds.toFixed(0)} s`;
  const faults = graph.proxies.filter((proxy) => proxy.fault)
    .map((proxy) => `The proxy of ${proxy.node} (${proxy.address}) cannot be read: ${proxy.fault}`);
  showBanner(faults);
  keepNamespaces(graph);
}

function showBanner(lines) {
  at("banner").hidden = lines.length === 0;
  at("banner").textContent = lines.join("\n");
}

function keepNamespaces(graph) {
  const select = at("namespace");
  const names = [...new Set(graph.nodes.map((node) => node.namespace).filter(Boolean))].sort();
  const known = [...select.options].slice(1).map((option) => option.value);
  if (names.join() === known.join()) return;
  const before = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  select.value = names.includes(before) ? before : "";
}

async function refresh() {
  try {
    const answer = await fetch("graph.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    view.graph = await answer.json();
    showState(view.graph);
    render();
  } catch (error) {
    at("live").dataset.state = "lost";
    at("live").textContent = "lost";
    showBanner([`The controller does not answer: ${error.message}. What is shown may be old.`]);
  }
}

async function follow() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resume) => setTimeout(resume, PAUSE));
  }
}

for (const id of ["namespace", "idle"]) at(id).addEventListener("change", render);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });
follow();
