"""The looks of the status page: one style sheet, inside the page, allowed by its hash and by nothing else."""

from __future__ import annotations

import base64
import hashlib

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f4f5f7; --card: #ffffff; --ink: #1b2330; --soft: #5b6678; --line: #e2e6ec; --head: #f9fafb;
  --good: #0f7a4d; --good-ground: #def5e8; --warn: #8a5300; --warn-ground: #fdefd2;
  --bad: #b3261e; --bad-ground: #fde4e1; --mute: #566173; --mute-ground: #e9ecf1; --accent: #2456c8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10141b; --card: #181e27; --ink: #e6eaf1; --soft: #98a4b6; --line: #2a323e; --head: #1d242f;
    --good: #6fdca6; --good-ground: #12382a; --warn: #f2c46d; --warn-ground: #40300f;
    --bad: #ff9c93; --bad-ground: #48201d; --mute: #a5b0c1; --mute-ground: #2a323e; --accent: #8db1ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main, header, footer { max-width: 1440px; margin: 0 auto; padding: 0 24px; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; padding-top: 28px; }
h1 { font-size: 24px; line-height: 1.2; letter-spacing: -0.01em; margin: 0; }
h2 { font-size: 16px; margin: 32px 2px 10px; }
h2 .count { color: var(--soft); font-weight: 400; margin-left: 8px; }
.facts { color: var(--soft); margin-left: auto; }
.facts b { color: var(--ink); font-weight: 500; }
.pill {
  display: inline-block; padding: 1px 9px; border-radius: 999px; font-size: 12px; font-weight: 600; line-height: 18px;
  white-space: nowrap; color: var(--mute); background: var(--mute-ground);
}
.pill.good { color: var(--good); background: var(--good-ground); }
.pill.warn { color: var(--warn); background: var(--warn-ground); }
.pill.bad { color: var(--bad); background: var(--bad-ground); }
.notice {
  margin: 18px 0 0; padding: 10px 16px; border-radius: 10px; color: var(--warn); background: var(--warn-ground);
  overflow-wrap: anywhere;
}
.notice.bad { color: var(--bad); background: var(--bad-ground); }
.notice b { font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin: 22px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; margin: 0; }
.tile dt { color: var(--soft); font-size: 12px; }
.tile dd { margin: 2px 0 0; font-size: 22px; font-weight: 600; line-height: 1.25; letter-spacing: -0.01em; }
.tile dd small { display: block; font-size: 13px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.tile.bad dd { color: var(--bad); }
.sheet { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th {
  text-align: left; font-size: 12px; font-weight: 500; color: var(--soft); background: var(--head);
  padding: 8px 14px; white-space: nowrap; border-bottom: 1px solid var(--line);
}
td { padding: 9px 14px; vertical-align: top; unicode-bidi: isolate; white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 130px; }
tbody tr + tr td { border-top: 1px solid var(--line); }
td:first-child { font-weight: 600; }
th.n, td.n { text-align: right; }
tbody tr + tr td.same { border-top-color: transparent; }
td.same > span { visibility: hidden; }
code { font: 13px/1.5 ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace; }
.soft { color: var(--soft); font-weight: 400; }
.line { display: block; }
.none { color: var(--soft); padding: 14px 16px; margin: 0; }
.more { color: var(--soft); padding: 10px 16px; margin: 0; border-top: 1px solid var(--line); font-size: 13px; }
footer { color: var(--soft); font-size: 13px; padding-top: 22px; padding-bottom: 36px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav a + a::before { content: "·"; color: var(--soft); padding: 0 8px; display: inline-block; }
@media (max-width: 760px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  .facts { margin-left: 0; flex-basis: 100%; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; }
  thead { display: none; }
  table, tbody, tr, td { display: block; }
  tbody tr { padding: 8px 0; }
  tbody tr + tr { border-top: 1px solid var(--line); }
  tbody tr + tr td { border-top: 0; }
  td, td.n { display: flex; gap: 16px; justify-content: space-between; text-align: right; padding: 3px 14px;
    white-space: normal; min-width: 0; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: var(--soft); font-weight: 400; text-align: left; flex: none; }
  td:first-child { font-size: 15px; }
  td.empty { display: none; }
  td.same > span { visibility: visible; }
}
@media print {
  body { background: none; }
  .sheet, .tile { break-inside: avoid; }
}
"""

CSS_HASH = "'sha256-" + base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode() + "'"
"""How a Content-Security-Policy names this style sheet."""
