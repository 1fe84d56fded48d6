// @ts-check
/** One item: its facts, what is similar and why, whose lists hold it, its events, and "why not for this user?". */

import { html, useState } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { address, setQuery } from "../../app/router.js";
import { shown } from "../../app/session.js";
import { CopyLink } from "../../components/copy.js";
import { ItemLink, UserLink, useTitles } from "../../components/items.js";
import { ScoreSum } from "../../components/score-sum.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { commonFeaturesText, plural, priceOf, verb } from "../../elements/format.js";
import { Picture } from "../../elements/picture.js";
import { eventTime, newestFirst, timeText } from "../../elements/time.js";

const LISTS = 50;
const EVENTS = 50;

/** @param {{id: string}} props */
export function Item({ id }) {
  const path = `/v1/items/${encodeURIComponent(id)}`;
  const item = useFetch(path);
  const title = item.data?.title || id;
  const tools = html`<${CopyLink} /><a class="button button-small" href=${`/?item=${encodeURIComponent(id)}`}>Open in the shop</a>`;
  return html`<${Page} title=${title} tools=${tools} about="What the catalogue says of this item, what the model finds similar, and whose lists it is in.">
    <div class="boxes">
      <div class="stack"><${Card} title="Facts"><${Fetched} of=${item} what="The item">${(/** @type {any} */ data) => html`<${Facts} item=${data} />`}<//><//>
        <${Similar} path=${path} /></div>
      <div class="stack"><${WhyNot} id=${id} /><${Holders} path=${path} /></div>
      <${Events} id=${id} />
    </div>
  <//>`;
}

/** @param {{item: any}} props */
function Facts({ item }) {
  const { attributes = {}, ...rest } = item;
  const rows = [
    ["Id", item.item],
    ["Category", rest.category],
    ["Brand", rest.brand],
    ["Price", priceOf(item)],
    ["Description", rest.description],
    ...Object.entries(attributes).map(([name, value]) => [name, [value].flat().join(", ")]),
  ].filter(([, value]) => value);
  return html`<div class="facts-of-item"><div class="facts-picture"><${Picture} item=${item} /></div>
    <table class="table"><tbody>${rows.map(([name, value]) => html`<tr key=${name}><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table></div>`;
}

/** @type {Record<string, string>} */
const VERDICTS = {
  listed: "It is in the list.",
  newcomer: "It is in the list, in a slot reserved for cold items.",
  pinned: "It is in the list: a rule of the shop pins it.",
  seen: "It is not in the list: it is in the user's history already.",
  withdrawn: "It is not in the list: it is out of stock, not in its time, or withdrawn from the catalogue.",
  excluded: "It is not in the list: a rule of the shop excludes it.",
  rotated: "It is not in the list for now: it is cooling down, since it was shown several times and ignored.",
  "below-min-relevance": "It is not in the list: its score is below the minimum score.",
  diversified: "It is not in the list: it is too similar to others that are.",
  "made-way": "It is not in the list: a cold item has its place, by a reserved slot.",
  "below-the-cut": "It is not in the list: others have a higher score.",
};

/** @param {{id: string}} props */
function WhyNot({ id }) {
  const { user = "" } = address.value.query;
  const [typed, type] = useState(user || shown.user.value);
  const asked = useFetch(user ? `/v1/users/${encodeURIComponent(user)}/recommendations/${encodeURIComponent(id)}/explanation` : null);
  useTitles((asked.data?.because ?? []).map((/** @type {any} */ part) => part.item));
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ user: typed.trim() });
  };
  return html`<${Card} title="Why, or why not, for a user?" about="The score of this item for a user now, and what it is made of.">
    <form class="form-row" onSubmit=${submit}>
      <label class="field">User id<input value=${typed} autocomplete="off" spellcheck=${false} onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)} /></label>
      <button type="submit" class="button">Explain</button>
    </form>
    ${user && html`<${Fetched} of=${asked} what="The explanation">${(/** @type {any} */ data) => html`<p class="verdict" data-part="verdict"><strong>${VERDICTS[data.verdict] ?? `It is ${data.verdict}.`}</strong>
      ${data.rule ? ` Rule: ${data.rule}.` : ""}${data.rank ? ` Place ${data.rank} by score.` : ""}${data.missing ? ` It misses ${data.missing.toFixed(3)}.` : ""} Score ${data.score.toFixed(3)} for <${UserLink} id=${user} />.</p>
      <${ScoreSum} explanation=${{ ...data, verdict: "" }} items=${shown.items.value} isOpen=${true} who="the user" />`}<//>`}
  <//>`;
}

/** @param {{path: string}} props */
function Similar({ path }) {
  const similar = useFetch(`${path}/similar`, { n: 12 });
  return html`<${Card} title="Similar items" about="By behaviour: the same people used both. By content: they share a brand, a category, words or attributes.">
    <${Fetched} of=${similar} what="Similar items">${(/** @type {any} */ data) =>
      data.items.length === 0
        ? html`<${Empty}>${data.known ? "Nothing is similar." : "The model does not know this item yet."}<//>`
        : html`<ul class="bars" role="list">${data.items.map((/** @type {any} */ { item, details, why = [] }) => {
            const share = (/** @type {string} */ kind) => why.find((/** @type {any} */ one) => one.kind === kind)?.share ?? 0;
            const shared = why.find((/** @type {any} */ one) => one.kind === "content")?.shared ?? [];
            return html`<li class="similar-row" key=${item}>
              <span><a href=${`/items/${encodeURIComponent(item)}`}>${details?.title || item}</a>${shared.length > 0 && html` <span class="muted">${commonFeaturesText(shared, "")}</span>`}</span>
              <span class="two-bar" role="img" aria-label=${`behaviour ${Math.round(100 * share("behaviour"))} %, content ${Math.round(100 * share("content"))} %`} title=${`behaviour ${Math.round(100 * share("behaviour"))} %, content ${Math.round(100 * share("content"))} %`}
                style=${{ "--one": share("behaviour").toFixed(3), "--two": share("content").toFixed(3) }}></span>
            </li>`;
          })}</ul><p class="legend"><span data-source="behaviour">behaviour</span> <span data-source="content">content</span></p>`}<//>
  <//>`;
}

/** @param {{path: string}} props */
function Holders({ path }) {
  const lists = useFetch(`${path}/lists`, { limit: LISTS });
  return html`<${Card} title="Whose lists hold it" about="Users whose newest list has this item.">
    <${Fetched} of=${lists} what="The lists">${(/** @type {any} */ data) =>
      data.lists.length === 0
        ? html`<${Empty}>No list holds it. ${plural(data.n_searched, "list")} searched.<//>`
        : html`<div class="scroller" tabindex="0" role="region" aria-label="Lists with this item"><table class="table"><thead><tr><th scope="col">User</th><th scope="col" class="number">Place</th><th scope="col" class="number">Score</th><th scope="col">List</th></tr></thead><tbody>
          ${data.lists.map((/** @type {any} */ row) => html`<tr key=${row.user}><th scope="row"><${UserLink} id=${row.user} /></th><td class="number">${row.rank}</td><td class="number">${row.score.toFixed(2)}</td><td><a class="mono" href=${`/lists/${encodeURIComponent(row.rec_id)}`}>${row.rec_id}</a></td></tr>`)}
        </tbody></table></div>`}<//>
  <//>`;
}

/** @param {{id: string}} props */
function Events({ id }) {
  const events = useFetch("/v1/events", { item: id, limit: EVENTS });
  return html`<${Card} title="Its newest events" wide=${true} about=${`What users did with it, newest first: at most ${EVENTS} events, the last ones of the log.`}>
    <${Fetched} of=${events} what="The events">${(/** @type {any} */ data) =>
      data.events.length === 0
        ? html`<${Empty}>No events for this item in the newest records.<//>`
        : html`<div class="scroller" tabindex="0" role="region" aria-label="Events"><table class="table"><thead><tr><th scope="col">User</th><th scope="col">Event</th><th scope="col">Time</th><th scope="col">Partition : offset</th></tr></thead><tbody>
          ${newestFirst(data.events).map((/** @type {any} */ { partition, offset, index = 0, event, appended_ts }) => html`<tr key=${`${partition} ${offset} ${index}`}><th scope="row"><${UserLink} id=${event.user} /></th><td>${verb(event.type)}${event.value === undefined || event.value === null ? "" : ` ${event.value}`}</td><td>${timeText(eventTime({ event, appended_ts }))}</td>
            <td class="mono"><a href=${`/log/interactions?partition=${partition}&at=${offset}`}>${partition} : ${offset}${index > 0 ? ` [${index}]` : ""}</a></td></tr>`)}
        </tbody></table></div>`}<//>
  <//>`;
}
