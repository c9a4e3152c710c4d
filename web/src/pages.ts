// The rows of the models table that are on the page, fetched as they come into view: the server filters, sorts and pages,
// so ten thousand models cost what the visible dozen costs.

import { Away, Refused, type Client } from "./client";
import type { ModelsPage, Row } from "./contract";

export const PAGE_ROWS = 100;
const PAGES_KEPT = 12;

export interface Query {
  filter: string;
  folder: string;
  tier: string;
  sort: string;
  order: "asc" | "desc";
}

export class Pages {
  total: number | null = null;
  all = 0;
  folders: ModelsPage["folders"] = [];
  failure: Refused | Away | null = null;

  private pages = new Map<number, Row[]>();
  private asked = new Set<number>();
  private stale = new Set<number>();
  private aborter = new AbortController();

  constructor(
    private readonly client: Client,
    private query: Query,
    private readonly changed: () => void,
  ) {}

  /** Another question: what was known answers the old one, but stays on the page until the new answer is here. */
  ask(query: Query): void {
    this.query = query;
    this.refetch();
  }

  /** The same question again, because something changed. */
  refetch(): void {
    this.aborter.abort();
    this.aborter = new AbortController();
    this.asked.clear();
    this.stale = new Set(this.pages.keys());
  }

  row(index: number): Row | undefined {
    return this.pages.get(Math.floor(index / PAGE_ROWS))?.[index % PAGE_ROWS];
  }

  find(digest: string): Row | undefined {
    for (const rows of this.pages.values()) for (const row of rows) if (row.digest === digest) return row;
    return undefined;
  }

  /** Fetches what of these rows is not there. */
  show(first: number, last: number): void {
    for (let page = Math.floor(first / PAGE_ROWS); page <= Math.floor(Math.max(first, last) / PAGE_ROWS); page += 1) {
      if (this.asked.has(page) || (this.pages.has(page) && !this.stale.has(page))) continue;
      this.asked.add(page);
      void this.fetch(page, this.aborter.signal);
    }
  }

  private async fetch(page: number, signal: AbortSignal): Promise<void> {
    try {
      const answer = await this.client.models({ ...this.query, offset: page * PAGE_ROWS, limit: PAGE_ROWS }, signal);
      if (signal.aborted) return;
      if (answer.total !== this.total) for (const old of this.stale) if (old !== page) this.pages.delete(old);
      this.pages.delete(page); // and again at the end: the oldest is dropped first
      this.pages.set(page, answer.rows);
      this.stale.delete(page);
      this.asked.delete(page);
      for (const old of [...this.pages.keys()].slice(0, Math.max(0, this.pages.size - PAGES_KEPT))) this.pages.delete(old);
      this.total = answer.total;
      this.all = answer.all;
      this.folders = answer.folders;
      this.failure = null;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.failure = error; // shown; the next change of the catalog, or the reconnect, asks again
    }
    this.changed();
  }
}
