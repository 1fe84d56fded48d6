// @ts-check
/** How events become lists: the state of each role, and how the model learns. */

import { html } from "../../vendor/preact.js";
import { shown, train } from "../../app/session.js";
import { Stat } from "../../components/facts.js";
import { Card, Loading, Page } from "../../components/states.js";
import { count } from "../../elements/format.js";
import { trainingText } from "../../state/pipeline-words.js";

/** @param {{title: string, about: string}} props */
export function Pipeline({ title, about }) {
  const pipeline = shown.pipeline.value;
  if (pipeline === null) return html`<${Page} title=${title} about=${about}><${Loading} /><//>`;
  const tools = html`<button type="button" class="button button-main" onClick=${() => void train()}>Train now</button>`;
  return html`<${Page} title=${title} about=${about} tools=${tools}>
    <div class="stats">
      <${Stat} name="Log records" value=${count(pipeline.nEvents)} about="Records of the topic of interactions. One record can hold a batch of events." />
      <${Stat} name="Waiting" value=${count(pipeline.lag)} about="Events in the log that no worker has folded yet." tone=${pipeline.lag > 0 ? "warn" : ""} />
      <${Stat} name="Connections" value=${count(pipeline.nConnections)} about="Browsers and programs that follow lists at this bridge." />
    </div>
    <${Card} title="Training"><p>${trainingText(pipeline)}</p><//>
  <//>`;
}
