// @ts-check
/** Data of a page: requested when the page is shown, again when its address changes, and on demand. */

import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";
import { ApiError } from "../connection/api.js";
import { words } from "../connection/loading.js";
import { api, shown } from "./session.js";

/** The bridge has too many requests of this kind: they wait for their turn. */
const BUSY = 503;
const RETRY_MS = 1000;
const MOST_RETRIES = 20;

/**
 * @template T
 * @typedef {{status: "loading" | "ready" | "failed", data: T | null, error: string,
 *   code: number, reload: () => void}} Fetched `code` is the HTTP status of an error, 0 without an answer
 */

/**
 * Requests an address of the REST interface. An answer that is late for an older address is dropped; the
 * data shown stays while newer data is loaded.
 *
 * @template T
 * @param {string | null} path null requests nothing
 * @param {Record<string, string | number | null>} [query]
 * @param {{everyMs?: number, pauseMs?: number}} [how] `everyMs` requests it again and again; `pauseMs` waits
 *   until the address has not changed for so long, as while a handle moves
 * @returns {Fetched<T>}
 */
export function useFetch(path, query = {}, { everyMs = 0, pauseMs = 0 } = {}) {
  const [state, setState] = useState(
    /** @type {any} */ ({ status: "loading", data: null, error: "", code: 0, key: "", path: "" }),
  );
  const [serial, setSerial] = useState(0);
  const key = JSON.stringify([path, query]);
  const isCurrent = useRef("");
  isCurrent.current = key;
  useEffect(() => {
    if (path === null) return undefined;
    let retries = 0;
    let isAsking = false;
    /** @type {any} */
    let waiting = null;
    const ask = () => {
      isAsking = true;
      return api.get(path, query).then(
        (data) => {
          isAsking = false;
          if (isCurrent.current === key) setState({ status: "ready", data, error: "", code: 0, key, path });
        },
        (error) => {
          isAsking = false;
          if (isCurrent.current !== key) return;
          const code = error instanceof ApiError ? error.status : 0;
          if (code === BUSY && retries < MOST_RETRIES) {
            retries += 1;
            waiting = setTimeout(() => void ask(), RETRY_MS);
            return;
          }
          setState((/** @type {any} */ before) => ({
            ...{ status: "failed", error: words(error), code, key, path },
            data: before.key === key ? before.data : null,
          }));
        },
      );
    };
    if (pauseMs > 0 && state.key !== "") waiting = setTimeout(() => void ask(), pauseMs);
    else void ask();
    const timer = everyMs > 0 ? setInterval(() => !document.hidden && !isAsking && void ask(), everyMs) : null;
    return () => {
      clearTimeout(waiting);
      if (timer !== null) clearInterval(timer);
    };
  }, [key, serial, everyMs]);
  const reload = useCallback(() => setSerial((before) => before + 1), []);
  // The bridge is back: what it could not answer is requested again.
  const isLive = shown.connection.value.phase === "live";
  useEffect(() => {
    if (isLive && state.status === "failed" && state.code === 0) reload();
  }, [isLive]);
  const data = state.path === path ? state.data : null;
  return { ...state, data, status: state.key === key ? state.status : "loading", reload };
}

/**
 * Returns a function that sends a request, and how it went.
 *
 * @returns {{isBusy: boolean, error: string, send: (run: () => Promise<any>) => Promise<any>}} `send`
 *   returns the answer, or undefined after an error
 */
export function useSend() {
  const [state, setState] = useState({ isBusy: false, error: "" });
  const send = useCallback(async (/** @type {() => Promise<any>} */ run) => {
    setState({ isBusy: true, error: "" });
    try {
      const answer = await run();
      setState({ isBusy: false, error: "" });
      return answer ?? null;
    } catch (error) {
      setState({ isBusy: false, error: words(error) });
      return undefined;
    }
  }, []);
  return { ...state, send };
}
