"""What only a server is measured by: a latency floor, several processes, a peer, millions of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import end_to_end, floors_postgres, peer, processes, scale_postgres
from benchmarks.ground import PostgresGround
from benchmarks.parts import Scale, load, milliseconds

RESULTS = Path(__file__).with_name("results")


async def start_floor(ground: PostgresGround, scale: Scale) -> None:
    """Insert, NOTIFY and claim between two threads, nothing around it."""
    seconds = floors_postgres.claim_seconds(ground.fresh(), scale.of(200, 5), rest_seconds=0.01)
    print(f"insert + NOTIFY + claim, nothing else  {milliseconds(seconds)}   {load()}")


async def several(ground: PostgresGround, scale: Scale) -> None:
    """One worker process and two, in turn; with two cores, server and clients share them."""
    total, slots = scale.of(40_000, 500), 100
    alone: list[processes.Shared] = []
    both: list[processes.Shared] = []
    for _ in range(scale.rounds):
        alone.append(await processes.drain(ground, 1, total, slots))
        both.append(await processes.drain(ground, 2, total, slots))
    for count, each in ((1, alone), (2, both)):
        print(
            f"drain {total:,} by {count} process{'es' * (count > 1):2} at {slots} slots "
            f"{_median(each, _rate):9,.0f}/s   CPU a task {_median(each, lambda it: it.client_micros):.0f} us + server "
            f"{_median(each, lambda it: it.server_micros):.0f} us, {_median(each, lambda it: it.cores):.2f} cores busy"
        )
    one, two = _median(alone, _rate), _median(both, _rate)
    # What a task costs, client and server together, times what the machine has: nothing can be quicker on it.
    bound = min(2 * one, _median(alone, lambda it: 2e6 / (it.client_micros + it.server_micros)))
    print(f"  two are {two / one:.2f} of one; two cores allow {bound:,.0f}/s, of which {two / bound:.2f}   {load()}")


def _rate(shared: processes.Shared) -> float:
    return shared.drain


def _median(each: list[processes.Shared], of: Callable[[processes.Shared], float]) -> float:
    return median(map(of, each))


async def against_peer(ground: PostgresGround, scale: Scale, python: str) -> None:
    """pgqueuer and milepost in turn, on the same server, at 20 slots and at the widest of each."""
    if not peer.is_installed(python):
        print(f"pgqueuer                               not measured, {python} has none: {peer.HOW}")
        return
    total = scale.of(20_000, 500)
    # Its cap must be twice its batch; without a cap, batches may be as wide as one likes.
    for title, slots, settings in (
        ("20 slots", 20, ((10, 20),)),
        ("its widest", 500, ((100, 0), (500, 0))),
    ):
        theirs: list[list[peer.PeerDrained]] = [[] for _ in settings]
        ours: list[end_to_end.Drained] = []
        for _ in range(scale.rounds):
            for rates, (batch, cap) in zip(theirs, settings, strict=True):
                rates.append(peer.drain(python, ground.fresh(), total, batch=batch, slots=cap))
            ours.append(await end_to_end.drain(ground, total, slots))
        mine = median(each.drain for each in ours)
        for rates, (batch, cap) in zip(theirs, settings, strict=True):
            rate = median(each.drain for each in rates)
            print(
                f"pgqueuer {rates[0].version}, {title}, batch {batch:3} {f'of {cap}' if cap else 'uncapped'}  "
                f"{rate:9,.0f}/s   milepost at {slots} slots {mine:9,.0f}/s   "
                f"milepost/pgqueuer {mine / rate:.2f}   {load()}"
            )
    print("  pgqueuer stores no result, fences no completion and decodes no payload; milepost does all three")


async def at_scale(ground: PostgresGround, scale: Scale, path: Path | None) -> None:
    """A claim among millions of rows next to the same claim in a small table, and its plan."""
    sizes = scale_postgres.Sizes(scale.of(1_000_000, 2_000), scale.of(100_000, 500), scale.of(5_000_000, 2_000))
    small, large = ground.fresh(), ground.fresh()
    scale_postgres.fill(small, scale_postgres.Sizes(1_000, 0, 0))
    seconds = scale_postgres.fill(large, sizes)
    few, many, plan = scale_postgres.compare(small, large, rounds=scale.of(101, 5))
    what = f"{sizes.waiting:,} waiting, {sizes.suspended:,} suspended, {sizes.final:,} final"
    print(f"claim of 100 among 1,000 waiting       {few * 1e3:6.2f} ms")
    print(f"  among {what}: {many * 1e3:.2f} ms   ratio {many / few:.2f}   (made in {seconds:.0f} s)   {load()}")
    if path is None and not scale.quick:
        path = RESULTS / f"claim-plan-postgres-{ground.server.version}.txt"
    if path is not None:
        path.write_text(f"{ground.title}\n{what}\n\n{plan}\n")
        print(f"  its plan is in {path}")


async def churn(ground: PostgresGround, scale: Scale) -> None:
    """Enqueue, claim and complete as fast as the verbs go, with autovacuum on.

    An hour's work is done in about three minutes, so autovacuum looks every three seconds instead of every minute.
    """
    total, waiting, batch = scale.of(1_000_000, 2_000), scale.of(10_000, 100), scale.of(500, 100)
    ground.server.run_sql("alter system set autovacuum_naptime = '3s'", "select pg_reload_conf()")
    found = scale_postgres.churn(ground.fresh, total, waiting=waiting, batch=batch, parts=10)
    ground.server.run_sql("alter system reset autovacuum_naptime", "select pg_reload_conf()")
    print(f"churn of {total:,} over {waiting:,} waiting  {found.rate:9,.0f}/s   {found.vacuums} autovacuums   {load()}")
    for title, figures in (
        (f"claim of {batch}, ms", found.claim_ms),
        ("in a fresh store, ms", found.fresh_ms),
        ("ratio", found.ratios),
    ):
        print(f"  {title:22} by tenths:  " + " ".join(f"{each:6.2f}" for each in figures))
    print(f"  the slowest tenth takes {max(found.ratios):.2f} of a fresh store, the last {found.ratios[-1]:.2f}")
