"""The made-up shop: equal for an equal seed, and with the regularities that a model can learn."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from recstream.core.events import Event, check_event, decode_events, encode_event, timestamp_ms
from recstream.simulate import Customers, Shop, history, make_shop, send, send_traffic, traffic

END_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(0, 240)


@pytest.fixture(scope="module")
def past(shop: Shop) -> list[Event]:
    return list(history(Customers(shop, 150, 0), 0, 6_000, end_ms=END_MS))


def test_the_same_seed_makes_the_same_shop_and_the_same_past(shop: Shop, past: list[Event]) -> None:
    again = make_shop(0, 240)

    assert again.items == shop.items
    assert list(history(Customers(again, 150, 0), 0, 6_000, end_ms=END_MS)) == past


def test_another_seed_makes_another_shop(shop: Shop) -> None:
    assert make_shop(1, 240).items != shop.items


@pytest.mark.parametrize("n_items", [12, 240, 5_000])
def test_every_product_has_a_name_of_its_own(n_items: int) -> None:
    items = make_shop(3, n_items).items

    assert len(items) == n_items
    assert len({item.item for item in items}) == n_items
    assert len({item.title for item in items}) == n_items
    assert all(item.category and item.brand and item.price for item in items)


def test_the_past_is_in_time_order_and_before_its_end(past: list[Event]) -> None:
    times = [timestamp_ms(event.ts) for event in past if event.ts is not None]

    assert len(times) == 6_000
    assert times == sorted(times)
    assert times[-1] < END_MS
    assert times[0] > END_MS - 32 * 86_400_000


def test_every_event_of_the_past_may_enter_the_log_and_counts_once(past: list[Event]) -> None:
    assert all(check_event(event) is event for event in past)
    assert all(decode_events(encode_event(event)) == [event] for event in past)
    assert len({event.id for event in past}) == len(past)


def test_several_types_of_events_come_from_a_funnel(past: list[Event]) -> None:
    counts = Counter(event.type for event in past)

    assert (
        counts["view"] > counts["click"] > counts["cart"] > counts["purchase"] > counts["rate"] > 0
    )


def test_a_visit_looks_at_products_of_one_category(shop: Shop, past: list[Event]) -> None:
    category = {item.item: item.category for item in shop.items}
    visits = defaultdict(set)
    for event in past:
        visits[event.session].add(category[event.item or ""])

    assert all(len(seen) == 1 for seen in visits.values())


def test_few_products_have_most_of_the_events(past: list[Event]) -> None:
    counts = sorted(Counter(event.item for event in past).values(), reverse=True)

    assert sum(counts[: len(counts) // 5]) > 0.4 * len(past)


def test_customers_buy_what_suits_their_taste(shop: Shop) -> None:
    customers = Customers(shop, 150, 0)
    row = {item.item: at for at, item in enumerate(shop.items)}
    user = {name: at for at, name in enumerate(customers.names)}
    liking = defaultdict(list)
    for event in islice(traffic(customers, 5), 6_000):
        likes = shop.styles[row[event.item or ""]] @ customers.tastes[user[event.user]]
        liking[event.type].append(likes)

    # A product chosen without regard to taste is liked 0.0 in the mean.
    assert np.mean(liking["purchase"]) > np.mean(liking["view"]) > 0.1


def test_the_best_selling_items_change_over_time(shop: Shop) -> None:
    customers = Customers(shop, 150, 0)
    early = Counter(event.item for event in islice(traffic(customers, 5), 3_000))
    late = Counter(event.item for event in islice(traffic(customers, 5, n_before=4_000), 3_000))

    best = [item for item, _ in early.most_common(40)]
    assert sum(late[item] for item in best) < 0.8 * sum(early[item] for item in best)


class Till:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def send(self, events: Sequence[Event]) -> tuple[int, int]:
        self.events.extend(events)
        return len(events), 0

    def close(self) -> None:
        pass


def test_traffic_is_sent_at_the_rate_and_ends_on_request() -> None:
    till = Till()

    report = send_traffic(
        till, rate=2_000.0, n_users=10, n_items=24, shop_seed=0, seed=1, n_events=400
    )

    assert report.accepted == len(till.events) == 400
    assert 0.15 < report.seconds < 20.0


def test_a_busy_bridge_behind_a_proxy_that_names_a_date_is_asked_again(monkeypatch):
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    answers = iter([(429, date, b"{}"), (202, None, b'{"accepted":1,"rejected":[]}')])
    waits = []

    class Connection:
        def request(self, *_):
            self.status, self.date, self.body = next(answers)

        def getresponse(self):
            return self

        def read(self):
            return self.body

        def getheader(self, _, default=None):
            return self.date or default

    sink = send.RestSink("http://127.0.0.1:1")
    monkeypatch.setattr(sink, "_connection", Connection())
    monkeypatch.setattr(send.time, "sleep", waits.append)

    assert sink.send([]) == (1, 0)
    assert waits == [1.0]
