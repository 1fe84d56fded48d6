"""Methods of the clients. Written from the OpenAPI document by scripts/client.py."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, cast

from recstream.client.answers import (
    EventsAnswer,
    Explanation,
    ForgetAccepted,
    Item,
    ItemsAnswer,
    ItemsPage,
    KindAnswer,
    ListAnswer,
    MergeAccepted,
    RankAnswer,
    ShelvesAnswer,
    SimilarAnswer,
    UserAccepted,
)
from recstream.client.bodies import (
    Event,
    ExplainQuery,
    FindItemsQuery,
    ItemChanges,
    ItemFields,
    KindBody,
    ListBody,
    MergeRequest,
    PopularQuery,
    RankBody,
    ShelfBody,
    UserFields,
    VisitorRequest,
)

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method with the type of one whose ``call`` is a coroutine."""
    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]", method)


class Methods:
    """A method for each operation; each raises `recstream.client.RequestFailed`."""

    def call(
        self, method: str, path: str, values: dict[str, str], *, query: Any = None, body: Any = None
    ) -> Any:
        """Send a request until it succeeds, and return its answer."""
        raise NotImplementedError

    def send_events(self, body: list[Event] | Event) -> EventsAnswer:
        """Append events: one, an array, lines of JSON, or CloudEvents."""
        return self.call("POST", "/v1/events", {}, body=body)

    def recommend(self, user: str, /, **body: Unpack[ListBody]) -> ListAnswer:
        """Return a user's list, shaped by the request."""
        return self.call("POST", "/v1/users/{user}/recommendations", {"user": user}, body=body)

    def explain(self, user: str, item: str, **query: Unpack[ExplainQuery]) -> Explanation:
        """Return the contribution of each entry of a user's history to an item's score."""
        return self.call(
            "GET",
            "/v1/users/{user}/recommendations/{item}/explanation",
            {"user": user, "item": item},
            query=query,
        )

    def recommend_for_visitor(self, **body: Unpack[VisitorRequest]) -> ListAnswer:
        """Compute a list for a visitor who viewed some items, by fold-in."""
        return self.call("POST", "/v1/recommendations", {}, body=body)

    def rank(self, **body: Unpack[RankBody]) -> RankAnswer:
        """Order candidates, such as the results of a search, for a user or a visitor."""
        return self.call("POST", "/v1/rank", {}, body=body)

    def popular(self, **query: Unpack[PopularQuery]) -> ListAnswer:
        """List items that are popular now."""
        return self.call("GET", "/v1/popular", {}, query=query)

    def shelves(self, user: str, /, **body: Unpack[ShelfBody]) -> ShelvesAnswer:
        """Return shelves of items related to a user's strongest items: because you viewed X."""
        return self.call("POST", "/v1/users/{user}/shelves", {"user": user}, body=body)

    def shelf(self, kind: str, /, **body: Unpack[KindBody]) -> KindAnswer:
        """Return items that are trending, newest or popular, also by category."""
        return self.call("POST", "/v1/shelves/{kind}", {"kind": kind}, body=body)

    def bought_together(self, item: str, /, **body: Unpack[ListBody]) -> KindAnswer:
        """Return items that are likelier in a basket with this one: lift, shrunk towards 1."""
        return self.call("POST", "/v1/items/{item}/bought-together", {"item": item}, body=body)

    def again(self, user: str, /, **body: Unpack[ListBody]) -> KindAnswer:
        """Return items that a user is due to buy again, where repeats are normal."""
        return self.call("POST", "/v1/users/{user}/again", {"user": user}, body=body)

    def merge_session(self, user: str, body: MergeRequest) -> MergeAccepted:
        """Copy a session's events to a user who logged in."""
        return self.call("POST", "/v1/users/{user}/merge", {"user": user}, body=body)

    def put_user(self, user: str, /, **body: Unpack[UserFields]) -> UserAccepted:
        """Set properties of a user, for rules and arms; null removes one, others stay."""
        return self.call("PUT", "/v1/users/{user}", {"user": user}, body=body)

    def forget_user(self, user: str) -> ForgetAccepted:
        """Erase a user: events, history, lists."""
        return self.call("DELETE", "/v1/users/{user}", {"user": user})

    def find_items(self, **query: Unpack[FindItemsQuery]) -> ItemsPage:
        """Search items by text and category, page by page."""
        return self.call("GET", "/v1/items", {}, query=query)

    def put_items(self, body: list[ItemFields] | ItemFields) -> ItemsAnswer:
        """Add or replace many items: an array, or lines of JSON."""
        return self.call("POST", "/v1/items", {}, body=body)

    def get_item(self, item: str) -> Item:
        """Return an item."""
        return self.call("GET", "/v1/items/{item}", {"item": item})

    def put_item(self, item: str, /, **body: Unpack[ItemFields]) -> Item:
        """Add an item or replace it."""
        return self.call("PUT", "/v1/items/{item}", {"item": item}, body=body)

    def change_item(self, item: str, /, **body: Unpack[ItemChanges]) -> Item:
        """Change some fields of an item; the others stay."""
        return self.call("PATCH", "/v1/items/{item}", {"item": item}, body=body)

    def delete_item(self, item: str) -> None:
        """Delete an item from the catalogue and withdraw it from all lists."""
        return self.call("DELETE", "/v1/items/{item}", {"item": item})

    def similar_items(self, item: str, /, **body: Unpack[ListBody]) -> SimilarAnswer:
        """List the items most similar to one, by behaviour and by content."""
        return self.call("POST", "/v1/items/{item}/similar", {"item": item}, body=body)


class AsyncMethods:
    """The methods of `Methods`, to be awaited: `AsyncClient.call` is a coroutine."""

    send_events = _awaited(Methods.send_events)
    recommend = _awaited(Methods.recommend)
    explain = _awaited(Methods.explain)
    recommend_for_visitor = _awaited(Methods.recommend_for_visitor)
    rank = _awaited(Methods.rank)
    popular = _awaited(Methods.popular)
    shelves = _awaited(Methods.shelves)
    shelf = _awaited(Methods.shelf)
    bought_together = _awaited(Methods.bought_together)
    again = _awaited(Methods.again)
    merge_session = _awaited(Methods.merge_session)
    put_user = _awaited(Methods.put_user)
    forget_user = _awaited(Methods.forget_user)
    find_items = _awaited(Methods.find_items)
    put_items = _awaited(Methods.put_items)
    get_item = _awaited(Methods.get_item)
    put_item = _awaited(Methods.put_item)
    change_item = _awaited(Methods.change_item)
    delete_item = _awaited(Methods.delete_item)
    similar_items = _awaited(Methods.similar_items)
