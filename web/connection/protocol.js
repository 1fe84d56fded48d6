// @ts-check
/**
 * Decodes and encodes the frames of the WebSocket protocol `recstream.v1`. Unknown types throw.
 */

import { CLOSE_CODES } from "./close-codes.js";

export const SUBPROTOCOL = "recstream.v1";

/**
 * Types are those of AsyncAPI and OpenAPI (messages.d.ts), with all fields that the page reads.
 *
 * @import * as wire from "./messages.d.ts"
 * @typedef {wire.Reason} Reason
 * @typedef {wire.Subscription} Subscription
 * @typedef {wire.Gap} Gap
 * @typedef {Required<wire.Lineage>} Lineage
 * @typedef {Required<wire.RecommendedItem>} Place
 * @typedef {Required<Omit<wire.Welcome, "subs">> & {subs: Pick<wire.SubscriptionState, "ch">[]}} Welcome
 * @typedef {Required<wire.ErrorMessage>} ErrorMessage
 * @typedef {Required<Omit<wire.LogMessage, "text">>} LogMessage
 * @typedef {Required<Omit<wire.TrainingProgress, "type" | "ts">>} Training
 * @typedef {Required<Pick<wire.RecsMessage, "type" | "rec_id" | "user" | "epoch" | "partition" | "offset" |
 *   "generation" | "delta" | "as_of" | "source">> & {items: Place[], lineage: Lineage}} Recs
 * @typedef {Required<Pick<wire.ViewedEntry, "item" | "share" | "shared">>} ShelfPlace
 * @typedef {Pick<wire.ViewedShelf, "item" | "event"> & {items: ShelfPlace[]}} ShelfOf
 * @typedef {Pick<wire.ShelvesAnswer, "rec_id" | "user" | "generation"> & {shelves: ShelfOf[]}} Shelves
 * @typedef {{generation: number, nUsers: number, nItems: number, nInteractions: number,
 *   trainSeconds: number, createdMs: number}} Model
 * @typedef {{events: number, hit10: number, mrr: number}} Score
 * @typedef {Score & {name: string, shown: number, clicked: number}} ArmResult
 * @typedef {{name: string, state: string, reason: string, heartbeatAgeMs: number | null,
 *   lag: number | null}} Role
 * @typedef {{type: "pipeline", epoch: string, offset: number, generation: number | null, delta: number,
 *   model: Model | null, training: Training | null, predicted: Score | null, arms: ArmResult[],
 *   roles: Role[], nWorkers: number, nEvents: number, lag: number, nConnections: number}} Pipeline
 * @typedef {Recs | Welcome | Pipeline | LogMessage | Gap | ErrorMessage} Message
 */

/** A frame that does not follow the protocol. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/**
 * @param {Record<string, any>} from
 * @param {string} field
 * @param {"string" | "number" | "boolean"} type
 * @param {any} [otherwise] stands in for a missing field; without it the field is required
 * @returns {any}
 */
function take(from, field, type, otherwise) {
  const value = from[field];
  if (value === undefined && otherwise !== undefined) return otherwise;
  if (typeof value !== type || (type === "number" && !Number.isFinite(value))) {
    throw new ProtocolError(
      `expected ${type} at .${field} of a "${from.type ?? "?"}", got ${JSON.stringify(value)}`,
    );
  }
  return value;
}

/**
 * @param {unknown} value
 * @param {string} where
 * @returns {Record<string, any>}
 */
function takeObject(value, where) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ProtocolError(`expected an object at ${where}, got ${JSON.stringify(value)}`);
  }
  return /** @type {Record<string, any>} */ (value);
}

/**
 * @param {unknown} value
 * @param {string} where
 * @returns {unknown[]}
 */
function takeArray(value, where) {
  if (!Array.isArray(value)) {
    throw new ProtocolError(`expected an array at ${where}, got ${JSON.stringify(value)}`);
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {Place}
 */
function readPlace(value) {
  const place = takeObject(value, ".items[]");
  return {
    item: take(place, "item", "string"),
    rank: take(place, "rank", "number"),
    was: take(place, "was", "number", 0),
    score: take(place, "score", "number"),
    why: takeArray(place.why ?? [], ".why").map((reason) => {
      const from = takeObject(reason, ".why[]");
      return { ...from, kind: take(from, "kind", "string") };
    }),
  };
}

/**
 * Decodes a list; its body is the same on the topic, over REST and over the WebSocket.
 *
 * @param {unknown} value
 * @returns {Recs}
 */
export function readRecs(value) {
  const body = takeObject(value, "$");
  const lineage = takeObject(body.lineage ?? {}, ".lineage");
  const asOf = body.as_of == null ? null : takeObject(body.as_of, ".as_of");
  return {
    type: "recs",
    rec_id: take(body, "rec_id", "string", ""),
    user: take(body, "user", "string"),
    epoch: take(body, "epoch", "string", ""),
    partition: take(body, "partition", "number", 0),
    offset: take(body, "offset", "number", -1),
    generation: take(body, "generation", "number"),
    delta: take(body, "delta", "number", 0),
    as_of: asOf && {
      partition: take(asOf, "partition", "number"),
      offset: take(asOf, "offset", "number"),
    },
    source: take(body, "source", "string"),
    items: takeArray(body.items, ".items").map(readPlace),
    lineage: {
      event_id: take(lineage, "event_id", "string", ""),
      event_ts: take(lineage, "event_ts", "number", 0),
      appended_ts: take(lineage, "appended_ts", "number", 0),
      folded_ts: take(lineage, "folded_ts", "number", 0),
      published_ts: take(lineage, "published_ts", "number", 0),
    },
  };
}

/**
 * Returns the body of `GET /v1/users/{user}/shelves`.
 *
 * @param {unknown} value
 * @returns {Shelves}
 */
export function readShelves(value) {
  const body = takeObject(value, "$");
  return {
    rec_id: take(body, "rec_id", "string"),
    user: take(body, "user", "string"),
    generation: take(body, "generation", "number"),
    shelves: takeArray(body.shelves, ".shelves").map((one) => {
      const shelf = takeObject(one, ".shelves[]");
      return {
        item: take(shelf, "item", "string"),
        event: take(shelf, "event", "string"),
        items: takeArray(shelf.items, ".items").map((each) => {
          const place = takeObject(each, ".items[]");
          return {
            item: take(place, "item", "string"),
            share: take(place, "share", "number"),
            shared: takeArray(place.shared ?? [], ".shared").map(String),
          };
        }),
      };
    }),
  };
}

/**
 * Decodes the prequential evaluation.
 *
 * @param {unknown} board
 * @returns {Score}
 */
function readScore(board) {
  const score = takeObject(board, ".prequential[]");
  return {
    events: take(score, "events", "number"),
    hit10: take(takeObject(score.hits, ".hits"), "10", "number", 0),
    mrr: take(score, "mrr", "number", 0),
  };
}

const ARM = "arm:";

/**
 * Returns the results of an A/B test, an arm each.
 *
 * @param {Record<string, any>} boards
 * @param {Record<string, any>} clicks
 * @returns {ArmResult[]}
 */
function readArms(boards, clicks) {
  const arms = [...Object.keys(boards), ...Object.keys(clicks)].filter((name) => name.startsWith(ARM));
  const names = new Set(arms.map((name) => name.slice(ARM.length)));
  return [...names].sort().map((name) => {
    const board = boards[ARM + name];
    const through = takeObject(clicks[ARM + name] ?? {}, ".clicks[]");
    return {
      name,
      ...(board === undefined ? { events: 0, hit10: 0, mrr: 0 } : readScore(board)),
      shown: take(through, "shown", "number", 0),
      clicked: take(through, "clicked", "number", 0),
    };
  });
}

/**
 * Decodes the status of the pipeline.
 *
 * @param {unknown} value
 * @returns {Pipeline}
 */
export function readPipeline(value) {
  const body = takeObject(value, "$");
  const model = body.model == null ? null : takeObject(body.model, ".model");
  const training = body.training == null ? null : takeObject(body.training, ".training");
  const boards = takeObject(body.prequential ?? {}, ".prequential");
  return {
    type: "pipeline",
    epoch: take(body, "epoch", "string", ""),
    offset: take(body, "offset", "number", -1),
    generation: body.generation == null ? null : take(body, "generation", "number"),
    delta: take(body, "delta", "number", 0),
    model: model && {
      generation: take(model, "generation", "number"),
      nUsers: take(model, "n_users", "number", 0),
      nItems: take(model, "n_items", "number", 0),
      nInteractions: take(model, "n_interactions", "number", 0),
      trainSeconds: take(model, "train_seconds", "number", 0),
      createdMs: take(model, "created_ts", "number", 0),
    },
    training: training && {
      state: take(training, "state", "string"),
      generation: take(training, "generation", "number", 0),
      iteration: take(training, "iteration", "number", 0),
      iterations: take(training, "iterations", "number", 0),
      seconds: take(training, "seconds", "number", 0),
      detail: take(training, "detail", "string", ""),
    },
    predicted: boards.all === undefined ? null : readScore(boards.all),
    arms: readArms(boards, takeObject(body.clicks ?? {}, ".clicks")),
    roles: takeArray(body.roles ?? [], ".roles").map((each) => {
      const role = takeObject(each, ".roles[]");
      return {
        name: take(role, "name", "string"),
        state: take(role, "state", "string"),
        reason: take(role, "reason", "string", ""),
        heartbeatAgeMs: role.heartbeat_age_ms ?? null,
        lag: role.lag ?? null,
      };
    }),
    nWorkers: takeArray(body.workers ?? [], ".workers").length,
    nEvents: take(body, "events", "number", 0),
    lag: take(body, "lag", "number", 0),
    nConnections: take(body, "connections", "number", 0),
  };
}

/**
 * Returns the message in one WebSocket frame.
 *
 * @param {string} text
 * @returns {Message}
 */
export function decode(text) {
  /** @type {unknown} */
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ProtocolError(`expected JSON, got ${text.slice(0, 60)}`, { cause: error });
  }
  const body = takeObject(parsed, "$");
  switch (body.type) {
    case "recs":
      return readRecs(body);
    case "welcome":
      return {
        type: "welcome",
        ping_s: take(body, "ping_s", "number"),
        epoch: take(body, "epoch", "string", ""),
        user: body.user == null ? null : take(body, "user", "string"),
        subs: takeArray(body.subs, ".subs").map((sub) => {
          const from = takeObject(sub, ".subs[]");
          return { ...from, ch: take(from, "ch", "string") };
        }),
      };
    case "pipeline":
      return readPipeline(body);
    case "log":
      return {
        type: "log",
        topic: take(body, "topic", "string"),
        partition: take(body, "partition", "number"),
        offset: take(body, "offset", "number"),
        ts: take(body, "ts", "number"),
        key: body.key == null ? null : take(body, "key", "string"),
        value: body.value ?? null,
      };
    case "gap":
      return {
        type: "gap",
        ch: take(body, "ch", "string"),
        topic: take(body, "topic", "string", ""),
        partition: take(body, "partition", "number", 0),
        from: take(body, "from", "number"),
        to: take(body, "to", "number"),
      };
    case "error":
      return {
        type: "error",
        code: take(body, "code", "string"),
        temporary: take(body, "temporary", "boolean", false),
        detail: take(body, "detail", "string", ""),
        ch: body.ch == null ? null : take(body, "ch", "string"),
      };
    default:
      throw new ProtocolError(`unknown message type ${JSON.stringify(body.type)}`);
  }
}

/**
 * Returns the frame of a message to the bridge.
 *
 * @param {wire.Hello | wire.Refresh | wire.Sub | wire.Unsub} message
 */
export function encode(message) {
  switch (message.type) {
    case "hello":
    case "refresh":
    case "sub":
    case "unsub":
      return JSON.stringify(message);
    default:
      throw new ProtocolError(`unknown message type ${JSON.stringify(message)}`);
  }
}

const LOST = { reason: "the connection was lost", retry: true, resume: true, slow: false };

/**
 * Returns what the client does after a close code.
 *
 * @param {number} code
 * @returns {import("./close-codes.js").CloseMeaning} whether to connect again, whether the last
 *   position may be sent then, and whether to wait longer before it
 */
export function readClose(code) {
  return CLOSE_CODES[code] ?? LOST;
}
