// @ts-check
/** The connection problem in words. */

/**
 * Returns the text of the connection problem, or an empty text.
 *
 * @param {Pick<import("./state.js").State, "connection" | "outbox">} state
 */
export function bannerText({ connection, outbox }) {
  const kept =
    outbox.queued === 0
      ? ""
      : ` ${outbox.queued === 1 ? "One click is" : `${outbox.queued} clicks are`} kept and sent later.`;
  switch (connection.phase) {
    case "failed":
      return `No live connection: ${connection.detail}.${kept}`;
    case "stale":
      return `Connection lost, so this list may be old: ${connection.detail}.${kept}`;
    case "connecting":
      return connection.attempt > 1 ? `The bridge does not answer yet.${kept}` : "";
    default:
      return outbox.trouble === "" || outbox.queued === 0
        ? ""
        : `Your clicks can't be stored at the moment (${outbox.trouble}).${kept}`;
  }
}
