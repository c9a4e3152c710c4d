// The table of everything that the buckets hold: where it is, how big, how often used, and what can be done with it.

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Part, define, remember, remembered } from "./element";
import { reasonOf } from "./actions";
import type { Row } from "./contract";
import { fitText } from "./fit";
import { glyph } from "./glyphs";
import { modelStyles } from "./model-styles";
import { Pages, type Query } from "./pages";
import { visible } from "./units";
import "./model-details";

const WIDE_PX = 620;
const ROW_PX = { wide: 36, narrow: 50 };
const ROWS_SHOWN = { wide: 12, narrow: 8 };
const OVERSCAN = 4;
const SORTS = ["name", "size_bytes", "last_used_s", "uses", "tier", "saved_s", "folder"] as const;
const DESCENDING_FIRST = new Set(["size_bytes", "last_used_s", "uses", "saved_s"]);
const WHERE = ["cached", "vram", "ram", "ssd", "bucket", "pinned", "loading"] as const;
const FIRST: Query = { filter: "", folder: "", tier: "", sort: "name", order: "asc" };

export class Models extends Part {
  static override properties = { ...Part.properties, wide: { state: true }, chosen: { state: true }, query: { state: true } };
  declare wide: boolean;
  declare chosen: string | undefined;
  declare query: Query;
  static override styles = [Part.styles, modelStyles];

  private pages: Pages | undefined;
  private generation = -1;
  private typing: number | undefined;
  private top = 0;
  private readonly seen = new IntersectionObserver((entries) => this.onSeen(entries.at(-1)?.isIntersecting ?? false));
  private readonly sized = new ResizeObserver(() => (this.wide = this.clientWidth >= WIDE_PX));
  private isSeen = false;

  constructor() {
    super();
    this.wide = false;
    this.query = { ...FIRST, ...remembered<Partial<Query>>("models", {}), filter: "" };
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.seen.observe(this);
    this.sized.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.seen.disconnect();
    this.sized.disconnect();
  }

  /** After an action: what is on the page is asked for again. */
  refetch(): void {
    this.pages?.refetch();
    this.requestUpdate();
  }

  private onSeen(seen: boolean): void {
    this.isSeen = seen;
    if (seen) this.requestUpdate();
  }

  private get rowPx(): number {
    return this.wide ? ROW_PX.wide : ROW_PX.narrow;
  }

  protected override willUpdate(changes: PropertyValues): void {
    super.willUpdate(changes);
    this.pages ??= new Pages(this.feed.client, this.query, () => this.requestUpdate());
    const generation = this.feed.status?.generation ?? -1;
    if (this.feed.phase === "live" && generation !== this.generation) {
      this.generation = generation;
      this.pages.refetch();
    }
  }

  protected override updated(): void {
    if (!this.isSeen || this.feed.phase !== "live") return;
    const [first, last] = this.range();
    this.pages?.show(first, last);
  }

  private range(): [number, number] {
    const total = this.pages?.total ?? 0;
    const shown = this.wide ? ROWS_SHOWN.wide : ROWS_SHOWN.narrow;
    const first = Math.max(0, Math.floor(this.top / this.rowPx) - OVERSCAN);
    return [Math.min(first, Math.max(0, total - shown - OVERSCAN)), Math.max(0, Math.min(total - 1, first + shown + 2 * OVERSCAN))];
  }

  private ask(change: Partial<Query>): void {
    this.query = { ...this.query, ...change };
    remember("models", { sort: this.query.sort, order: this.query.order });
    this.pages?.ask(this.query);
    this.top = 0;
    this.renderRoot.querySelector(".scroll")?.scrollTo(0, 0);
  }

  private sortBy(sort: string): void {
    const first = DESCENDING_FIRST.has(sort) ? "desc" : "asc";
    const order = sort !== this.query.sort ? first : this.query.order === "asc" ? "desc" : "asc";
    this.ask({ sort, order });
  }

  private typed(event: InputEvent): void {
    const filter = (event.target as HTMLInputElement).value.slice(0, 200);
    window.clearTimeout(this.typing);
    this.typing = window.setTimeout(() => this.ask({ filter }), 150);
  }

  /** Up and down in the table: the same button of the row above or below. */
  private moved(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const from = event.target as HTMLElement;
    const at = from.closest<HTMLElement>("[data-index]");
    if (!step || !at || !from.dataset["control"]) return;
    const next = this.renderRoot.querySelector<HTMLElement>(
      `[data-index="${Number(at.dataset["index"]) + step}"] [data-control="${from.dataset["control"]}"]`,
    );
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  // ---- what is drawn ------------------------------------------------------------------------------------------------

  private toolbar(): TemplateResult {
    const chosen = (name: keyof Query) => (event: Event) => this.ask({ [name]: (event.target as HTMLSelectElement).value });
    const { folder, tier, sort, order } = this.query;
    const total = this.pages?.total;
    const direction = this.t(order === "asc" ? "models.ascending" : "models.descending");
    return html`<div class="toolbar">
      <span class="filter"
        >${glyph("search")}<input
          type="search"
          maxlength="200"
          placeholder=${this.t("models.filter")}
          aria-label=${this.t("models.filter")}
          @input=${this.typed}
      /></span>
      <select aria-label=${this.t("models.where")} @change=${chosen("tier")}>
        <option value="" ?selected=${!tier}>${this.t("models.anywhere")}</option>
        ${WHERE.map((one) => html`<option value=${one} ?selected=${tier === one}>${this.t(`where.${one}`)}</option>`)}
      </select>
      <select aria-label=${this.t("models.folder")} @change=${chosen("folder")}>
        <option value="" ?selected=${!folder}>${this.t("models.allFolders")}</option>
        ${(this.pages?.folders ?? []).map(
          (one) => html`<option value=${one.folder} ?selected=${folder === one.folder}>${one.folder} (${this.number(one.count)})</option>`,
        )}
      </select>
      <span class="sorting" ?hidden=${this.wide}>
        <select aria-label=${this.t("models.sort")} @change=${(event: Event) => this.sortBy((event.target as HTMLSelectElement).value)}>
          ${SORTS.map((one) => html`<option value=${one} ?selected=${sort === one}>${this.t(`column.${one}`)}</option>`)}
        </select>
        <button class="icon" type="button" aria-label=${direction} title=${direction} @click=${() => this.sortBy(sort)}>
          ${glyph(order === "asc" ? "up" : "down")}
        </button>
      </span>
      <span class="count muted" role="status">${total === null || total === undefined ? "" : this.n("tiers.models", total)}</span>
    </div>`;
  }

  private header(): TemplateResult {
    const column = (sort: string, name = sort) => {
      const sorted = this.query.sort === sort;
      const value = sorted ? (this.query.order === "asc" ? "ascending" : "descending") : "none";
      return html`<div role="columnheader" class=${name} aria-sort=${value}>
        <button type="button" tabindex=${this.wide ? 0 : -1} @click=${() => this.sortBy(sort)}>
          ${this.t(`column.${sort}`)}${sorted ? glyph(this.query.order === "asc" ? "up" : "down") : nothing}
        </button>
      </div>`;
    };
    return html`<div role="rowgroup" class=${this.wide ? "head" : "hidden"}>
      <div role="row" class="columns" aria-rowindex="1">
        ${column("name")}${column("tier", "where")}${column("size_bytes", "size")}${column("last_used_s", "used")}${column("uses")}
        <div role="columnheader" class="acts"><span class="hidden">${this.t("column.actions")}</span></div>
      </div>
    </div>`;
  }

  private chips(row: Row): TemplateResult {
    const places = [...(["vram", "ram", "ssd"] as const).filter((one) => row.tiers.includes(one)), ...(row.listed ? (["bucket"] as const) : [])];
    const said = places.map((one) => this.t(`tier.${one}`));
    if (!row.listed) said.push(this.t("models.unlisted"));
    return html`<span class="hidden">${said.join(", ")}</span
      ><span class="chips" aria-hidden="true"
        >${places.map((one) => {
          const name = this.t(`tier.${one}`);
          return html`<span class="chip ${one}" title=${name}>${this.wide ? name : this.t(`letter.${one}`)}</span>`;
        })}${row.listed ? nothing : html`<span class="warn" title=${this.t("models.unlisted")}>${glyph("warning")}</span>`}</span
      >`;
  }

  private act(control: string, icon: Parameters<typeof glyph>[0], label: string, click: () => void, state: { off?: boolean; pressed?: boolean } = {}) {
    return html`<button
      class="icon"
      type="button"
      data-control=${control}
      ?disabled=${state.off ?? false}
      aria-pressed=${state.pressed === undefined ? nothing : String(state.pressed)}
      aria-label=${label}
      title=${label}
      @click=${click}
    >
      ${glyph(icon)}
    </button>`;
  }

  private row(index: number): TemplateResult {
    const row = this.pages?.row(index);
    const place = `height: ${this.rowPx}px; transform: translateY(${index * this.rowPx}px)`;
    if (!row) return html`<div role="row" class="columns row" aria-rowindex=${index + 2} data-index=${index} style=${place}><div role="cell" class="name muted">…</div></div>`;
    const name = visible(row.name);
    const cached = row.tiers.some((one) => one !== "vram");
    const moving = this.feed.status?.transfers.find((one) => one.digest === row.digest);
    const chosen = this.chosen === row.digest;
    return html`<div
      role="row"
      class="columns row ${chosen ? "chosen" : ""}"
      aria-rowindex=${index + 2}
      data-index=${index}
      data-digest=${row.digest}
      style=${place}
    >
      <div role="cell" class="name">
        <button
          type="button"
          data-control="name"
          aria-expanded=${chosen}
          title=${`${row.folder}/${name}`}
          @click=${() => (this.chosen = chosen ? undefined : row.digest)}
        >
          <bdi>${name}</bdi>
        </button>
        <span class="folder muted">${row.folder}</span>
        ${row.leased ? html`<span class="pill">${this.t("models.inUse")}</span>` : nothing}
      </div>
      <div role="cell" class="where">${this.chips(row)}</div>
      <div role="cell" class="size ${row.fit?.kind === "no" ? "bad" : row.fit?.kind === "offload" ? "warn" : ""}" title=${row.fit ? fitText(row.fit) : nothing}>
        ${this.bytes(row.size_bytes)}
      </div>
      <div role="cell" class="used muted">${row.last_used_s === null ? this.t("models.never") : this.ago(row.last_used_s)}</div>
      <div role="cell" class="uses muted">${this.n("models.uses", row.uses)}</div>
      <div role="cell" class="acts">
        ${this.act("prefetch", "download", this.t("act.prefetch", { name }), () => void this.actions.prefetch([row]), {
          off: row.loading || row.tiers.includes("ssd") || !row.listed,
        })}
        ${this.act("pin", "pin", this.t(row.pinned ? "act.unpin" : "act.pin", { name }), () => void this.actions.pin([row], !row.pinned), {
          pressed: row.pinned,
        })}
        ${this.act("evict", "evict", this.t("act.evict", { name }), () => void this.actions.evict([row]), { off: !cached && !row.tiers.length })}
      </div>
      ${moving && moving.size_bytes ? html`<div class="moving" style="width: ${(moving.done_bytes / moving.size_bytes) * 100}%"></div>` : nothing}
    </div>`;
  }

  private empty(): TemplateResult | typeof nothing {
    if (this.pages?.failure) return html`<p class="empty bad">${reasonOf(this.pages.failure)}</p>`;
    if (this.pages?.total !== 0) return nothing;
    return html`<p class="empty muted">${this.t(this.pages.all ? "models.noMatch" : "models.none")}</p>`;
  }

  protected override render() {
    const total = this.pages?.total ?? 0;
    const [first, last] = this.range();
    const indices = total ? Array.from({ length: last - first + 1 }, (_, at) => first + at) : [];
    const height = Math.min(total, this.wide ? ROWS_SHOWN.wide : ROWS_SHOWN.narrow) * this.rowPx;
    const chosen = this.chosen ? this.pages?.find(this.chosen) : undefined;
    return html`${this.toolbar()}
      <div role="table" aria-label=${this.t("models.heading")} aria-rowcount=${total + 1} class=${this.wide ? "wide" : "narrow"}>
        ${this.header()}
        <div
          class="scroll"
          style="height: ${height}px"
          @scroll=${(event: Event) => {
            this.top = (event.target as HTMLElement).scrollTop;
            this.requestUpdate();
          }}
          @keydown=${this.moved}
        >
          <div role="rowgroup" style="height: ${total * this.rowPx}px">
            ${repeat(
              indices,
              (index) => index,
              (index) => this.row(index),
            )}
          </div>
        </div>
      </div>
      ${this.empty()}
      ${chosen
        ? html`<modelstream-details .feed=${this.feed} .actions=${this.actions} .row=${chosen} @shut=${() => (this.chosen = undefined)}></modelstream-details>`
        : nothing}`;
  }
}

define("modelstream-models", Models);
