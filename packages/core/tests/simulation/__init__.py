"""The real controller, routers and replicas on a cluster, a network and a clock that are not there.

Everything that alacarte is made of runs as it does in production, except for what `_cluster` and
asyncio give it: processes, the ways between them, the durable map and time. Those are simulated
in one thread, and all that is left to chance is drawn from one seed, so a run can be repeated
exactly: `python -m simulation --seed 7 --trace`, in `packages/core/tests`.
"""
