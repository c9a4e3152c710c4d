// Whether a model fits, in words, and asking so once a model: for the table, its details and the labels of loaders.

import { Away, Refused, type Client } from "./client";
import type { Row, Verdict } from "./contract";
import { texts } from "./i18n";
import { bytes, number } from "./units";

/** Folders of which the server can say it. */
const FOLDERS = new Set(["checkpoints", "diffusion_models", "text_encoders", "vae"]);

export function canAsk(row: Row): boolean {
  return row.listed && FOLDERS.has(row.folder) && /\.(safetensors|sft)$/i.test(row.name);
}

/** "fits", "+2.1 GB offloaded", "too large": behind a name. */
export function shortFit(verdict: Verdict | null): string {
  if (!verdict || verdict.kind === "unknown") return "";
  return texts.get(`fit.short.${verdict.kind}`, { size: bytes(texts.locale, verdict.offload_bytes) });
}

/** One sentence. */
export function fitText(verdict: Verdict): string {
  const size = (value: number) => bytes(texts.locale, value);
  const said = texts.get(`fit.${verdict.kind}`, {
    device: verdict.device,
    needed: size(verdict.needed_bytes),
    left: size(verdict.left_bytes),
    freed: size(verdict.freed_bytes),
    models: verdict.going.map((one) => one.slice(one.lastIndexOf("/") + 1)).join(", "),
    offload: size(verdict.offload_bytes),
    missing: size(verdict.missing_bytes),
  });
  return verdict.step_seconds === null ? said : `${said} ${texts.get("fit.step", { seconds: number(texts.locale, verdict.step_seconds, 2) })}`;
}

/** Asks one after another, each model once while the page is open; an estimate is kept by the server. */
export class FitQuestions {
  private readonly asked = new Set<string>();
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly client: Client,
    private readonly answered: (digest: string, verdict: Verdict) => void,
  ) {}

  ask(row: Row): void {
    if (row.fit || !canAsk(row) || this.asked.has(row.digest)) return;
    this.asked.add(row.digest);
    this.last = this.last.then(() => this.one(row.digest));
  }

  private async one(digest: string): Promise<void> {
    try {
      this.answered(digest, (await this.client.estimate(digest)).verdict);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error; // a label without it
    }
  }
}
