// @ts-check
/** Identities made at the edge: event ids (ULID, so that they sort by time) and visitor names. */

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/**
 * Returns a ULID: 48 bits of time, 80 random bits, 26 characters of Crockford's base 32.
 *
 * @param {number} nowMs milliseconds since 1970
 * @param {Uint8Array} random at least 16 bytes
 */
export function ulid(nowMs, random) {
  let time = "";
  for (let rest = Math.floor(nowMs), i = 0; i < 10; i += 1, rest = Math.floor(rest / 32)) {
    time = ALPHABET[rest % 32] + time;
  }
  return time + Array.from(random.subarray(0, 16), (byte) => ALPHABET[byte % 32]).join("");
}

/** Returns a new event id. */
export function newEventId() {
  return ulid(Date.now(), crypto.getRandomValues(new Uint8Array(16)));
}

/** Returns a user id that nobody has used yet and nobody can guess: who knows it may merge it. */
export function newVisitor() {
  return `visitor-${ulid(Date.now(), crypto.getRandomValues(new Uint8Array(16))).slice(-16).toLowerCase()}`;
}

/**
 * Returns 32 bits that depend on every character (FNV-1a with a final mix): the seed of a picture.
 *
 * @param {string} text
 */
export function hash(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}
