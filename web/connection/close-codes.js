// @ts-check
/** What to do after each close code. Written by tests/bridge/http/documents/test_documents.py. */

/** @typedef {{reason: string, retry: boolean, resume: boolean, slow: boolean}} CloseMeaning */

/** @type {Record<number, CloseMeaning>} */
export const CLOSE_CODES = {
  1003: {"reason": "the bridge expected a text message", "retry": false, "resume": false, "slow": false},
  1008: {"reason": "the bridge did not understand a message", "retry": false, "resume": false, "slow": false},
  1009: {"reason": "a message was too big", "retry": false, "resume": false, "slow": false},
  1011: {"reason": "the bridge had an internal error", "retry": true, "resume": true, "slow": true},
  1012: {"reason": "the bridge is restarting", "retry": true, "resume": true, "slow": false},
  4001: {"reason": "the token has expired", "retry": false, "resume": true, "slow": false},
  4003: {"reason": "no hello was received in time", "retry": true, "resume": true, "slow": false},
  4008: {"reason": "this client read too slowly", "retry": true, "resume": true, "slow": false},
  4010: {"reason": "the log does not contain that position", "retry": true, "resume": false, "slow": false},
  4013: {"reason": "this client sent too many messages", "retry": true, "resume": true, "slow": true},
  4503: {"reason": "not allowed", "retry": false, "resume": false, "slow": false},
  4504: {"reason": "the bridge has too many connections", "retry": true, "resume": true, "slow": true},
};
