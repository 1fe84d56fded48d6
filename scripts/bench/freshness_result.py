"""Write the result files of freshness.py: of one rate, or of a sweep with its plot."""

from typing import Any

from plot import Series, write_plot
from results import FOLDER, Row, save

ROLES = ("worker", "bridge", "trainer")


def save_rate(found: dict[str, Any], seconds: float) -> None:
    """Write docs/benchmarks/freshness.json."""
    waits, due = found["acknowledged_to_received_ms"], found["due_to_received_ms"]
    about = f"at {found['rate']:g} events/s on ml-latest-small (one run of {seconds:g} s)"
    rows = [
        Row(
            waits["p50"],
            "ms",
            f"Median time from an acknowledged event to its list on a WebSocket, {about}.",
        ),
        Row(waits["p99"], "ms", "The same, 99th percentile."),
        Row(
            due["p50"],
            "ms",
            "Median from the moment the event was due to be sent, with the work of the client.",
        ),
        Row(due["p99"], "ms", "The same, 99th percentile."),
    ]
    save("freshness", "From an event to the list in the browser", rows)


def save_sweep(found: list[dict[str, Any]], n_users: int, n_items: int) -> None:
    """Write docs/benchmarks/freshness_sweep.json and the plot beside it."""
    rows = []
    for each in found:
        at = f"{each['rate']:g} events/s"
        if each["refused"]:
            raise RuntimeError(f"{each['refused']} posts were refused at {at}; nothing is saved")
        waits = each["due_to_received_ms"]
        if not waits:
            continue
        rows += [
            Row(waits["p50"], "ms", f"{at}: event due → list received, median."),
            Row(waits["p99"], "ms", f"{at}: 99th percentile."),
        ]
        rows += [
            Row(spent, "ms", f"{at}: processor time of the {name} per event.")
            for name, spent in each["processor_ms_an_event"].items()
            if name in ROLES
        ]
    save("freshness_sweep", f"Freshness by rate, {n_users} sockets, {n_items:,} items", rows)
    found = [each for each in found if each["due_to_received_ms"]]
    rates = [each["rate"] for each in found]
    write_plot(
        FOLDER / "freshness_sweep.svg",
        "events a second",
        "milliseconds",
        [
            Series(name, rates, [each["due_to_received_ms"][name] for each in found])
            for name in ("p50", "p99")
        ]
        + [
            Series(
                f"{name}, per event",
                rates,
                [each["processor_ms_an_event"][name] for each in found],
                is_dashed=True,
            )
            for name in ("worker", "bridge")
        ],
    )
