// The AI SDK with its provider for OpenAI-compatible servers: runs one step and prints what it was told, as JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [step, baseURL, apiKey, retries, includeUsage] = process.argv.slice(2);
const provider = createOpenAICompatible({ name: "gate", baseURL, apiKey, includeUsage: includeUsage === "true" });
const ask = { model: provider("small"), prompt: "Hi", maxRetries: Number(retries) };
const weather = tool({
  description: "The weather in a city.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: async ({ city }) => `rain in ${city}`,
});

const steps = {
  async chat() {
    const { text, usage } = await generateText(ask);
    return { text, usage: [usage.totalTokens] };
  },
  async stream() {
    let failed = null;
    const result = streamText({ ...ask, onError: ({ error }) => (failed = error) });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    if (failed) throw failed;
    const { totalTokens } = await result.usage;
    return { text, usage: totalTokens == null || Number.isNaN(totalTokens) ? [] : [totalTokens] };
  },
  async tools() {
    const { text, steps } = await generateText({ ...ask, tools: { weather }, stopWhen: stepCountIs(2) });
    const [call] = steps[0].toolCalls;
    return { name: call.toolName, input: call.input, text };
  },
  async embeddings() {
    const { embedding } = await embed({ model: provider.embeddingModel("small"), value: "a" });
    return embedding;
  },
};

try {
  console.log(JSON.stringify({ told: await steps[step]() }));
} catch (error) {
  const cause = error.lastError ?? error;
  console.log(JSON.stringify({ error: error.name, status: cause.statusCode ?? null, code: cause.data?.error?.code ?? null }));
}
process.exit(0);
