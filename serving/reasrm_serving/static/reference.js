// The HTTP API, as the gateway itself describes it in openapi.json. FastAPI's own pages load theirs from elsewhere.

import { get } from "./api.js";
import { $, h } from "./dom.js";

const WRITES = ["post", "get", "put", "delete"];

let schemas = {}; // by name, as the description's references give it

const resolved = (schema = {}) => (schema.$ref ? { ...schemas[schema.$ref.split("/").pop()], ...schema } : schema);

/** Fill the page, once. */
export async function enter() {
  if ($("reference").childElementCount) return;
  const { paths, components } = await get("openapi.json");
  schemas = components.schemas;
  const operations = Object.entries(paths).flatMap(([path, methods]) => WRITES.filter((method) => methods[method]).map((method) => [method, path, methods[method]]));
  const tags = [...new Set(operations.map(([, , { tags }]) => tags?.[0] ?? "other"))];
  $("reference").replaceChildren(...tags.flatMap((tag) => [
    h("h2", { class: "tag" }, tag[0].toUpperCase() + tag.slice(1)),
    ...operations.filter(([, , operation]) => (operation.tags?.[0] ?? "other") === tag).map(described),
  ]));
}

function described([method, path, operation]) {
  const content = operation.requestBody?.content["application/json"];
  const examples = Object.entries(content?.examples ?? {});
  const body = resolved(content?.schema);
  const fields = content ? Object.entries(body.properties ?? {}) : (operation.parameters ?? []).map(({ name, schema, description }) => [name, { description, ...schema }]);
  const required = body.required ?? [];
  fields.sort(([one], [other]) => required.includes(other) - required.includes(one));
  const explained = fields.some(([, schema]) => schema.description);
  return h("details", { class: "card operation" },
    h("summary", {}, h("code", { class: `method ${method}` }, method.toUpperCase()), h("code", { class: "path" }, path), h("span", { class: "dim" }, firstSentence(operation.description))),
    h("p", { class: "prose" }, operation.description),
    fields.length > 0 && h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Fields of ${path}` }, h("table", { class: "list" },
      h("thead", {}, h("tr", {}, ["Field", "Type", "Default", explained && "Meaning"].filter(Boolean).map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, fields.map(([name, schema]) => h("tr", {},
        h("td", {}, h("code", {}, name)),
        h("td", { class: "dim type" }, typeOf(schema)),
        h("td", { class: "dim" }, required.includes(name) ? "required" : schema.default === undefined || schema.default === null ? "" : JSON.stringify(schema.default)),
        explained && h("td", { class: "dim means" }, schema.description ?? "")))))),
    examples.map(([name, { value }]) => [h("h3", {}, name), h("pre", { class: "mono prose" }, curl(method, path, value))]),
    !examples.length && method === "get" && !path.includes("{") && h("pre", { class: "mono prose" }, curl(method, path)));
}

const firstSentence = (text = "") => text.split(/[.:]\s|\n/)[0].replace(/\.$/, "").replaceAll("`", "");

function typeOf(unresolved) {
  const schema = resolved(unresolved);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return [...new Set(schema.anyOf.filter(({ type }) => type !== "null").map(typeOf))].join(" | ").replace("string | messages", "text | messages");
  if (schema.type === "array") return resolved(schema.items).properties?.role ? "messages" : `list of ${schema.items ? typeOf(schema.items) : "any"}`;
  return schema.type ?? "any";
}

function curl(method, path, value) {
  const url = new URL(path.slice(1), location.href.split("#")[0]);
  return value ? `curl -s ${url} -d '${JSON.stringify(value, null, 2).replaceAll("'", "'\\''")}'` : `curl -s ${url}`;
}
