// What buttons do: ask the server, and say how it went, in a toast and to a screen reader.

import { Away, Refused, type Client } from "./client";
import { confirmed, toast, type App, type Severity } from "./comfy";
import type { EvictAnswer, TierName } from "./contract";
import { texts } from "./i18n";
import { bytes, visible } from "./units";

export interface Target {
  digest: string;
  name: string;
}

export class Actions {
  /** called with every outcome; the panel's live region reads it out */
  announce: (text: string) => void = () => undefined;
  /** called after every change, so that tables show it without waiting for a tick */
  changed: () => void = () => undefined;

  constructor(
    readonly app: App,
    readonly client: Client,
  ) {}

  /** What a node is called in the open workflow; its number where it is in none. */
  nodeTitle(id: string): string {
    const node = this.app.graph?._nodes?.find((one) => String(one.id) === id.split(":").at(-1));
    return visible(node?.title || node?.comfyClass || texts.get("now.node", { id }));
  }

  say(severity: Severity, text: string, detail?: string): void {
    this.announce(detail ? `${text} ${detail}` : text);
    toast(this.app, { severity, summary: text, ...(detail ? { detail } : {}), life: severity === "error" ? 8000 : 4000 });
  }

  async pin(targets: Target[], on: boolean): Promise<void> {
    await this.tried(async () => {
      await this.client.pin(digests(targets), on);
      this.say("success", texts.count(on ? "did.pinned" : "did.unpinned", targets.length, named(targets)));
    });
  }

  async prefetch(targets: Target[], tier: "ssd" | "ram" = "ssd"): Promise<void> {
    await this.tried(async () => {
      const answer = await this.client.prefetch(digests(targets), tier);
      const size = bytes(texts.locale, answer.size_bytes);
      this.say("info", texts.count("did.prefetching", targets.length, { ...named(targets), size }));
    });
  }

  async evict(targets: Target[], tier?: TierName): Promise<void> {
    await this.tried(async () => {
      const answer = await this.client.evict(digests(targets), tier);
      const refused = refusals(answer);
      const freed = texts.get("did.freed", { size: bytes(texts.locale, answer.freed_bytes) });
      if (refused && !answer.freed_bytes) this.say("warn", texts.count("did.notEvicted", targets.length, named(targets)), refused);
      else this.say("success", texts.count("did.evicted", targets.length, named(targets)), [freed, refused].filter(Boolean).join(" "));
    });
  }

  async verify(targets: Target[]): Promise<void> {
    await this.tried(async () => {
      await this.client.verify(digests(targets));
      this.say("info", texts.count("did.verifying", targets.length, named(targets)));
    });
  }

  async cancel(transfer: number, name: string, waiting: number): Promise<void> {
    const sure =
      waiting === 0 ||
      (await confirmed(this.app, { title: texts.get("now.cancelTitle"), message: texts.get("now.cancelWaiting", { name: visible(name) }) }));
    if (!sure) return;
    await this.tried(async () => {
      await this.client.cancel(transfer);
      this.say("info", texts.get("did.cancelled", { name: visible(name) }));
    });
  }

  async clear(tier: TierName): Promise<void> {
    await this.tried(async () => {
      const asked = await this.client.askClear(tier);
      const where = texts.get(`tier.${tier}`);
      const size = bytes(texts.locale, asked.size_bytes);
      const message = texts.count("tiers.clearMessage", asked.entries, { tier: where, size });
      if (!(await confirmed(this.app, { title: texts.get("tiers.clearTitle", { tier: where }), message, type: "default" }))) return;
      const done = await this.client.clear(tier, asked.confirm);
      this.say("success", texts.get("did.freed", { size: bytes(texts.locale, done.freed_bytes) }));
    });
  }

  async budget(tier: TierName, sizeBytes: number): Promise<boolean> {
    return this.tried(async () => {
      const done = await this.client.budget(tier, sizeBytes);
      const size = bytes(texts.locale, done.budget_bytes);
      this.say("success", texts.get("did.budget", { tier: texts.get(`tier.${tier}`), size }));
    });
  }

  async pausePrefetch(paused: boolean): Promise<void> {
    await this.tried(async () => {
      await this.client.prefetching(paused);
      this.say("info", texts.get(paused ? "did.prefetchPaused" : "did.prefetchOn"));
    });
  }

  async refresh(): Promise<void> {
    await this.tried(async () => {
      await this.client.refresh();
      this.say("info", texts.get("did.refreshing"));
    });
  }

  /** Runs it; what the server refuses is said, everything else is a defect and thrown. */
  private async tried(action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      this.changed();
      return true;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Away)) throw error;
      this.say("error", texts.get("did.failed"), reasonOf(error));
      return false;
    }
  }
}

export function reasonOf(error: Refused | Away): string {
  if (error instanceof Away) return texts.get("error.away");
  return texts.has(`error.${error.code}`) ? texts.get(`error.${error.code}`) : error.message || error.code;
}

const digests = (targets: Target[]) => targets.map((one) => one.digest);
const named = (targets: Target[]) => ({ name: visible(targets[0]?.name ?? "") });

/** "RAM: in use. SSD: pinned." */
function refusals(answer: EvictAnswer): string {
  const seen = new Map<string, string>();
  for (const result of answer.results) for (const [tier, reason] of Object.entries(result.refused)) seen.set(tier, reason);
  const say = (reason: string) => (texts.has(`refused.${reason}`) ? texts.get(`refused.${reason}`) : reason);
  return [...seen].map(([tier, reason]) => `${texts.get(`tier.${tier}`)}: ${say(reason)}.`).join(" ");
}
