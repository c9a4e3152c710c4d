// What is known of remote models by the name that a loader's list shows: for labels and menus of nodes.
// Fetched when a node first asks, and again only after something may have changed it: nothing here runs on a timer.

import { Away, Refused, type Client } from "./client";
import type { Api } from "./comfy";
import type { Row } from "./contract";
import { FitQuestions } from "./fit";

const LIMIT = 1000;
const NAMES_MAX = 20_000;

/** The folder behind the inputs of ComfyUI's own loaders, where two folders hold the same name. */
const FOLDERS: Record<string, string> = {
  ckpt_name: "checkpoints",
  lora_name: "loras",
  vae_name: "vae",
  unet_name: "diffusion_models",
  clip_name: "text_encoders",
  clip_name1: "text_encoders",
  clip_name2: "text_encoders",
  clip_name3: "text_encoders",
  control_net_name: "controlnet",
  style_model_name: "style_models",
  gligen_name: "gligen",
  model_name: "upscale_models",
  hypernetwork_name: "hypernetworks",
};

export function isLoaderInput(name: string): boolean {
  return name in FOLDERS;
}

export class Catalog {
  private rows = new Map<string, Row[]>();
  private state: "empty" | "asking" | "fresh" | "stale" = "empty";
  private generation: number | undefined;
  private readonly listeners = new Set<() => void>();
  private readonly fits: FitQuestions;

  constructor(
    private readonly client: Client,
    api: Api,
  ) {
    this.fits = new FitQuestions(client, (digest, verdict) => {
      for (const rows of this.rows.values()) for (const row of rows) if (row.digest === digest) row.fit = verdict;
      for (const listener of this.listeners) listener();
    });
    for (const type of ["execution_success", "execution_error", "execution_interrupted", "reconnected"]) {
      api.addEventListener(type, () => this.outdated());
    }
  }

  /** The panel's feed saw this generation of the models table. */
  follow(generation: number | undefined): void {
    if (generation !== undefined && generation !== this.generation) {
      this.generation = generation;
      this.outdated();
    }
  }

  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** The remote model of that name, from memory; undefined for a local one, and until the answer is here. */
  find(name: string, input: string): Row | undefined {
    if (this.state === "empty" || this.state === "stale") void this.fetch();
    const found = this.rows.get(name.replaceAll("\\", "/"));
    return found?.find((row) => row.folder === FOLDERS[input]) ?? (FOLDERS[input] && found && found.length > 1 ? undefined : found?.[0]);
  }

  /** Whether it fits is asked for, and told to the listeners. */
  askFit(row: Row): void {
    this.fits.ask(row);
  }

  private outdated(): void {
    if (this.state === "fresh") this.state = "stale";
  }

  private async fetch(): Promise<void> {
    this.state = "asking";
    try {
      const rows = new Map<string, Row[]>();
      for (let offset = 0; offset < NAMES_MAX; offset += LIMIT) {
        const page = await this.client.models({ offset, limit: LIMIT });
        for (const row of page.rows) rows.set(row.name, [...(rows.get(row.name) ?? []), row]);
        if (offset + LIMIT >= page.total) break;
      }
      this.rows = rows;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error; // names without labels, until something changes
    }
    this.state = "fresh";
    for (const listener of this.listeners) listener();
  }
}
