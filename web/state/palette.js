// @ts-check
/** What a text names without asking the bridge: pages, a place in the log, a list. */

/** @typedef {{kind: string, text: string, href: string}} Entry */

/**
 * @param {string} typed
 * @param {readonly {path: string, title: string, nav?: string}[]} pages
 * @returns {Entry[]}
 */
export function directEntries(typed, pages) {
  const text = typed.trim();
  const lower = text.toLowerCase();
  /** @type {Entry[]} */
  const found = [];
  const place = /^(\d+)\s*:\s*(\d+)$/.exec(text);
  if (place !== null) {
    const open = `${place[1]}:${place[2]}`;
    for (const topic of ["interactions", "recommendations", "dead-letters"]) {
      found.push({ kind: "Record", text: `${topic} ${open}`, href: `/log/recstream.${topic}?open=${open}` });
    }
  }
  if (/^r-[0-9a-f]{4,}$/.test(lower)) found.push({ kind: "List", text: lower, href: `/lists/${lower}` });
  if (/^g(eneration)?\s*\d+$/.test(lower)) {
    const number = lower.replace(/\D/g, "");
    found.push({ kind: "Model", text: `generation ${number}`, href: `/models?a=${number}` });
  }
  const named = pages.filter(({ nav, title }) => nav !== undefined && title.toLowerCase().includes(lower));
  return [...found, ...named.map(({ title, path }) => ({ kind: "Page", text: title, href: path }))];
}
