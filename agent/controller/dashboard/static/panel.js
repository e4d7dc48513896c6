// The side panel: an overview, or what is known of the chosen node, connection or policy.
import { bytes, failing, rate, short } from "./numbers.js";
import { nodeName } from "./picture.js";

const FLAGS = {
  DENY: "refused by a policy",
  CONNECT: "the other end could not be reached",
  TLS_FAILURE: "TLS failed",
  H2_HANDSHAKE_FAILURE: "the tunnel could not be opened",
  NETWORK_POLICY: "no tunnel in time; is port 15008 let through?",
  IDENTITY_ERROR: "no certificate, or another identity than expected",
  CERT_REVOKED: "a certificate is revoked",
  "-": "broke later",
};
const SECURITY = { mutual_tls: "mutual TLS", plain: "plain TCP", mixed: "mutual TLS and plain TCP", none: "never made" };
const SHADES = { mutual_tls: "tls", plain: "plain", mixed: "mixed", none: "failed" };
const SCOPES = { mesh: "whole mesh", namespace: "its namespace", workloads: "selected workloads" };

// Text is only ever given as text: what is shown was written by people.
function el(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

const section = (title, ...children) => (children.flat().length ? [el("h3", {}, title), ...children.flat()] : []);
const badge = (text, name) => el("span", { className: `badge ${name}` }, text);
const table = (rows) => el("table", { className: rows.every((row) => row.length === 2) ? "facts" : "" }, rows.map(([name, ...values]) =>
  el("tr", {}, el("th", {}, name), values.map((value) => el("td", { className: values.length > 1 ? "number" : "" }, value)))));

function item(choose, chosen, title, ...below) {
  return el("button", { className: "item", type: "button", onclick: () => choose(chosen) }, title, below);
}

function replace(place, chosen, ...content) {
  const key = chosen === null ? "" : `${chosen.kind} ${chosen.id}`;
  const top = place.dataset.key === key ? place.scrollTop : 0;
  place.dataset.key = key;
  place.replaceChildren(...content.flat().filter((each) => each !== null));
  place.scrollTop = top;
}

export function showOverview(place, graph, choose) {
  const isFailing = graph.edges.filter((edge) => edge.active && failing(edge) !== "none");
  replace(place, null,
    section("Refused or failing now", isFailing.map((edge) => edgeItem(graph, edge, choose))),
    el("h3", {}, "Policies"),
    graph.policies.length
      ? graph.policies.map((policy) => policyItem(policy, choose))
      : el("p", { className: "faint" }, "There are none: everybody may call everybody."),
    section("Problems", graph.problems.map((text) => el("p", { className: "problem" }, text))),
    section("Node proxies", table(graph.proxies.map((proxy) => [proxy.node, proxy.fault ? `not read: ${proxy.fault}` : proxy.address]))),
  );
}

export function showDetails(place, graph, chosen, choose) {
  const back = el("button", { className: "back", type: "button", onclick: () => choose(null) }, "close");
  if (chosen.kind === "node") showNode(place, graph, chosen, choose, back);
  if (chosen.kind === "edge") showEdge(place, graph, chosen, choose, back);
  if (chosen.kind === "policy") showPolicy(place, graph, chosen, back);
}

function edgeItem(graph, edge, choose) {
  const name = (id) => nodeName(graph.nodes.find((node) => node.id === id));
  const now = edge.active ? `${rate(edge.rate.opened)} opened` : "idle";
  const failed = edge.rate.failed ? ` · ${rate(edge.rate.failed)} refused or failed` : "";
  return item(choose, { kind: "edge", id: edge.id }, `${name(edge.source)} → ${name(edge.destination)}`,
    el("small", {}, badge(SECURITY[edge.security], SHADES[edge.security]), now, failed));
}

function policyItem(policy, choose) {
  const counts = Object.entries(policy.verdicts).map(([effect, count]) => `${short(count)} ${effect}`);
  const notes = [SCOPES[policy.scope], ...counts, ...(policy.shortfalls.length ? ["not enforced as written"] : [])];
  return item(choose, { kind: "policy", id: policy.id }, badge(policy.action, policy.action),
    `${policy.namespace}/${policy.name}`, el("small", {}, notes.join(" · ")));
}

function showNode(place, graph, chosen, choose, back) {
  const node = graph.nodes.find((each) => each.id === chosen.id);
  const edges = (end) => graph.edges.filter((edge) => edge[end] === node.id).map((edge) => edgeItem(graph, edge, choose));
  const words = { workload: "workload", service: "service; no endpoint of it was found", outside: "addresses that discovery does not know" };
  const facts = el("div", {});
  const head = [back, el("h2", {}, nodeName(node)), el("p", { className: "faint" }, node.namespace ? `${words[node.kind]} in ${node.namespace}` : words[node.kind])];
  const kept = place.dataset.key === `node ${node.id}` ? place.querySelector("#facts") : null;
  facts.id = "facts";
  if (kept) facts.replaceChildren(...kept.childNodes);
  replace(place, chosen, head, facts, section("Calls", edges("source")), section("Is called by", edges("destination")));
  if (node.kind === "workload") fillWorkload(facts, node, graph, choose);
}

async function fillWorkload(facts, node, graph, choose) {
  const answer = await fetch(`workload.json?${new URLSearchParams({ namespace: node.namespace, name: node.name })}`, { cache: "no-store" });
  if (!answer.ok) {
    facts.replaceChildren(el("p", { className: "faint" }, answer.status === 404 ? "It has no pods any more." : `The controller answers ${answer.status}.`));
    return;
  }
  const found = await answer.json();
  const byId = new Map(graph.policies.map((policy) => [policy.id, policy]));
  const policies = found.policies.map((id) => byId.get(id)).filter(Boolean);
  facts.replaceChildren(
    ...section("Pods", found.pods.map(podTable)),
    ...section("Services", found.services.length ? el("p", {}, found.services.join(", ")) : []),
    ...section("Policies that apply", policies.length
      ? policies.map((policy) => policyItem(policy, choose))
      : el("p", { className: "faint" }, "None: everybody may call it.")),
  );
}

function podTable(pod) {
  const state = [badge(pod.is_enrolled ? "in the mesh" : "not in the mesh", pod.is_enrolled ? "tls" : ""), pod.is_ready ? null : badge("not ready", "failed")];
  return el("div", {},
    el("p", {}, el("b", {}, pod.name), " ", state.filter(Boolean)),
    table([["Identity", el("code", {}, pod.identity)], ["Node", pod.node], ["Addresses", pod.addresses.join(", ")]]));
}

function showEdge(place, graph, chosen, choose, back) {
  const edge = graph.edges.find((each) => each.id === chosen.id);
  const end = (id) => graph.nodes.find((node) => node.id === id);
  const identities = (list) => (list.length ? el("code", {}, list.join("\n")) : "none");
  const numbers = el("table", {},
    el("tr", {}, ["", "now", "in all"].map((text) => el("th", { className: text ? "number" : "" }, text))),
    [
      ["Connections opened", rate(edge.rate.opened), short(edge.total.opened)],
      ["Refused or failed", rate(edge.rate.failed), short(edge.total.failed)],
      ["Open", short(Math.max(0, edge.total.opened - edge.total.closed)), ""],
      ["Sent by the client", `${bytes(edge.rate.received)}/s`, bytes(edge.total.received)],
      ["Sent by the server", `${bytes(edge.rate.sent)}/s`, bytes(edge.total.sent)],
    ].map(([name, ...values]) => el("tr", {}, el("th", {}, name), values.map((value) => el("td", { className: "number" }, value)))));
  const failures = edge.failures.map((each) => [FLAGS[each.flag] ?? each.flag, rate(each.per_second), short(each.total)]);
  replace(place, chosen, back,
    el("h2", {}, `${nodeName(end(edge.source))} → ${nodeName(end(edge.destination))}`),
    el("p", {}, badge(SECURITY[edge.security], SHADES[edge.security]), failing(edge) === "all" ? badge("all refused or failed", "failed") : null),
    section("Traffic", numbers),
    section("Refused or failed", failures.length ? table(failures) : []),
    section("Identities", table([["Client", identities(edge.source_identities)], ["Server", identities(edge.destination_identities)]])),
    section("Services called", edge.services.length ? el("p", {}, edge.services.join(", ")) : []),
    section("Ends", [edge.source, edge.destination].filter((id, number, all) => all.indexOf(id) === number)
      .map((id) => item(choose, { kind: "node", id }, nodeName(end(id)), el("small", {}, end(id).namespace)))));
}

function showPolicy(place, graph, chosen, back) {
  const policy = graph.policies.find((each) => each.id === chosen.id);
  const verdicts = Object.entries(policy.verdicts).map(([effect, count]) => [effect, short(count)]);
  const shared = policy.resource !== null && policy.resource !== `${policy.namespace}/${policy.name}`;
  replace(place, chosen, back,
    el("h2", {}, `${policy.namespace}/${policy.name}`),
    el("p", {}, badge(policy.action, policy.action), el("span", { className: "faint" }, policy.kind)),
    section("Status",
      policy.shortfalls.length
        ? policy.shortfalls.map((text) => el("p", { className: "problem" }, text))
        : el("p", {}, policy.version === null ? "Node proxies are told nothing for it." : "Node proxies enforce it as it is written."),
      policy.dry_run ? el("p", { className: "problem" }, "It is a trial: nothing is refused for it.") : []),
    section("Applies to", el("p", {}, SCOPES[policy.scope])),
    section("Decisions", verdicts.length ? table(verdicts) : el("p", { className: "faint" }, "None yet."),
      shared ? el("p", { className: "faint" }, `counted for ${policy.resource}`) : []),
    section("As it is written", el("pre", {}, policy.spec.trim() || "{}")));
}
