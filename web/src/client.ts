// The routes of docs/routes.md.  One place adds the tokens; one error type carries the server's code and message.

import type { Api } from "./comfy";
import type * as contract from "./contract";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly answer: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

/** The server did not answer at all. */
export class Away extends Error {}

const PREFIX = "/modelstream";
const ADMIN_KEY = "modelstream.admin";

export class Client {
  private token = "";

  constructor(readonly api: Api) {}

  /** The owner's admin token, for a ComfyUI that listens on the network: kept for this browser tab only; "" for none. */
  set adminToken(token: string) {
    if (token) sessionStorage.setItem(ADMIN_KEY, token);
    else sessionStorage.removeItem(ADMIN_KEY);
  }

  get adminToken(): string {
    return sessionStorage.getItem(ADMIN_KEY) ?? "";
  }

  private headers(): Record<string, string> {
    const admin = this.adminToken;
    return admin ? { Authorization: `Bearer ${admin}` } : {};
  }

  private async ask<T>(route: string, options: RequestInit): Promise<T> {
    let response: Response;
    try {
      response = await this.api.fetchApi(PREFIX + route, { cache: "no-store", ...options });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new Away(String(error));
    }
    if ([502, 503, 504].includes(response.status) && !response.headers.get("content-type")?.includes("json")) {
      throw new Away(`HTTP ${response.status}`); // a proxy in front of a ComfyUI that is restarting
    }
    const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    if (response.ok) return answer as T;
    throw new Refused(response.status, String(answer["error"] ?? `http_${response.status}`), String(answer["message"] ?? ""), answer);
  }

  get<T>(route: string, query: Record<string, string | number | undefined> = {}, signal?: AbortSignal): Promise<T> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    return this.ask<T>(route + (text ? `?${text}` : ""), { headers: this.headers(), signal: signal ?? null });
  }

  async post<T>(route: string, body: object): Promise<T> {
    if (!this.token) await this.renewToken();
    try {
      return await this.postOnce<T>(route, body);
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "token") throw error;
      await this.renewToken(); // ComfyUI was restarted
      return this.postOnce<T>(route, body);
    }
  }

  private postOnce<T>(route: string, body: object): Promise<T> {
    const headers = { ...this.headers(), "Content-Type": "application/json", "X-Model-Stream-Token": this.token };
    return this.ask<T>(route, { method: "POST", headers, body: JSON.stringify(body) });
  }

  private async renewToken(): Promise<void> {
    this.token = (await this.get<{ token: string }>("/token")).token;
  }

  status = () => this.get<contract.Status>("/status");
  models = (query: Record<string, string | number | undefined>, signal?: AbortSignal) =>
    this.get<contract.ModelsPage>("/models", query, signal);
  series = (span: string, names: string) => this.get<contract.Series>("/series", { span, names });
  events = (since: number) => this.get<{ last: number; events: contract.Event[] }>("/events", { since, limit: 200 });
  cost = () => this.get<contract.Cost>("/cost");
  executions = () => this.get<contract.Executions>("/executions", { limit: 1 });
  estimate = (digest: string) => this.get<contract.FitAnswer>("/estimate", { digest });
  plan = (tier: string, digest: string) => this.get<contract.RoomPlan>("/plan", { tier, digest });

  refresh = () => this.post("/refresh", {});
  evict = (digests: string[], tier?: contract.TierName) => this.post<contract.EvictAnswer>("/evict", tier ? { digests, tier } : { digests });
  pin = (digests: string[], on: boolean) => this.post(on ? "/pin" : "/unpin", { digests });
  prefetch = (digests: string[], tier: "ssd" | "ram" = "ssd") =>
    this.post<{ warming: string; size_bytes: number; objects: number }>("/prefetch", { digests, tier });
  cancel = (transfer: number) => this.post("/cancel", { transfer });
  verify = (digests: string[]) => this.post<{ asked: number }>("/verify", { digests });
  budget = (tier: string, sizeBytes: number) =>
    this.post<{ budget_bytes: number; freed_bytes: number }>("/budgets", { tier, size_bytes: sizeBytes });
  graph = (prompt: object) => this.post<{ nodes: number }>("/graph", { client_id: this.api.clientId ?? "", prompt });
  prefetching = (paused: boolean) => this.post("/prefetching", { paused });
  panel = (open: boolean) =>
    this.post<{ expires_s: number; tick?: contract.Tick }>("/panel", { client_id: this.api.clientId ?? "", open });

  /** What a clear would remove; hand its `confirm` to `clear` to do it. */
  async askClear(tier: contract.TierName): Promise<contract.ClearQuestion> {
    try {
      await this.post("/clear", { tier });
    } catch (error) {
      if (error instanceof Refused && error.code === "confirm") return error.answer as unknown as contract.ClearQuestion;
      throw error;
    }
    throw new Error("the server cleared without asking");
  }

  clear = (tier: contract.TierName, confirm: string) => this.post<{ freed_bytes: number }>("/clear", { tier, confirm });
}
