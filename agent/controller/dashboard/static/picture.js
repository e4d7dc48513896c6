// Draws the graph with plotly.js: an edge is a line with an arrow, nodes are markers above them.
import { failing, rate } from "./numbers.js";

const COLUMN = 240; // pixels between columns, at scale 1
const ROW = 104;
const LARGEST = 1.4; // scale; a small graph need not fill the picture
const MARGIN = { left: 100, right: 100, top: 50, bottom: 80 };
const NODE = 40; // a marker's diameter
const NAME = 16; // height of a node's name
const SYMBOLS = { workload: "circle", service: "diamond", outside: "square" };
const SPACES = 8; // colours of namespaces, see page.css

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const isSame = (chosen, kind, id) => chosen !== null && chosen.kind === kind && chosen.id === id;

// plotly.js takes some HTML in texts, and %{…} in templates; names must stay what they are.
export const escaped = (text) => String(text).replace(/[&<>"'%]/g, (character) => `&#${character.charCodeAt(0)};`);

export function nodeName(node) {
  return node.kind === "outside" ? "outside" : node.name;
}

function spaceColours(graph) {
  const spaces = [...new Set(graph.nodes.map((node) => node.namespace).filter(Boolean))].sort();
  return new Map(spaces.map((space, number) => [space, colour(`space-${number % SPACES}`)]));
}

export function draw(place, graph, chosen, choose) {
  const at = new Map(graph.nodes.map((node) => [node.id, [node.column * COLUMN, -node.row * ROW]]));
  const pairs = new Set(graph.edges.map((edge) => edge.id));
  const sight = fit(place, [...at.values(), ...graph.edges.flatMap((edge) => edge.route.map(([x, y]) => [x * COLUMN, -y * ROW]))]);
  const lines = graph.edges.map((edge) => ({ edge, points: path(edge, at, pairs), dim: isDim(edge, chosen) }));
  const traces = [...lines.map((line) => edgeTrace(line, sight.size)), targetTrace(lines), nodeTrace(graph, at, chosen, sight.size), ...textTraces(graph, at, sight.size)];
  const labelled = lines.filter(({ edge, dim }) => edge.active && !dim);
  const layout = {
    ...sight.axes,
    annotations: labelled.map(({ edge, points }) => label(edge, pointAlong(points, labelPlace(edge, labelled)))),
    dragmode: "pan", hovermode: "closest", hoverdistance: 14, showlegend: false,
    margin: { l: 0, r: 0, t: 0, b: 0 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: colour("text"), size: 13 },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("text") }, align: "left" },
    uirevision: sight.key,
  };
  Plotly.react(place, traces, layout, { displayModeBar: false, scrollZoom: true, responsive: true, doubleClick: "reset" });
  listen(place, choose);
}

function listen(place, choose) {
  place.removeAllListeners("plotly_click");
  place.removeAllListeners("plotly_clickannotation");
  place.on("plotly_click", ({ points: [point] }) => {
    const [kind, id] = point.customdata;
    choose({ kind, id });
  });
  place.on("plotly_clickannotation", ({ annotation }) => choose({ kind: "edge", id: annotation.name }));
}

function isDim(edge, chosen) {
  if (chosen === null || chosen.kind === "policy") return false;
  return chosen.kind === "edge" ? chosen.id !== edge.id : ![edge.source, edge.destination].includes(chosen.id);
}

export function edgeColour(edge) {
  if (failing(edge) === "all") return "failed";
  return { mutual_tls: "tls", plain: "plain", mixed: "mixed", none: "failed" }[edge.security];
}

// Points along a smooth curve through the ends and the route between them. Two parties that call one
// another have a line each, bent to different sides.
function path(edge, at, pairs) {
  const [from, to] = [at.get(edge.source), at.get(edge.destination)];
  if (edge.source === edge.destination) return loop(from);
  const route = edge.route.map(([column, row]) => [column * COLUMN, -row * ROW]);
  const isMutual = pairs.has(`${edge.destination}>${edge.source}`);
  const bend = isMutual ? 22 : 0;
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const side = [((from[1] - to[1]) / length) * bend, ((to[0] - from[0]) / length) * bend];
  const middle = route.length ? route : isMutual || from[0] === to[0] ? [[(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]] : [];
  return smooth([from, ...middle.map(([x, y]) => [x + side[0], y + side[1]]), to]);
}

function loop([x, y]) {
  const points = [];
  for (let step = 0; step <= 24; step++) {
    const angle = (-0.5 + (step / 24) * 2) * Math.PI + 0.9;
    points.push([x + 26 * Math.cos(angle), y + 44 + 26 * Math.sin(angle)]);
  }
  return [[x, y], ...points.filter(([, py]) => py > y + 16), [x, y + 2]];
}

// Piece by piece a cubic curve that leaves and enters columns level.
function smooth(stops) {
  const points = [stops[0]];
  for (let piece = 1; piece < stops.length; piece++) {
    const [[x0, y0], [x1, y1]] = [stops[piece - 1], stops[piece]];
    const pull = (x1 - x0) * 0.45;
    const steps = Math.max(4, Math.round(Math.hypot(x1 - x0, y1 - y0) / 10));
    for (let step = 1; step <= steps; step++) {
      const t = step / steps, u = 1 - t;
      points.push([
        u ** 3 * x0 + 3 * u * u * t * (x0 + pull) + 3 * u * t * t * (x1 - pull) + t ** 3 * x1,
        u ** 3 * y0 + 3 * u * u * t * y0 + 3 * u * t * t * y1 + t ** 3 * y1,
      ]);
    }
  }
  return points;
}

function edgeTrace({ edge, points, dim }, scale) {
  const shade = colour(edge.active ? edgeColour(edge) : "idle");
  const last = points.length - 1;
  const size = points.map((_, number) => (number === last ? 13 : 0));
  return {
    type: "scatter", mode: "lines+markers", name: edge.id, hoverinfo: "skip",
    x: points.map(([x]) => x), y: points.map(([, y]) => y),
    line: { color: shade, width: width(edge), dash: edge.active ? "solid" : "dot", backoff: 0 },
    marker: { color: shade, size, opacity: 1, symbol: "arrow", angleref: "previous", standoff: NODE * scale / 2 + 1, line: { width: 0 } },
    opacity: dim ? 0.18 : 1,
  };
}

// Unseen points along the edges, for the mouse; not near the ends, which belong to the nodes.
function targetTrace(lines) {
  const along = lines.flatMap(({ edge, points }) =>
    points.slice(Math.ceil(points.length * 0.15), Math.floor(points.length * 0.85)).map((point) => ({ edge, point })));
  return {
    type: "scatter", mode: "markers", name: "targets", marker: { size: 12, opacity: 0 },
    x: along.map(({ point: [x] }) => x), y: along.map(({ point: [, y] }) => y),
    customdata: along.map(({ edge }) => ["edge", edge.id]),
    hovertemplate: along.map(({ edge }) => `${hover(edge)}<extra></extra>`),
  };
}

function width(edge) {
  const bytes = edge.rate.received + edge.rate.sent;
  return edge.active ? Math.min(5, 1.8 + 0.5 * Math.log10(1 + bytes / 100)) : 1.5;
}

function hover(edge) {
  const names = [edge.source, edge.destination].map((id) => escaped(id.replace(/^\w+:/, "").replace(/^\/$/, "outside")));
  const failed = edge.rate.failed ? `<br>${rate(edge.rate.failed)} refused or failed` : "";
  const words = { mutual_tls: "mutual TLS", plain: "plain TCP", mixed: "mutual TLS and plain TCP", none: "no connection" };
  return `${names.join(" → ")}<br>${words[edge.security]}<br>${rate(edge.rate.opened)} opened${failed}`;
}

// Labels stand near the end at which fewer lines meet, so that they do not cover one another.
function labelPlace(edge, labelled) {
  const joined = (id) => labelled.filter((other) => other.edge.source === id || other.edge.destination === id).length;
  const [source, destination] = [joined(edge.source), joined(edge.destination)];
  return source > destination ? 0.64 : source < destination ? 0.38 : 0.5;
}

function pointAlong(points, part) {
  return points[Math.round((points.length - 1) * part)];
}

function label(edge, [x, y]) {
  const { opened, failed } = edge.rate;
  const made = failing(edge) === "all" ? [] : [opened || failed ? rate(Math.max(0, opened - failed)) : "open"];
  const text = [...made, ...(failed ? [`✕ ${rate(failed)}`] : [])].join("  ");
  return {
    x, y, text, showarrow: false, name: edge.id, captureevents: true, bgcolor: colour("card"), borderpad: 2,
    font: { size: 12, color: colour(failed ? "failed" : "text") },
  };
}

function nodeTrace(graph, at, chosen, scale) {
  const spaces = spaceColours(graph);
  const isChosen = (node) => isSame(chosen, "node", node.id);
  return {
    type: "scatter", mode: "markers+text", name: "nodes", cliponaxis: false,
    text: graph.nodes.map((node) => escaped(nodeName(node))), textposition: "bottom center",
    textfont: { size: font(13, scale), weight: 600, color: colour("text") },
    x: graph.nodes.map((node) => at.get(node.id)[0]), y: graph.nodes.map((node) => at.get(node.id)[1]),
    customdata: graph.nodes.map((node) => ["node", node.id]),
    marker: {
      size: NODE * scale, opacity: 1, symbol: graph.nodes.map((node) => SYMBOLS[node.kind]),
      color: graph.nodes.map((node) => spaces.get(node.namespace) ?? colour("idle")),
      line: {
        width: graph.nodes.map((node) => (isChosen(node) ? 5 : 3)),
        color: graph.nodes.map((node) => colour(isChosen(node) ? "text" : node.enrolled ? "tls" : "idle")),
      },
    },
    hovertemplate: graph.nodes.map((node) => `${nodeWords(node).map(escaped).join("<br>")}<extra></extra>`),
  };
}

function nodeWords(node) {
  const pods = node.kind === "workload" ? [`${node.enrolled} of ${node.pods} pods in the mesh`] : [];
  return [nodeName(node), belowName(node), ...pods];
}

function belowName(node) {
  return { service: `service in ${node.namespace}`, outside: "unknown addresses" }[node.kind] ?? node.namespace;
}

const font = (size, scale) => Math.max(8, Math.round(size * (0.4 + 0.6 * scale)));

// Below each name its namespace, and in the middle how many pods. They are traces of their own because
// parts of one text could differ only by inline styles, which the browser refuses.
function textTraces(graph, at, scale) {
  const texts = (nodes, words, more) => ({
    type: "scatter", hoverinfo: "skip", cliponaxis: false, ...more,
    x: nodes.map((node) => at.get(node.id)[0]), y: nodes.map((node) => at.get(node.id)[1]), text: nodes.map(words),
  });
  return [
    texts(graph.nodes, (node) => escaped(belowName(node)), {
      mode: "markers+text", textposition: "bottom center", textfont: { size: font(12, scale), color: colour("faint") },
      marker: { size: (NODE + 2 * NAME) * scale, opacity: 0 }, // unseen: it keeps the text off the name
    }),
    texts(graph.nodes.filter((node) => node.pods), (node) => String(node.pods), { mode: "text", textfont: { size: font(14, scale), color: "#fff" } }),
  ];
}

// Ranges of the axes in which everything is seen, never larger than LARGEST; and how large nodes may be then.
function fit(place, points) {
  const horizontal = axis(points.map(([x]) => x), place.clientWidth, MARGIN.left, MARGIN.right);
  const vertical = axis(points.map(([, y]) => y), place.clientHeight, MARGIN.bottom, MARGIN.top);
  const room = Math.min(vertical.scale * ROW / (NODE + 2 * NAME + 10), horizontal.scale * COLUMN / (3 * NODE));
  return {
    axes: { xaxis: horizontal.axis, yaxis: vertical.axis },
    size: Math.max(0.4, Math.min(1, room)),
    key: `${horizontal.axis.range} ${vertical.axis.range}`,
  };
}

function axis(values, pixels, before, after) {
  const [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
  const scale = Math.min(LARGEST, Math.max(pixels - before - after, 1) / Math.max(most - least, 1));
  const left = (Math.max(pixels, 1) - (most - least) * scale - before - after) / 2; // what is not filled
  const start = least - (before + left) / scale;
  return { scale, axis: { visible: false, autorange: false, range: [start, start + Math.max(pixels, 1) / scale] } };
}

export function drawLegend(place, graph) {
  const lines = [["tls", "mutual TLS"], ["plain", "plain TCP"], ["mixed", "both"], ["failed", "refused or failed"], ["idle", "idle"]]
    .map(([name, text]) => entry(text, `<path d="M0 7h22" stroke-width="3" stroke-dasharray="${name === "idle" ? "3 3" : "none"}"/>`, colour(name)));
  const spaces = [...spaceColours(graph)].map(([space, shade]) => entry(space, '<circle cx="11" cy="7" r="6"/>', shade));
  const rings = [["tls", "in the mesh"], ["idle", "not in it"]]
    .map(([name, text]) => entry(text, '<circle cx="11" cy="7" r="5" fill="none" stroke-width="2.5"/>', colour(name)));
  place.replaceChildren(...lines, ...rings, ...spaces);
}

function entry(text, shape, shade) {
  const item = document.createElement("li");
  const image = new DOMParser().parseFromString(
    `<svg xmlns="http://www.w3.org/2000/svg" width="22" height="14" fill="${shade}" stroke="${shade}">${shape}</svg>`, "image/svg+xml");
  item.append(image.documentElement, text); // the text as text: it may be a namespace
  return item;
}
