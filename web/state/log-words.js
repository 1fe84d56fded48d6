// @ts-check
/** Records of the log in words: what a record says, whom it names, and whether a filter admits it. */

/**
 * @typedef {{topic: string, partition: number, offset: number, ts: number, key?: string | null,
 *   value?: any, text?: string | null, n_bytes?: number, is_cut?: boolean}} LogRecord
 * @typedef {{user?: string, item?: string, type?: string, id?: string, partition?: string}} Filter
 * @typedef {{what: string, user: string, item: string, recId: string}} Words
 */

export const INTERACTIONS = "recstream.interactions";
export const RECOMMENDATIONS = "recstream.recommendations";
const MODELS = "recstream.models";
const PREFIX = "recstream.";

/** @param {string} topic */
export const shortTopic = (topic) => (topic.startsWith(PREFIX) ? topic.slice(PREFIX.length) : topic);

/** @param {string} topic a whole name, or one without the prefix, as the command line takes it */
export const fullTopic = (topic) => (topic.includes(".") || topic.endsWith("-changelog") ? topic : PREFIX + topic);

/** @param {LogRecord} record */
export const placeOf = ({ partition, offset }) => `${partition}:${offset}`;

/** @param {number} ms milliseconds since 1970 */
export function timeText(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "";
  const pad = (/** @type {number} */ n, width = 2) => String(n).padStart(width, "0");
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** @param {number} bytes */
export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * Returns a record in words.
 *
 * @param {LogRecord} record
 * @returns {Words}
 */
export function wordsOf(record) {
  const { value, key, topic } = record;
  const none = { what: "", user: "", item: "", recId: "" };
  if (record.is_cut) {
    const what = topic === INTERACTIONS && !key ? "batch of events" : topic === MODELS && key ? key : "large record";
    return { ...none, what: `${what}, ${sizeText(record.n_bytes ?? 0)}`, user: userOf(topic, key) };
  }
  if (record.text !== undefined && record.text !== null) return { ...none, what: record.text.slice(0, 120) };
  if (value === undefined || value === null) return { ...none, what: key ? "deleted" : "erased" };
  if (Array.isArray(value)) {
    const users = new Set(value.filter(Boolean).map(({ user }) => user));
    return { ...none, what: `${value.length} events of ${users.size} ${users.size === 1 ? "user" : "users"}` };
  }
  if (value.type === "impression") {
    const n = (value.items ?? [value.item]).length;
    return { ...none, what: `was shown ${n} ${n === 1 ? "item" : "items"}`, user: value.user ?? "", recId: value.rec_id ?? "" };
  }
  if (value.rec_id !== undefined && Array.isArray(value.items)) {
    const items = value.items.map((/** @type {any} */ one) => (typeof one === "string" ? one : (one?.item ?? "")));
    const model = `generation ${value.generation}.${value.delta ?? 0}`;
    return { ...none, what: `list by ${model}: ${items.slice(0, 4).join(", ")}${items.length > 4 ? " …" : ""}`, user: value.user ?? "", recId: value.rec_id };
  }
  if (topic.endsWith("dead-letters")) return { ...none, what: `${value.reason}: ${value.detail ?? ""}` };
  if (value.type === "generation") return { ...none, what: `generation ${value.generation}: ${value.n_users.toLocaleString("en")} users, ${value.n_items.toLocaleString("en")} items` };
  if (value.type === "delta") return { ...none, what: `delta ${value.generation}.${value.delta}: ${value.items?.length ?? 0} items` };
  if (value.type === "worker") return { ...none, what: `worker ${value.worker}: ${value.events} events` };
  if (value.title !== undefined && value.item !== undefined) return { ...none, what: `${value.title}`, item: value.item };
  if (value.user !== undefined && value.item !== undefined) {
    const amount = value.value === undefined || value.value === null ? "" : `, value ${value.value}`;
    return { what: `${value.type} ${value.item}${amount}`, user: value.user, item: value.item, recId: value.rec_id ?? "" };
  }
  return { ...none, what: JSON.stringify(value).slice(0, 120), user: value.user ?? "" };
}

/**
 * @param {string} topic
 * @param {string | null | undefined} key
 */
function userOf(topic, key) {
  return (topic === INTERACTIONS || topic === RECOMMENDATIONS) && key ? key : "";
}

/**
 * Returns whether a filter admits a record that arrived live, by the rules of the bridge's search.
 *
 * @param {LogRecord} record
 * @param {Filter} filter
 */
export function admits(record, { user = "", item = "", type = "", id = "", partition = "" }) {
  if (partition !== "" && Number(partition) !== record.partition) return false;
  const parts = Array.isArray(record.value) ? record.value : [record.value];
  return parts.some((part) => {
    const fields = part ?? {};
    const listed = (fields.items ?? []).some((/** @type {any} */ one) => one === item || one?.item === item);
    const ids = [fields.id, fields.rec_id, fields.lineage?.event_id];
    return (
      (user === "" || record.key === user || fields.user === user) &&
      (item === "" || record.key === item || fields.item === item || listed) &&
      (type === "" || fields.type === type) &&
      (id === "" || ids.includes(id))
    );
  });
}

/**
 * Adds records to those shown: in the order of time, each once, at most `most` of the newest.
 *
 * @param {LogRecord[]} before
 * @param {LogRecord[]} more
 * @param {number} most
 */
export function joined(before, more, most) {
  const known = new Set(before.map(placeOf));
  const fresh = more.filter((record) => !known.has(placeOf(record)));
  if (fresh.length === 0) return before;
  const all = [...before, ...fresh].sort((a, b) => a.ts - b.ts || a.partition - b.partition || a.offset - b.offset);
  return all.slice(-most);
}

/**
 * Returns a time as the query has it: an RFC 3339 time for a local time, else the text itself.
 *
 * @param {string} text as "2026-11-22T10:42", "2026-11-22T10:42:00Z" or an offset
 */
export function momentOf(text) {
  const trimmed = text.trim();
  if (trimmed === "" || /^\d+$/.test(trimmed)) return trimmed;
  const at = new Date(trimmed.replace(" ", "T"));
  return Number.isNaN(at.getTime()) ? trimmed : at.toISOString();
}
