// The gateway's HTTP API as the page uses it. Addresses are relative: the page works below any path of a proxy.

const TOKEN = "reasrm-token"; // an API key lives as long as the tab, and nowhere else

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the gateway answered ${status}`);
    Object.assign(this, { status, type: body?.error?.type, field: body?.error?.field });
  }
}

export const setToken = (token) => sessionStorage.setItem(TOKEN, token);

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

async function ask(path, { body, signal, headers = {} } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { ...(body && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }), ...headers },
    body: body && JSON.stringify(body),
    signal,
    cache: "no-store",
  });
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null));
  return response;
}

export const get = async (path) => (await ask(path)).json();

export const rank = async (body, signal) => (await ask("v1/rank", { body, signal })).json();

/** The judgment of `body` if the gateway has it, else null: asking costs no tokens. */
export async function kept(body) {
  try {
    return await (await ask("v1/judge", { body, headers: { "cache-control": "only-if-cached" } })).json();
  } catch (error) {
    if (error.status === 504) return null;
    throw error;
  }
}

/** Judge `body`; yields ["delta", {order, reply, text}] as the reply is written, then ["judgment", …] with its `id`. */
export async function* judged(body, signal) {
  const response = await ask("v1/judge/stream", { body, signal });
  for await (const [event, data] of events(response.body)) {
    if (event === "error") throw new ApiError(response.status, data);
    if (event === "judgment") data.id = response.headers.get("x-judgment-id");
    yield [event, data];
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      const event = lines.find((line) => line.startsWith("event: "))?.slice(7);
      if (event) yield [event, JSON.parse(data.join("\n"))];
    }
  }
}
