// @ts-check
/** Records of a topic as they are loaded: pages on both sides, and the live tail. */

import { useEffect, useRef, useState } from "../../vendor/preact.js";
import { api, openSocket, shown } from "../../app/session.js";
import { words } from "../../connection/loading.js";
import { admits, joined, momentOf } from "../../state/log-words.js";

const PAGE = 100;
const MOST_SHOWN = 5000;
const MOST_PARTITIONS = 16;
/** Records of the tail are drawn this often. */
const DRAW_MS = 250;

/**
 * @typedef {import("../../state/log-words.js").LogRecord} LogRecord
 * @typedef {{partition: number, from: number, to: number}} Gap
 * @typedef {{records: LogRecord[], older: string, newer: string, hasOlder: boolean, hasNewer: boolean,
 *   scanned: number, status: "loading" | "ready" | "failed", error: string}} Loaded
 */

/** @type {Loaded} */
const NOTHING = { records: [], older: "", newer: "", hasOlder: false, hasNewer: false, scanned: 0, status: "loading", error: "" };

/**
 * @param {string} path of the records, as `/v1/log/{topic}/records`
 * @param {{user: string, item: string, type: string, id: string, partition: string, at: string}} filter
 */
export function useRecords(path, filter) {
  const [loaded, setLoaded] = useState(NOTHING);
  const key = JSON.stringify([path, filter]);
  const current = useRef(key);
  current.current = key;
  const isBusy = useRef(false);
  const { at, ...fields } = filter;

  /** @param {Record<string, string>} place */
  const ask = async (place) => {
    if (isBusy.current) return;
    isBusy.current = true;
    try {
      const answer = await api.get(path, { ...fields, ...place, limit: PAGE });
      if (current.current !== key) return;
      setLoaded((before) => {
        const isFirst = !place.older && !place.newer;
        const base = isFirst ? NOTHING : before;
        return {
          records: joined(base.records, answer.records, MOST_SHOWN),
          older: isFirst || place.older ? answer.older : before.older,
          newer: isFirst || place.newer ? answer.newer : before.newer,
          hasOlder: place.newer ? before.hasOlder : place.at ? true : answer.has_more,
          hasNewer: place.older ? before.hasNewer : place.at || place.newer ? answer.has_more : false,
          ...{ scanned: answer.n_scanned, status: "ready", error: "" },
        };
      });
    } catch (error) {
      if (current.current === key) setLoaded((before) => ({ ...before, status: "failed", error: words(error) }));
    } finally {
      isBusy.current = false;
    }
  };
  useEffect(() => {
    isBusy.current = false;
    setLoaded(NOTHING);
    void ask(at ? { at: momentOf(at) } : {});
  }, [key]);
  // The bridge is back: what it could not answer is requested again.
  const isLive = shown.connection.value.phase === "live";
  useEffect(() => {
    if (isLive && loaded.status === "failed") void ask(loaded.records.length > 0 ? { newer: loaded.newer } : at ? { at: momentOf(at) } : {});
  }, [isLive]);
  return {
    ...loaded,
    older: () => loaded.hasOlder && void ask({ older: loaded.older }),
    newer: () => loaded.hasNewer && void ask({ newer: loaded.newer }),
    /** Loads what came since, also after a lost connection. */
    catchUp: () => loaded.status !== "loading" && loaded.newer !== "" && void ask({ newer: loaded.newer }),
    reload: () => void ask(at ? { at: momentOf(at) } : {}),
    add: (/** @type {LogRecord[]} */ more) => setLoaded((before) => ({ ...before, records: joined(before.records, more, MOST_SHOWN) })),
  };
}

/**
 * Follows a topic over a WebSocket while `isOn`.
 *
 * @param {{isOn: boolean, topic: string, partitions: number, filter: Record<string, string>,
 *   onRecords: (records: LogRecord[]) => void, onLive: () => void}} options
 * @returns {{phase: string, gaps: Gap[]}}
 */
export function useTail({ isOn, topic, partitions, filter, onRecords, onLive }) {
  const [phase, setPhase] = useState("off");
  const [gaps, setGaps] = useState(/** @type {Gap[]} */ ([]));
  const handlers = useRef({ onRecords, onLive, filter });
  handlers.current = { onRecords, onLive, filter };
  useEffect(() => {
    if (!isOn || partitions === 0) {
      setPhase("off");
      return undefined;
    }
    /** @type {LogRecord[]} */
    let waiting = [];
    const timer = setInterval(() => {
      if (waiting.length === 0) return;
      const found = waiting.filter((record) => admits(record, handlers.current.filter));
      waiting = [];
      if (found.length > 0) handlers.current.onRecords(found);
    }, DRAW_MS);
    const subs = [...Array(Math.min(partitions, MOST_PARTITIONS)).keys()].map((partition) => ({ ch: "log", topic, partition }));
    const socket = openSocket({
      subs: /** @type {any} */ (subs),
      onMessage: (/** @type {any} */ message) => {
        if (message.type === "log" && message.topic === topic) waiting.push({ ...message, n_bytes: JSON.stringify(message.value ?? message.text ?? "").length });
        if (message.type === "gap" && message.topic === topic) {
          setGaps((before) => [...before, { partition: message.partition, from: message.from, to: message.to }].slice(-20));
        }
      },
      onStatus: (status) => {
        setPhase(status.phase);
        // What came while there was no connection.
        if (status.phase === "live") handlers.current.onLive();
      },
    });
    socket.start();
    return () => {
      clearInterval(timer);
      socket.stop();
    };
  }, [isOn, topic, partitions]);
  return { phase, gaps };
}
