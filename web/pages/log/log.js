// @ts-check
/** All topics of the log, and the slices that were exported from it. */

import { html } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { address, go, href } from "../../app/router.js";
import { api } from "../../app/session.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { isNarrow } from "../../components/table.js";
import { count, plural } from "../../elements/format.js";
import { fullTopic, shortTopic, sizeText, timeText } from "../../state/log-words.js";

/** @param {{title: string, about: string}} props */
export function Log({ title, about }) {
  const { slice = "" } = address.value.query;
  const path = slice ? `/v1/slices/${encodeURIComponent(slice)}/topics` : "/v1/log";
  const topics = useFetch(path, {}, { everyMs: slice ? 0 : 10_000 });
  const name = slice ? `The slice ${slice}` : "Topics";
  return html`<${Page} title=${slice ? `Slice ${slice}` : title} about=${slice ? "A part of the log, exported as a file. Its lists can be derived from it alone." : about}
      tools=${slice && html`<a class="button button-small" href="/log">Back to the whole log</a>`}>
    <${Card} title=${name}>
      <${Fetched} of=${topics} what="The topics">${(/** @type {any} */ data) => html`<${Topics} topics=${data.topics} slice=${slice} />`}<//>
    <//>
    ${!slice && html`<${Slices} />`}
  <//>`;
}

/**
 * Returns topics with those that people read first.
 *
 * @param {any[]} topics
 */
function byUse(topics) {
  const first = ["interactions", "recommendations", "models", "catalogue", "control", "dead-letters"].map(fullTopic);
  const rank = (/** @type {any} */ { topic }) => (first.indexOf(topic) + 1 || first.length + 1);
  return [...topics].sort((a, b) => rank(a) - rank(b) || a.topic.localeCompare(b.topic));
}

/** @param {any} topic @param {string} slice */
const linkOf = ({ topic }, slice) => href(`/log/${encodeURIComponent(topic)}`, { slice });

/** @param {{topics: any[], slice: string}} props */
function Topics({ topics, slice }) {
  if (topics.length === 0) return html`<${Empty}>The log has no topics.<//>`;
  if (isNarrow.value) return html`<ul class="topics" role="list">${byUse(topics).map((topic) => html`<li class="topic" key=${topic.topic} data-topic=${topic.topic}>
      <a href=${linkOf(topic, slice)}>${shortTopic(topic.topic)}</a><span class="number">${plural(topic.n_offsets, "offset")}</span>
      <span class="muted">${topic.purpose}${topic.last_ts === null ? "" : ` Last record: ${timeText(topic.last_ts).slice(0, -4)}.`}</span></li>`)}</ul>`;
  return html`<div class="scroller" tabindex="0" role="region" aria-label="Topics"><table class="table">
    <thead><tr><th scope="col">Topic</th><th scope="col">What it holds</th><th scope="col" class="number">Offsets</th>
      <th scope="col" class="number">Partitions</th><th scope="col">First record</th><th scope="col">Last record</th></tr></thead>
    <tbody>${byUse(topics).map((topic) => html`<tr key=${topic.topic} data-topic=${topic.topic}>
      <th scope="row"><a href=${linkOf(topic, slice)}>${shortTopic(topic.topic)}</a></th>
      <td>${topic.purpose}</td>
      <td class="number">${count(topic.n_offsets)}</td>
      <td class="number">${topic.partitions.length}</td>
      <td class="mono">${topic.first_ts === null ? "–" : timeText(topic.first_ts)}</td>
      <td class="mono">${topic.last_ts === null ? "–" : timeText(topic.last_ts)}</td>
    </tr>`)}</tbody></table></div>`;
}

function Slices() {
  const slices = useFetch("/v1/slices");
  const { send, error, isBusy } = useSend();
  const remove = async (/** @type {string} */ name) => {
    await send(() => api.send("DELETE", `/v1/slices/${encodeURIComponent(name)}`));
    slices.reload();
  };
  /** @param {any} event */
  const open = async (event) => {
    const [file] = event.currentTarget.files;
    if (file === undefined) return;
    const made = await send(() => api.upload(`/v1/slices/${encodeURIComponent(file.name)}`, file, "application/zip"));
    if (made !== undefined) go(href("/log", { slice: made.name }));
  };
  const chooser = html`<label class="button button-small file-choice">${isBusy ? "Opening …" : "Open a file …"}<input type="file" class="visually-hidden" accept=".zip,application/zip" disabled=${isBusy} onChange=${open} /></label>`;
  return html`<${Card} title="Slices" tools=${chooser} about="Parts of the log as files, to send to a colleague or to verify on another machine. Export one from a topic's page, or open one that you received.">
    ${error && html`<p class="state" role="alert" data-state="failed">${error}</p>`}
    <${Fetched} of=${slices} what="The slices">${(/** @type {any} */ data) =>
      data.slices.length === 0
        ? html`<${Empty}>None yet.<//>`
        : html`<div class="scroller" tabindex="0" role="region" aria-label="Slices"><table class="table table-slices"><thead><tr><th scope="col">Slice</th><th scope="col" class="number">Size</th><th scope="col">Written</th><th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
            <tbody>${data.slices.map((/** @type {any} */ { name, n_bytes: bytes, written_ts: ts }) => html`<tr key=${name}>
              <th scope="row"><a href=${href("/log", { slice: name })}>${name}</a></th>
              <td class="number">${sizeText(bytes)}</td><td class="mono">${timeText(ts)}</td>
              <td><span class="box-tools">
                <a class="button button-small" href=${`/v1/slices/${encodeURIComponent(name)}`} download=${name}>Download</a>
                <button type="button" class="button button-small" onClick=${() => void remove(name)}>Delete<span class="visually-hidden"> ${name}</span></button>
              </span></td></tr>`)}</tbody></table></div>`}<//>
  <//>`;
}
