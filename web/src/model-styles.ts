import { css } from "lit";

/** Of the models table: two lines a row in a sidebar, one where there is room for columns. */
export const modelStyles = css`
  :host {
    display: block;
    container-type: inline-size;
  }
  .toolbar {
    display: flex;
    flex-wrap: wrap;
    gap: 6px;
    align-items: center;
    margin-bottom: 8px;
  }
  .filter {
    position: relative;
    flex: 1 1 100%;
    display: flex;
  }
  @container (min-width: 620px) {
    .filter {
      flex: 1 1 240px;
    }
  }
  .filter svg {
    position: absolute;
    inset-inline-start: 8px;
    top: 7px;
    width: 14px;
    height: 14px;
    opacity: 0.6;
    pointer-events: none;
  }
  .filter input {
    flex: 1;
    padding-inline-start: 28px;
  }
  .toolbar > select {
    flex: 1 1 110px;
  }
  .sorting {
    flex: 1 1 110px;
    display: flex;
    gap: 2px;
  }
  .sorting select {
    flex: 1;
  }
  .count {
    margin-inline-start: auto;
    font-size: 12px;
  }
  .scroll {
    overflow-y: auto;
    overflow-x: hidden;
    contain: strict;
    border-top: 1px solid var(--ms-line);
    border-bottom: 1px solid var(--ms-line);
  }
  [role="rowgroup"] {
    position: relative;
  }
  .columns {
    display: grid;
    align-items: center;
    column-gap: 8px;
  }
  .row {
    position: absolute;
    inset-inline: 0;
    top: 0;
    padding: 0 2px;
    border-bottom: 1px solid color-mix(in srgb, var(--ms-line) 50%, transparent);
    contain: layout style;
  }
  .row:hover,
  .row.chosen {
    background: var(--ms-raised);
  }
  .narrow .columns {
    grid-template: "name name name acts acts" 26px "where size used used uses" 20px / auto auto minmax(0, 1fr) 36px 36px;
    align-content: center;
  }
  @container (min-width: 330px) {
    .narrow .columns {
      grid-template-columns: 72px 58px minmax(0, 1fr) 36px 36px;
    }
    .narrow .size {
      text-align: end;
    }
  }
  .wide .columns {
    grid-template: "name where size used uses acts" / minmax(0, 1fr) 150px 68px 92px 44px 84px;
    column-gap: 16px;
  }
  .wide .head .columns {
    height: 30px;
    font-size: 12px;
    padding: 0 2px;
  }
  /* the same room for a scroll bar, so that columns meet */
  .head,
  .scroll {
    scrollbar-gutter: stable;
  }
  .head {
    overflow: hidden;
  }
  .head button {
    border: 0;
    background: none;
    padding: 0;
    color: var(--ms-muted);
    gap: 2px;
  }
  .head svg {
    width: 12px;
    height: 12px;
  }
  .name {
    grid-area: name;
    display: flex;
    align-items: center;
    gap: 6px;
    min-width: 0;
  }
  .name button {
    min-width: 0;
    min-height: 22px;
    padding: 0;
    border: 0;
    background: none;
    justify-content: flex-start;
  }
  .row .name button {
    font-weight: 500;
  }
  .name bdi {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .folder {
    flex: none;
    font-size: 12px;
  }
  .narrow .folder {
    display: none;
  }
  .name button:hover bdi {
    text-decoration: underline;
  }
  .where {
    grid-area: where;
  }
  .size {
    grid-area: size;
    white-space: nowrap;
  }
  .used {
    grid-area: used;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
  }
  .uses {
    grid-area: uses;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
  }
  .narrow .row .size,
  .narrow .row .used,
  .narrow .row .uses {
    font-size: 12px;
  }
  .wide .size,
  .wide .uses {
    text-align: end;
  }
  .wide .head .size,
  .wide .head .uses {
    justify-self: end;
  }
  .acts {
    grid-area: acts;
    display: flex;
    justify-content: flex-end;
  }
  .chips {
    display: inline-flex;
    gap: 2px;
  }
  .chip {
    min-width: 16px;
    padding: 0 4px;
    border-radius: 3px;
    font-size: 10px;
    font-weight: 600;
    line-height: 16px;
    text-align: center;
    color: color-mix(in srgb, var(--hue) 76%, var(--ms-fg)); /* on the tint of a chosen row too */
    background: color-mix(in srgb, var(--hue) 16%, transparent);
  }
  .chip.vram {
    --hue: var(--ms-vram);
  }
  .chip.ram {
    --hue: var(--ms-ram);
  }
  .chip.ssd {
    --hue: var(--ms-ssd);
  }
  .chip.bucket {
    --hue: var(--ms-bucket);
  }
  .chips svg {
    width: 14px;
    height: 14px;
  }
  .moving {
    position: absolute;
    inset-inline-start: 0;
    bottom: 0;
    height: 2px;
    background: var(--ms-accent);
  }
  .empty {
    padding: 12px 2px;
  }
  .hidden {
    position: absolute;
  }
`;
