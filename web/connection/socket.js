// @ts-check
/**
 * One WebSocket to the bridge: reconnects with back-off, and resumes at the last offset.
 *
 * Transport, timers and random numbers are passed in. Messages go to `onMessage`, changes of the
 * connection to `onStatus`. `onExpired` is called when the token has expired; get a new one, then `refresh`.
 */

import { ProtocolError, SUBPROTOCOL, decode, encode, readClose } from "./protocol.js";

/**
 * @typedef {import("./protocol.js").Message} Message
 * @typedef {"connecting" | "live" | "stale" | "failed"} Phase
 * @typedef {{phase: Phase, attempt: number, retryInMs: number, detail: string}} Status
 * @typedef {{setTimeout: (f: () => void, ms: number) => any, clearTimeout: (id: any) => void}} Timers
 * @typedef {{onopen: any, onmessage: any, onclose: any, onerror: any,
 *   send: (data: string) => void, close: (code?: number, reason?: string) => void}} Transport
 * @typedef {{
 *   open: (protocol: string) => Transport,
 *   identity: () => {user?: string, token?: string},
 *   subs: import("./protocol.js").Subscription[],
 *   onMessage: (message: Message) => void,
 *   onStatus: (status: Status) => void,
 *   onExpired?: () => void,
 *   timers: Timers,
 *   random: () => number,
 * }} Options
 */

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 15_000;
const SLOW_DELAY_MS = 10_000;
const ANSWER_DEADLINE_MS = 10_000;
const TOKEN_EXPIRED = 4001;

/**
 * Returns the delay before the n-th attempt to reconnect: exponential, capped, half of it random, so
 * that clients of a restarted bridge do not reconnect all at once.
 *
 * @param {number} attempt 1, 2, 3 …
 * @param {number} dice from 0 to 1
 */
export function backoffMs(attempt, dice) {
  const most = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
  return most / 2 + (most / 2) * dice;
}

export class LiveSocket {
  /** @type {Map<string, {epoch: string, offset: number}>} */
  #positions = new Map();
  /** @type {Transport | null} */
  #transport = null;
  /** @type {any} */
  #timer = null;
  #attempt = 0;
  /** Tokens that have expired since one was welcome. */
  #refusals = 0;
  #epoch = "";
  #said = "";
  /** Timer that detects a connection that is dead but not closed. */
  /** @type {any} */
  #watch = null;
  #quietMs = 0;
  #isProbing = false;
  #wasLive = false;
  #isStopped = true;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
  }

  /** Connects, and stays connected until `stop`; nothing where it is connected, or about to be. */
  start() {
    if (!this.#isStopped && (this.#transport !== null || this.#timer !== null)) return;
    this.#isStopped = false;
    this.#connect();
  }

  /** Closes the connection for good. */
  stop() {
    this.#isStopped = true;
    this.#clearTimer();
    this.#drop(1000, "left");
  }

  /** Connects now if it was waiting or had stopped trying. */
  retryNow() {
    if (this.#isStopped || this.#transport !== null) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Sends a newer token, or reconnects with it if the old token ended the connection. */
  refresh() {
    const { token } = this.options.identity();
    if (!token) return;
    if (this.#quietMs > 0 && this.#transport !== null) {
      this.#transport.send(encode({ type: "refresh", token }));
    } else if (!this.#isStopped && this.#transport === null) this.#connect();
  }

  /** Replaces the connection after a change of the network. */
  reconnect() {
    if (this.#isStopped) return;
    this.#drop(1000, "network changed");
    this.#lost("the network changed", { slow: false });
  }

  /** @param {string} reason */
  #drop(code = 1000, reason = "") {
    const transport = this.#transport;
    this.#transport = null;
    if (transport === null) return;
    transport.onopen = transport.onmessage = transport.onclose = transport.onerror = null;
    transport.close(code, reason);
  }

  #clearTimer() {
    if (this.#timer !== null) this.options.timers.clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#watch !== null) this.options.timers.clearTimeout(this.#watch);
    this.#watch = null;
  }

  /** Waits for the next message; probes the bridge when none came within its ping interval. */
  #listen() {
    if (this.#watch !== null) this.options.timers.clearTimeout(this.#watch);
    this.#isProbing = false;
    this.#watch = this.options.timers.setTimeout(() => this.#probe(), this.#quietMs);
  }

  /** Sends a message that the bridge answers at once. Pages can't see WebSocket pings. */
  #probe() {
    this.#isProbing = true;
    this.#transport?.send(encode({ type: "sub", ch: "pipeline" }));
    this.#watch = this.options.timers.setTimeout(() => {
      this.#drop(1000, "silent");
      this.#lost("the bridge stopped answering", { slow: false });
    }, ANSWER_DEADLINE_MS);
  }

  /**
   * @param {Phase} phase
   * @param {string} detail
   */
  #tell(phase, detail, retryInMs = 0) {
    this.options.onStatus({ phase, attempt: this.#attempt, retryInMs, detail });
  }

  #connect() {
    this.#clearTimer();
    this.#quietMs = 0;
    this.#isProbing = false;
    this.#said = "";
    this.#tell(this.#wasLive ? "stale" : "connecting", "connecting");
    let transport;
    try {
      transport = this.options.open(SUBPROTOCOL);
    } catch (error) {
      // A page's policy can forbid the address.
      this.#lost(`the connection can't be opened: ${error}`, { slow: false });
      return;
    }
    this.#transport = transport;
    this.#timer = this.options.timers.setTimeout(() => {
      this.#drop(1000, "no welcome");
      this.#lost("the bridge did not answer", { slow: false });
    }, ANSWER_DEADLINE_MS);
    transport.onopen = () => transport.send(encode(this.#hello()));
    transport.onmessage = (/** @type {{data: unknown}} */ event) => this.#receive(event.data);
    transport.onerror = () => {};
    transport.onclose = (/** @type {{code: number}} */ event) => {
      this.#transport = null;
      this.#clearTimer();
      this.#closed(event.code);
    };
  }

  /** @returns {{type: "hello", user?: string, token?: string, subs: import("./protocol.js").Subscription[]}} */
  #hello() {
    const subs = this.options.subs.map((sub) => {
      const since = this.#positions.get(sub.ch);
      return since === undefined ? sub : { ...sub, since };
    });
    return { type: "hello", ...this.options.identity(), subs };
  }

  /** @param {unknown} data */
  #receive(data) {
    let message;
    try {
      message = decode(String(data));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#drop(1000, "protocol error");
      this.#giveUp(`this page and the bridge speak different versions: ${error.message}`);
      throw error;
    }
    if (message.type === "welcome") {
      if (this.#isProbing) {
        this.#listen();
        return;
      }
      this.#clearTimer();
      this.#attempt = this.#refusals = 0;
      this.#wasLive = true;
      this.#epoch = message.epoch;
      this.#quietMs = message.ping_s * 1000;
      this.#tell("live", "");
    } else if (message.type === "recs" && message.offset >= 0) {
      this.#positions.set("recs", { epoch: message.epoch, offset: message.offset });
    } else if (message.type === "log") {
      this.#positions.set("log", { epoch: this.#epoch, offset: message.offset });
    } else if (message.type === "error") {
      this.#said = message.detail || message.code;
    }
    if (this.#quietMs > 0 && this.#transport !== null) this.#listen();
    this.options.onMessage(message);
  }

  /** @param {number} code */
  #closed(code) {
    const meaning = readClose(code);
    if (!meaning.resume) this.#positions.clear();
    if (meaning.retry) this.#lost(meaning.reason, meaning);
    else this.#giveUp(this.#said || meaning.reason);
    if (code === TOKEN_EXPIRED) this.#expired();
  }

  /** Asks for a new token: at once, or later if the one before was refused, too. */
  #expired() {
    const ask = () => this.options.onExpired?.();
    const waitMs = backoffMs(this.#refusals, this.options.random());
    this.#refusals += 1;
    if (this.#refusals === 1) ask();
    else this.#timer = this.options.timers.setTimeout(ask, waitMs);
  }

  /**
   * @param {string} reason
   * @param {{slow: boolean}} meaning
   */
  #lost(reason, { slow }) {
    this.#clearTimer();
    this.#attempt += 1;
    const delayMs =
      backoffMs(this.#attempt, this.options.random()) + (slow ? SLOW_DELAY_MS : 0);
    this.#timer = this.options.timers.setTimeout(() => this.#connect(), delayMs);
    this.#tell(this.#wasLive ? "stale" : "connecting", reason, delayMs);
  }

  /** @param {string} reason */
  #giveUp(reason) {
    this.#clearTimer();
    this.#tell("failed", reason);
  }
}
