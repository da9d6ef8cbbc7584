// OpenAI's own client for Node: runs one step and prints what it was told, as JSON.
import OpenAI from "openai";

const [step, baseURL, apiKey, maxRetries] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: Number(maxRetries) });
const messages = [{ role: "user", content: "Hi" }];
const ask = { model: "small", messages };
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

async function streamed(options) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, ...options })) {
    chunks.push(chunk);
  }
  return {
    text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
    empty: chunks.filter((chunk) => chunk.choices.length === 0).length,
    usage: chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.total_tokens),
  };
}

const steps = {
  async chat() {
    const answer = await client.chat.completions.create(ask);
    return { text: answer.choices[0].message.content, usage: [answer.usage.total_tokens] };
  },
  stream: () => streamed({}),
  stream_usage: () => streamed({ stream_options: { include_usage: true } }),
  async tools() {
    const answer = await client.chat.completions.create({ ...ask, tools: [weather] });
    const call = answer.choices[0].message.tool_calls[0].function;
    return { name: call.name, input: JSON.parse(call.arguments) };
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: "small", input: ["a"] });
    return Array.from(answer.data[0].embedding);
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return [...ids, (await client.models.retrieve("small")).id];
  },
};

try {
  console.log(JSON.stringify({ told: await steps[step]() }));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, status: error.status ?? null, code: error.code ?? null }));
}
