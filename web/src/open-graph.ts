// The graph that is open, told to the server when the models in it changed, so that they are on their way before it is queued.
// Only where the server has `prefetch.open_graph` on; else this asks once whether it has, and listens to nothing.

import { Away, Refused, type Client } from "./client";
import type { Api, App } from "./comfy";

const STILL_MS = 2000;
const BYTES_MAX = 256 << 10;
const MODEL = /\.(safetensors|sft|gguf|ckpt|pt|pt2|pth|bin|pkl|onnx)$|embedding:/i;

type Prompt = Record<string, { class_type: string; inputs: Record<string, unknown> }>;

export class OpenGraph {
  private on = false;
  private timer: number | undefined;
  /** the model names that the server knows of; null: none yet */
  private told: string | null = null;
  private readonly changed = () => this.later();

  constructor(
    private readonly app: App,
    private readonly api: Api,
    private readonly client: Client,
  ) {
    api.addEventListener("reconnected", () => void this.start());
  }

  /** Asks whether the server wants graphs; again after every reconnect, for it may have been restarted. */
  async start(): Promise<void> {
    this.told = null;
    try {
      this.turn((await this.client.status()).prefetch?.open_graph === true);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.turn(false);
    }
  }

  /** Another workflow was opened. */
  opened(): void {
    if (this.on) this.later();
  }

  private turn(on: boolean): void {
    if (on && !this.on) this.api.addEventListener("graphChanged", this.changed);
    if (!on && this.on) this.api.removeEventListener("graphChanged", this.changed);
    this.on = on;
    window.clearTimeout(this.timer);
    if (on) this.later();
  }

  private later(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.tell(), STILL_MS);
  }

  private async tell(): Promise<void> {
    const prompt = await this.prompt();
    if (!this.on || !prompt) return;
    const names = modelNames(prompt);
    if (names === (this.told ?? "")) return;
    if (new TextEncoder().encode(JSON.stringify(prompt)).length > BYTES_MAX - 1024) return;
    this.told = names;
    try {
      await this.client.graph(names ? prompt : {});
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.told = null; // the next change tries again
    }
  }

  /** As queueing would send it, without what is only for people; null while the graph cannot be queued. */
  private async prompt(): Promise<Prompt | null> {
    try {
      const { output } = (await this.app.graphToPrompt?.()) ?? { output: null };
      if (!output) return null;
      return Object.fromEntries(Object.entries(output).map(([id, { class_type, inputs }]) => [id, { class_type, inputs }]));
    } catch {
      return null; // other extensions' widgets may refuse a graph that is half made
    }
  }
}

/** Every text in a prompt that names a model, sorted, as one text. */
export function modelNames(prompt: Prompt): string {
  const found = new Set<string>();
  const look = (value: unknown, deep: number): void => {
    if (typeof value === "string") {
      if (MODEL.test(value)) found.add(value);
    } else if (deep && value && typeof value === "object") {
      for (const one of Object.values(value)) look(one, deep - 1);
    }
  };
  for (const node of Object.values(prompt)) look(node.inputs, 6);
  return [...found].sort().join("\n");
}
