// What the panel knows of the server: one status, kept fresh by ticks of ComfyUI's websocket while a panel is open.
// Closed, or in a browser tab that nobody sees, it asks for nothing; critical alerts still come.

import type { ReactiveController, ReactiveControllerHost } from "lit";
import { Away, Client, Refused } from "./client";
import type { Alert, AlertMessage, Event, Status, Tick } from "./contract";
import type { Api } from "./comfy";

export type Phase = "closed" | "connecting" | "live" | "away" | "refused" | "locked" | "missing";

const STATUS_EVERY_S = 10;
const STATUS_AFTER_EVENT_S = 2;
const RETRY_S = [0.5, 1, 2, 4, 5] as const;
const EVENTS_KEPT = 300;

export class Feed {
  phase: Phase = "closed";
  status: Status | null = null;
  events: Event[] = [];
  moreTransfers = 0;
  /** of "refused": what the server said */
  failure: Refused | null = null;
  /** of "locked": why the form is there (again) */
  lock: "asked" | "wrong" | "none" = "asked";

  private readonly listeners = new Set<() => void>();
  private readonly alertListeners = new Set<(alert: Alert) => void>();
  private panels = 0;
  private timer: number | undefined;
  private statusAt = 0;
  private statusWanted = false;
  private attempts = 0;
  private lastEvent = 0;
  private generation = 0;

  constructor(
    readonly client: Client,
    api: Api,
  ) {
    api.addEventListener("modelstream", (event) => this.message(event.detail as Tick | AlertMessage));
    api.addEventListener("reconnecting", () => this.lost());
    api.addEventListener("reconnected", () => void this.follow());
    document.addEventListener("visibilitychange", () => this.visibility());
  }

  /** Called for every change; the returned function ends that. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  onAlert(listener: (alert: Alert) => void): void {
    this.alertListeners.add(listener);
  }

  open(): void {
    this.panels += 1;
    if (this.panels === 1) void this.follow();
  }

  close(): void {
    this.panels -= 1;
    if (this.panels === 0) this.rest();
  }

  /** Seconds since 1970 on the server's clock. */
  now(): number {
    return Date.now() / 1000 + this.skew;
  }
  private skew = 0;

  async refreshStatus(): Promise<void> {
    this.statusWanted = false;
    this.statusAt = performance.now();
    const status = await this.client.status();
    this.skew = status.now_s - Date.now() / 1000;
    this.status = status;
    this.changed();
  }

  private get wanted(): boolean {
    return this.panels > 0 && document.visibilityState !== "hidden";
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }

  private enter(phase: Phase, failure: Refused | null = null): void {
    this.phase = phase;
    this.failure = failure;
    this.changed();
  }

  private later(seconds: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.follow(), seconds * 1000);
  }

  /** Starts the ticks, or keeps them going; asks again by itself for as long as a panel is open. */
  private async follow(): Promise<void> {
    window.clearTimeout(this.timer);
    if (!this.wanted) return;
    if (this.phase === "closed") this.enter("connecting");
    try {
      const answer = await this.ticks();
      if (this.phase !== "live" || this.statusStale()) await this.refreshStatus();
      if (this.phase !== "live") await this.catchUp();
      if (answer.tick) this.tick(answer.tick);
      this.attempts = 0;
      if (this.wanted && this.phase !== "live") this.enter("live");
      this.later(Math.max(1, Math.min(answer.expires_s / 2, STATUS_EVERY_S)));
    } catch (error) {
      this.failed(error);
    }
  }

  /** Asks for ticks.  Where nothing is measured (no configuration, metrics switched off) there are none: the status is asked again. */
  private async ticks(): Promise<{ expires_s: number; tick?: Tick }> {
    try {
      return await this.client.panel(true);
    } catch (error) {
      if (error instanceof Refused && error.code === "not_configured") return { expires_s: 2 * STATUS_EVERY_S };
      throw error;
    }
  }

  private failed(error: unknown): void {
    const wait = RETRY_S[Math.min(this.attempts, RETRY_S.length - 1)] ?? 5;
    this.attempts += 1;
    if (error instanceof Away) this.enter("away");
    else if (!(error instanceof Refused)) throw error;
    else if (["admin_token", "no_admin_token"].includes(error.code)) this.locked(error.code);
    else if (error.status === 404) this.enter("missing");
    else this.enter("refused", error);
    if (this.phase !== "locked") this.later(wait);
  }

  /** No figure of before stays: who may not read now must not go on seeing them.  A token that was refused is forgotten. */
  private locked(code: string): void {
    this.lock = code === "no_admin_token" ? "none" : this.client.adminToken ? "wrong" : "asked";
    this.client.adminToken = "";
    this.status = null;
    this.events = [];
    this.enter("locked");
  }

  private lost(): void {
    if (["live", "connecting", "locked"].includes(this.phase)) this.enter("away");
    if (this.wanted) this.later(RETRY_S[0]);
  }

  private rest(): void {
    window.clearTimeout(this.timer);
    const wasLive = this.phase === "live";
    this.phase = "closed";
    if (wasLive) this.client.panel(false).catch(() => undefined); // it expires by itself
  }

  private visibility(): void {
    if (this.panels === 0) return;
    if (document.visibilityState === "hidden") this.rest();
    else void this.follow();
  }

  unlock(token: string): void {
    this.client.adminToken = token;
    this.attempts = 0;
    void this.follow();
  }

  private statusStale(): boolean {
    const age = (performance.now() - this.statusAt) / 1000;
    return age >= STATUS_EVERY_S || (this.statusWanted && age >= STATUS_AFTER_EVENT_S);
  }

  private message(message: Tick | AlertMessage): void {
    if (message.kind === "alert") {
      for (const listener of this.alertListeners) listener(message.alert);
      this.statusWanted = true;
      if (this.wanted) void this.refreshIfStale();
    } else if (message.kind === "tick" && this.wanted) {
      this.tick(message);
      if (this.phase !== "live" && this.status) this.enter("live");
      else this.changed();
    }
  }

  private tick(tick: Tick): void {
    if (!this.status) return;
    const { health, tiers, transfers, gpus, on_devices, queue, totals, generation } = tick;
    const moved = tick.last_event !== this.lastEvent || health.code !== this.status.health.code || generation !== this.generation;
    this.generation = generation;
    const savings = { ...this.status.savings, hit_rate: tick.hit_rate };
    this.status = { ...this.status, now_s: tick.now_s, health, tiers, transfers, gpus, on_devices, queue, totals, generation, savings };
    this.moreTransfers = tick.more_transfers;
    this.skew = tick.now_s - Date.now() / 1000;
    this.take(tick.events);
    if (tick.last_event > this.lastEvent) void this.catchUp();
    if (moved) this.statusWanted = true;
    void this.refreshIfStale();
  }

  private async refreshIfStale(): Promise<void> {
    if (!this.statusStale()) return;
    await this.refreshStatus().catch((error: unknown) => this.failed(error));
  }

  private take(events: Event[]): void {
    const fresh = events.filter((event) => event.seq > this.lastEvent);
    if (!fresh.length) return;
    this.lastEvent = Math.max(...fresh.map((event) => event.seq));
    this.events = [...this.events, ...fresh].slice(-EVENTS_KEPT);
  }

  /** The events that ticks left out.  A server that starts counting anew was restarted. */
  private async catchUp(): Promise<void> {
    try {
      const answer = await this.client.events(this.lastEvent);
      if (answer.last < this.lastEvent) {
        this.lastEvent = 0;
        this.take((await this.client.events(0)).events);
      } else {
        this.take(answer.events);
        this.lastEvent = Math.max(this.lastEvent, answer.last);
      }
      this.changed();
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error; // the next connect says it
    }
  }
}

/** Lit: updates the element whenever the feed changes, for as long as it is on the page. */
export class Follows implements ReactiveController {
  private end: (() => void) | undefined;

  constructor(
    private readonly host: ReactiveControllerHost & { feed: Feed },
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    this.end = this.host.feed?.subscribe(() => this.host.requestUpdate());
  }

  hostUpdate(): void {
    this.end ??= this.host.feed?.subscribe(() => this.host.requestUpdate());
  }

  hostDisconnected(): void {
    this.end?.();
    this.end = undefined;
  }
}
