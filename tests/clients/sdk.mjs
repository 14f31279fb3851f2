// The TypeScript SDK through the relay: `node --input-type=module - ADDRESS TOKEN CHECK [MODEL] < sdk.mjs` in the
// folder that has the packages. A failed check is the process's error.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const [address, token, check, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL: address, authToken: token, apiKey: null, maxRetries: 0, timeout: 30_000 });

const says = (content) => ({ role: "user", content });
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

const bash = {
  name: "Bash",
  description: "Runs a command",
  input_schema: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
};

async function refused(kind, status, promise) {
  const error = await promise.then(
    (answer) => assert.fail(`no ${kind.name}, but ${JSON.stringify(answer)}`),
    (reason) => reason,
  );
  assert.ok(error instanceof kind, `${error.name}: ${error.message}`);
  assert.equal(error.status, status);
  assert.ok(error.requestID, "no request id");
  return error;
}

const checks = {
  async create() {
    const message = await client.messages.create({ model, max_tokens: 100, messages: [says("say cherry")] });
    assert.match(textOf(message), /say cherry|echo/);
    assert.equal(message.stop_reason, "end_turn");
    assert.equal(message.model, model);
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0, JSON.stringify(message.usage));
  },

  async stream() {
    const pieces = [];
    const stream = client.messages.stream({ model, max_tokens: 100, messages: [says("say cherry")] });
    stream.on("text", (text) => pieces.push(text));
    const message = await stream.finalMessage();
    assert.equal(pieces.join(""), textOf(message));
    assert.match(textOf(message), /say cherry|echo/);
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.usage.output_tokens > 0, JSON.stringify(message.usage));
  },

  async tools() {
    const question = { model, max_tokens: 500, tools: [bash], messages: [says("USETWO")] };
    const first = await client.messages.stream(question).finalMessage();
    const calls = first.content.filter((block) => block.type === "tool_use");
    assert.equal(first.stop_reason, "tool_use");
    assert.deepEqual(calls.map((call) => call.input.command), ["echo hi-from-tool", "echo hi-again"]);
    const results = calls.map((call) => ({
      type: "tool_result",
      tool_use_id: call.id,
      content: call.input.command.slice(5),
    }));
    question.messages.push({ role: "assistant", content: first.content }, { role: "user", content: results });
    assert.match(textOf(await client.messages.create(question)), /read the result: hi-from-tool \| hi-again/);
  },

  async countTokens() {
    const count = async (words) => {
      const messages = [says("word ".repeat(words))];
      return (await client.messages.countTokens({ model, messages })).input_tokens;
    };
    const [few, many] = [await count(10), await count(1000)];
    assert.ok(0 < few && few < many, `${few} and ${many}`);
  },

  async models() {
    const listed = new Map();
    for await (const entry of client.models.list({ limit: 1000 })) listed.set(entry.id, entry);
    for (const name of ["anthropic/claude-sonnet-5-5", "zai/glm-5.2", "ollama/qwen3:8b"])
      assert.deepEqual(await client.models.retrieve(name), listed.get(name), name);
    const paged = [];
    for await (const entry of client.models.list({ limit: 1 })) paged.push(entry.id);
    assert.deepEqual(paged, [...listed.keys()]);
    await refused(Anthropic.NotFoundError, 404, client.models.retrieve("zai/glm-99"));
  },

  async errors() {
    const ask = (model, messages) => client.messages.create({ model, max_tokens: 100, messages });
    const missing = await refused(Anthropic.NotFoundError, 404, ask("zai/glm-99", [says("hello")]));
    assert.match(missing.message, /model: zai\/glm-99/);
    for (const name of ["claude-sonnet-5-5", "zai/glm-5.2", "ollama/qwen3:8b"])
      await refused(Anthropic.BadRequestError, 400, ask(name, []));
  },

  async overloaded() {
    const question = { model, max_tokens: 100, messages: [says("hello")] };
    const error = await refused(Anthropic.InternalServerError, 529, client.messages.create(question, { maxRetries: 1 }));
    assert.equal(error.error.error.type, "overloaded_error");
  },

  async rateLimit() {
    const question = { model, max_tokens: 100, messages: [says("hello")] };
    await refused(Anthropic.RateLimitError, 429, client.messages.create(question));
  },

  async errorInStream() {
    const pieces = [];
    const stream = client.messages.stream({ model, max_tokens: 500, messages: [says("USELONG=50")] });
    stream.on("text", (text) => pieces.push(text));
    await assert.rejects(stream.finalMessage(), Anthropic.APIError);
    assert.match(pieces.join(""), /^word0 word1/);
  },
};

await checks[check]();
