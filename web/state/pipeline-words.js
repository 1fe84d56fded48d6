// @ts-check
/** The state of the pipeline in words. */

import { count, plural } from "../elements/format.js";
import { formatMs } from "./latency.js";

/** @typedef {import("../connection/protocol.js").Pipeline} Pipeline */

/** Events below which a share says nothing. */
const ENOUGH_EVENTS = 30;

/**
 * Returns whether the model has learned from events. Generation 0 has not.
 *
 * @param {Pipeline | null} pipeline
 */
function hasLearned(pipeline) {
  return (pipeline?.model?.nInteractions ?? 0) > 0;
}

/**
 * Returns the share of the newest events whose item was in the first ten of the list before (hit@10).
 *
 * @param {Pipeline | null} pipeline
 */
export function predictedText(pipeline) {
  const score = pipeline?.predicted ?? null;
  if (score === null || score.events === 0) return "–";
  if (score.events < ENOUGH_EVENTS) return `too early (${plural(score.events, "event")})`;
  const percent = 100 * score.hit10;
  // A new catalogue begins at some tenths.
  return `${percent > 0 && percent < 9.95 ? percent.toFixed(1) : Math.round(percent)} % of ${count(score.events)}`;
}

/**
 * Returns the model in one line.
 *
 * @param {Pipeline | null} pipeline
 */
export function modelLine(pipeline) {
  const training = pipeline?.training ?? null;
  if (training?.state === "training") {
    return `training generation ${training.generation}: ${training.iteration} of ${training.iterations}`;
  }
  if (!hasLearned(pipeline)) return pipeline === null ? "" : "no model yet: lists by content and popularity";
  return `generation ${pipeline?.generation ?? 0} · learned from ${count(pipeline?.model?.nInteractions ?? 0)} interactions`;
}

/**
 * Returns how the last training went.
 *
 * @param {Pipeline | null} pipeline
 */
export function trainingText(pipeline) {
  if (pipeline === null) return "Unknown without a connection";
  const training = pipeline?.training ?? null;
  const model = pipeline?.model ?? null;
  switch (training?.state) {
    case "training":
      return `Training generation ${training.generation}: iteration ${training.iteration} of ${training.iterations}`;
    case "failed":
      return `The training failed: ${training.detail || "see the trainer's log"}`;
    case "rejected":
      return `Generation ${training.generation} was not activated: ${training.detail}`;
    default:
      if (model !== null && model.trainSeconds > 0) {
        return `Trained in ${formatMs(model.trainSeconds * 1000)}; new events are folded in between trainings`;
      }
      return "No model yet. Until the first training ends, lists follow from content and popularity";
  }
}

/**
 * Returns what is wrong with the roles, worst first: a line for each role that is not well.
 *
 * @param {Pipeline | null} pipeline
 */
export function rolesNotReady(pipeline) {
  return (pipeline?.roles ?? []).filter(({ state }) => state !== "ready");
}

/**
 * Returns what is wrong with a role as a sentence.
 *
 * @param {{name: string, state: string, reason: string}} role
 */
export function troubleText({ name, state, reason }) {
  return `The ${name} is ${state}: ${reasonOf(name, reason)}.`;
}

/**
 * Returns what the bridge does before it can make lists; empty once it can.
 *
 * @param {Pipeline | null} pipeline
 */
export function preparingText(pipeline) {
  const bridge = pipeline?.roles.find(({ name }) => name === "bridge");
  return bridge?.state === "degraded" ? reasonOf("bridge", bridge.reason) : "";
}

/**
 * Returns a reason without the name of its role in front.
 *
 * @param {string} name
 * @param {string} reason
 */
export function reasonOf(name, reason) {
  return reason.split("; ").map((part) => part.replace(`${name}: `, "")).join("; ");
}
