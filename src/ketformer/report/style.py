"""The style of a page: light and dark, on a phone, a screen and paper."""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --muted: #59636e;
  --line: #d5dae0; --panel: #f4f6f8; --leak: #b3261e; --leak-paper: #fdeceb; --good: #0b6b3a;
  --link: #0b57c2; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e7eaee;
  --muted: #a3adb8; --line: #343b44; --panel: #1d2228; --leak: #ff9389; --leak-paper: #3a1d1c;
  --good: #66d69a; --link: #8ab8ff; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem clamp(.9rem, 4vw, 2.5rem) 4rem;
  font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  overflow-wrap: break-word; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: .5rem 0; }
h2, h3, h4 { line-height: 1.3; scroll-margin-top: 1rem; }
h2 { font-size: 1.6rem; margin: 2.2rem 0 1rem; padding-bottom: .3rem;
  border-bottom: 2px solid var(--line); }
h3 { font-size: 1.3rem; margin: 2.4rem 0 .7rem; } h4 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; }
p { max-width: 48rem; } header p { color: var(--muted); font-size: 1.05rem; }
a { color: var(--link); } a:focus-visible, summary:focus-visible, .scroll:focus-visible
  { outline: 2px solid var(--link); outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: .7rem 1rem; margin: 1.2rem 0;
  list-style: none; background: var(--panel); border-radius: 8px; }
nav .part { flex-basis: 100%; font-weight: 600; }
.note { border-left: 4px solid var(--leak); background: var(--panel); padding: .6rem .9rem;
  border-radius: 0 6px 6px 0; }
.small, figcaption { font-size: .88rem; color: var(--muted); }
figcaption { margin-top: .4rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .45rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
thead th { font-weight: 600; vertical-align: bottom; border-bottom-width: 2px;
  white-space: normal; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper);
  font-weight: 600; }
.words { text-align: left; white-space: normal; } td.words { min-width: 9rem; }
td small, th small { display: block; font-weight: 400; font-size: .82em; color: var(--muted);
  white-space: normal; }
td small.sure { font-weight: 700; color: var(--ink); } td small.better { color: var(--good); }
tr.leak th, tr.leak td { color: var(--leak); }
tr.leak td.spoilt { opacity: .75; text-decoration: line-through; }
.badge { display: inline-block; font-size: .75rem; font-weight: 600; padding: .05rem .45rem;
  border-radius: 99px; color: var(--leak); background: var(--leak-paper);
  border: 1px solid currentColor; white-space: nowrap; }
th .badge { display: block; width: fit-content; white-space: normal; border-radius: 8px;
  margin-top: .2rem; }
@media (max-width: 48rem) { th:first-child { max-width: 9.5rem; white-space: normal; } }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: .5rem 0;
  list-style: none; font-size: .88rem; }
.legend svg { width: 1.8rem; height: .6rem; margin-right: .4rem; vertical-align: middle; }
.figures { display: grid; gap: 1.2rem 2rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.figures.narrow { grid-template-columns: repeat(auto-fill, minmax(min(47%, 13rem), 1fr));
  gap: 1rem; }
figure { margin: 0; min-width: 0; } figure svg { display: block; max-width: 100%; height: auto; }
.figures > figure > svg { width: 100%; }
.maps { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; } .maps > * { max-width: 100%; }
.maps h4 { margin-bottom: 0; } .maps .atoms svg { width: 15rem; margin-top: .6rem; }
.wide { margin: .6rem 0 1rem; } .wide .scroll { margin: 0; } .wide svg { max-width: none; }
.wide figcaption { max-width: 40rem; }
@media (min-width: 48rem) { .wide svg { max-width: 100%; } }
.molecules { display: grid; gap: .8rem; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 10.5rem), 1fr)); }
.molecules svg { width: 100%; } .molecules code { font-size: .8rem; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--panel); margin: .5rem 0;
  border-radius: 8px; padding: .8rem 1rem; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; }
@media print {
  @page { size: A4; margin: 14mm; }
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, a { color: inherit; text-decoration: none; }
  h1, h2, h3, h4, summary { break-after: avoid; }
  section > p:first-of-type, .legend { break-after: avoid; }
  figure, tr, article, .molecules li, .note, .legend { break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; gap: 5mm; }
  .figures.narrow { grid-template-columns: repeat(3, 1fr); }
  .molecules { grid-template-columns: repeat(5, 1fr); }
  p { break-inside: avoid; } .maps { gap: 0 1rem; }
  .scroll { overflow: visible; } .wide svg { max-width: 100%; max-height: 225mm; }
  table { font-size: 7pt; } th, td { padding: 1mm .8mm; } td.words { min-width: 0; }
  th:first-child { position: static; white-space: normal; } th .badge { font-size: 6.5pt; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  pre { font-size: 7.5pt; }
}
"""
