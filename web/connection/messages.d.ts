/**
 * Messages of the WebSocket and answers of REST. Written from the AsyncAPI and OpenAPI documents by
 * scripts/client.py. A field with `?` is left out where it has its default.
 */

export interface Arm {
  rules?: (Exclude | Only | Boost | Pin)[];
  diversity?: Diversity | null;
  rotation?: ImpressionFatigue | null;
  newcomers?: number | null;
  dislikes?: Dislikes | null;
  name: string;
  blend?: Blend | null;
  min_relevance?: number | null;
  without?: string[];
  share: number;
  weights?: Record<string, number> | null;
  half_life_ms?: number | null;
  when?: Audience | null;
}

export interface AsOf {
  partition: number;
  offset: number;
}

export interface AttributeTest {
  eq?: boolean | number | string | null;
  in?: (boolean | number | string)[] | null;
  min?: number | string | Now | null;
  max?: number | string | Now | null;
  exists?: boolean | null;
}

export interface Audience {
  user?: Record<string, AttributeTest> | null;
  context?: Record<string, AttributeTest> | null;
}

export interface Blend {
  factors?: number;
  popularity?: number;
  content?: number;
  behaviour?: number;
}

export interface Boost {
  action: "boost";
  name: string;
  where: Condition;
  by: number;
  when?: Audience | null;
}

export interface Boosted {
  rule: string;
  score: number;
}

export interface ClickCounts {
  shown?: number;
  clicked?: number;
}

export interface Condition {
  category?: string | string[] | null;
  brand?: string | string[] | null;
  price?: Range | null;
  attributes?: Record<string, AttributeTest> | null;
  items?: string[] | null;
  users?: Range | null;
  from?: Moments | null;
  until?: Moments | null;
  all?: Condition[] | null;
  any?: Condition[] | null;
  not?: Condition | null;
}

export interface Contribution {
  item: string;
  event: string;
  offset: number;
  n_events: number;
  score: number;
  factors?: number;
  behaviour?: number;
  content?: number;
  shared?: string[];
}

export interface Dislikes {
  strength?: number;
}

export interface Diversity {
  strength: number;
  by?: ("brand" | "category" | "taste")[];
}

export interface ErrorMessage {
  type: "error";
  code: "forbidden" | "invalid-message" | "not-found" | "too-many" | "unavailable";
  temporary?: boolean;
  detail?: string;
  ch?: "log" | "pipeline" | "recs" | null;
}

export interface Exclude {
  action: "exclude";
  name: string;
  where: Condition;
  when?: Audience | null;
}

export interface Explanation {
  user: string;
  item: string;
  generation: number;
  delta: number;
  arm: string;
  score: number;
  prior: number;
  because: Contribution[];
  boosts: Boosted[];
  sources: Sources;
  verdict: "below-min-relevance" | "below-the-cut" | "diversified" | "excluded" | "listed" | "made-way" | "newcomer" | "pinned" | "rotated" | "seen" | "withdrawn";
  rule: string;
  rank: number;
  cut: number;
  missing: number;
}

export interface Gap {
  type: "gap";
  ch: "log" | "pipeline" | "recs";
  topic: string;
  partition: number;
  from: number;
  to: number;
}

export interface GateResult {
  users: number;
  items: number;
  candidate: number;
  popular: number;
  serving: number | null;
  is_adopted: boolean;
  reason: string;
}

export interface GenerationAnnounced {
  type: "generation";
  generation: number;
  parent: number | null;
  artifact: string;
  digest: string;
  offsets: Record<string, number>;
  hyperparameters: Record<string, any>;
  seed: number;
  n_users: number;
  n_items: number;
  n_interactions: number;
  loss: number | null;
  train_seconds: number;
  created_ts: number;
  judgement?: GateResult | null;
  copies?: number | null;
  catalogue_offset?: number;
  control_offset?: number | null;
}

export interface Hello {
  type: "hello";
  token?: string;
  user?: string | null;
  subs?: Subscription[];
}

export interface ImpressionFatigue {
  after?: number;
}

export interface Item {
  item: string;
  title?: string;
  category?: string;
  brand?: string;
  price?: number | null;
  description?: string;
  image?: string;
  attributes?: Record<string, any>;
  available?: boolean;
  from?: string | null;
  until?: string | null;
  vector?: number[];
}

export interface Lineage {
  event_id?: string;
  event_ts?: number;
  appended_ts?: number;
  folded_ts?: number;
  published_ts?: number;
}

export interface ListRequest {
  n?: number;
  offset?: number;
  cursor?: string;
  exclude?: string[];
  filter?: Condition | null;
  boost?: RequestBoost[];
  category?: string;
  placement?: string;
  context?: Record<string, boolean | number | string>;
  known?: boolean;
}

export interface LogMessage {
  type: "log";
  topic: string;
  partition: number;
  offset: number;
  ts: number;
  key?: string | null;
  value?: any;
  text?: string | null;
}

export interface Moments {
  min?: string | Now | null;
  max?: string | Now | null;
}

export interface Now {
  now: number;
}

export interface Only {
  action: "only";
  name: string;
  where: Condition;
  when?: Audience | null;
}

export interface Pin {
  action: "pin";
  name: string;
  items: string[];
  at?: number;
  when?: Audience | null;
}

export interface PipelineMessage {
  type: "pipeline";
  epoch: string;
  offset: number;
  generation?: number | null;
  delta?: number;
  model?: GenerationAnnounced | null;
  training?: TrainingProgress | null;
  workers?: WorkerStatus[];
  prequential?: Record<string, PrequentialScore>;
  clicks?: Record<string, ClickCounts>;
  events?: number;
  lag?: number;
  partition_lag?: Record<string, number>;
  audit_horizon?: Record<string, number>;
  roles?: RoleState[];
  connections?: number;
  push?: Stage | null;
}

export interface Placement {
  rules?: (Exclude | Only | Boost | Pin)[];
  diversity?: Diversity | null;
  rotation?: ImpressionFatigue | null;
  newcomers?: number | null;
  dislikes?: Dislikes | null;
  name: string;
  blend?: Blend | null;
  min_relevance?: number | null;
  without?: string[];
  size?: number | null;
  arm?: string;
}

export interface PrequentialScore {
  events: number;
  hits: Record<string, number>;
  mrr: number;
}

export interface Range {
  min?: number | null;
  max?: number | null;
}

export interface Reason {
  kind: "because" | "boosted" | "content" | "newcomer" | "pinned" | "popular";
  item?: string;
  event?: string;
  offset?: number;
  share?: number;
  shared?: string[];
  rule?: string;
}

export interface RecommendedItem {
  item: string;
  rank: number;
  score: number;
  was?: number;
  why?: Reason[];
}

export interface RecsMessage {
  type: "recs";
  rec_id: string;
  user: string;
  generation: number;
  delta?: number;
  followed?: any[] | null;
  control?: number;
  arm?: string;
  now?: number;
  as_of?: AsOf | null;
  source: "content" | "fold-in" | "popular" | "refresh";
  items: RecommendedItem[];
  lineage?: Lineage;
  epoch?: string;
  partition?: number;
  offset?: number;
  requested?: Requested | null;
  next?: string;
}

export interface Refresh {
  type: "refresh";
  token: string;
}

export interface RequestBoost {
  where: Condition;
  by: number;
}

export interface Requested {
  request: ListRequest;
  steering?: number;
  items?: string[];
  warnings?: string[];
}

export interface RoleState {
  name: "bridge" | "trainer" | "worker";
  state: "degraded" | "down" | "ready";
  reason: string;
  heartbeat_age_ms: number | null;
  lag: number | null;
}

export interface ShelvesAnswer {
  rec_id: string;
  user: string;
  generation: number;
  delta?: number;
  as_of?: AsOf | null;
  shelves: ViewedShelf[];
  requested?: Requested | null;
}

export interface Since {
  epoch: string;
  offset: number;
}

export interface Sources {
  factors: number;
  behaviour: number;
  content: number;
  popularity: number;
  boost: number;
}

export interface Stage {
  p50_ms: number;
  p99_ms: number;
}

export interface Steering {
  rules?: (Exclude | Only | Boost | Pin)[];
  diversity?: Diversity | null;
  rotation?: ImpressionFatigue | null;
  newcomers?: number | null;
  dislikes?: Dislikes | null;
  blend?: Blend;
  min_relevance?: number;
  arms?: Arm[];
  placements?: Placement[];
  salt?: string;
}

export interface Sub {
  type: "sub";
  ch: "log" | "pipeline" | "recs";
  since?: Since | null;
  topic?: string;
  partition?: number | null;
  user?: string | null;
  placement?: string;
}

export interface Subscription {
  ch: "log" | "pipeline" | "recs";
  since?: Since | null;
  topic?: string;
  partition?: number | null;
  user?: string | null;
  placement?: string;
}

export interface SubscriptionState {
  ch: "log" | "pipeline" | "recs";
  offset: number;
  recovered?: boolean;
  topic?: string;
  partition?: number | null;
}

export interface TrainingProgress {
  type: "training";
  state: "done" | "failed" | "rejected" | "training" | "waiting";
  generation?: number;
  iteration?: number;
  iterations?: number;
  seconds?: number;
  detail?: string;
  ts?: number;
}

export interface Unsub {
  type: "unsub";
  ch: "log" | "pipeline" | "recs";
}

export interface ViewedEntry {
  item: string;
  rank?: number;
  score?: number | null;
  share: number;
  shared?: string[];
  details?: Item | null;
}

export interface ViewedShelf {
  item: string;
  event: string;
  items: ViewedEntry[];
}

export interface Welcome {
  type: "welcome";
  ping_s: number;
  epoch: string;
  user?: string | null;
  subs: SubscriptionState[];
}

export interface WorkerStatus {
  type: "worker";
  worker: string;
  events: number;
  outcomes?: Record<string, Record<string, number>>;
  published: number;
  dead_letters: number;
  lag: Record<string, number>;
  generation: number;
  delta?: number;
  fold_in_ms_p50?: number;
  fold_in_ms_p99?: number;
  freshness_ms_p50?: number;
  freshness_ms_p99?: number;
  prequential?: Record<string, PrequentialScore>;
  clicks?: Record<string, ClickCounts>;
  is_compiling?: boolean;
  ts?: number;
}
