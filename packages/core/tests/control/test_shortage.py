"""Messages about missing resources: subject, fact, remedy."""

from __future__ import annotations

import pytest

from alacarte._control.shortage import (
    Reminder,
    ResourceRequest,
    describe_oversized,
    describe_shortage,
    describe_totals,
    remedy,
    waiting_line,
)

ONE_CPU = {"CPU": 1.0}


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ({"CPU": (1, 0)}, "1 CPU; the cluster has 0 free"),
        ({"CPU": (2, 0.5)}, "2 CPUs; no node has more than 0.5 free"),
        ({"memory": (3 * 1024**3, 1024**3)}, "3 GiB of memory; no node has more than 1 GiB free"),
        ({"tpu": (1, 0)}, "1 of the resource 'tpu'; the cluster has 0 free"),
        ({"CPU (bundle 1)": (2, 1)}, "2 CPUs for bundle 1; no node has more than 1 free"),
        (
            {"node with zone=c": (1, 0)},
            "a node with zone=c; no such node of the cluster accepts replicas",
        ),
        (
            {"room for shop#Model (at most 1 on a node)": (1, 0)},
            "room for shop#Model (at most 1 on a node); every node has reached max_replicas",
        ),
        (
            {"CPU": (1, 0), "GPU": (1, 0)},
            "1 CPU; the cluster has 0 free, and 1 GPU; the cluster has 0 free",
        ),
    ],
)
def test_what_a_replica_waits_for(missing: dict[str, tuple[float, float]], text: str):
    """The message has the resource with its unit, the needed and the free amount."""
    assert describe_shortage(missing).startswith(text)


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (["CPU"], "Lower `ray_actor_options['num_cpus']`, or add a node."),
        (["memory"], "Lower `ray_actor_options['memory']`, or add a node."),
        (["tpu"], "Lower `ray_actor_options['resources']['tpu']`, or add a node."),
        (["CPU (bundle 0)"], "Lower `placement_group_bundles`, or add a node."),
        (["room for a#B (at most 1 on a node)"], "Lower `num_replicas`, or add a node."),
        (["node with zone=c"], "Add such a node."),
    ],
)
def test_what_to_do_about_it(resources: list[str], text: str):
    """Each resource has the option that requests it."""
    assert remedy(resources) == text


def test_several_replicas_that_wait():
    """Where several wait, fewer replicas are a remedy, too."""
    assert waiting_line("shop#Model", 3, {"CPU": (1, 0)}) == (
        "Deployment 'shop#Model': 3 replicas wait, each for 1 CPU; the cluster has 0 free. "
        "Lower `num_replicas` or `ray_actor_options['num_cpus']`, or add a node."
    )


def test_a_replica_that_fits_on_no_node():
    """The message has the request of one replica and the largest node's amount."""
    assert describe_oversized("shop#Model", {"CPU": (4, 2)}) == (
        "Deployment 'shop#Model': one replica asks for 4 CPUs; no node of the cluster has more "
        "than 2."
    )
    assert describe_oversized("shop#Model", {"GPU": (1, 0)}).endswith(
        "asks for 1 GPU; no node of the cluster has any."
    )


def test_sums():
    """The message names the smallest unit that requests too much by itself."""
    five = {
        "shop#Model": ResourceRequest("shop", ONE_CPU, 5),
        "shop#Door": ResourceRequest("shop", ONE_CPU, 1),
    }
    assert describe_totals(five, {"CPU": (6, 2)}) == [
        "Deployment 'shop#Model' asks for 5 CPUs (5 replicas of 1 CPU); the cluster has 2 in all."
    ]
    four = {f"shop#{name}": ResourceRequest("shop", ONE_CPU, 1) for name in "abcd"}
    assert describe_totals(four, {"CPU": (4, 2)}) == [
        "Application 'shop' asks for 4 CPUs; the cluster has 2 in all."
    ]
    two = {
        "shop#a": ResourceRequest("shop", ONE_CPU, 2),
        "web#b": ResourceRequest("web", ONE_CPU, 1),
    }
    assert describe_totals(two, {"CPU": (3, 2)}) == [
        "Applications 'shop' (2) and 'web' (1) ask for 3 CPUs together; the cluster has 2 in all."
    ]


def test_reminders_become_rare():
    """The first line has a delay, and each pause is twice as long, up to a limit."""
    reminder = Reminder(5.0, 30.0, 100.0)
    said = [now for now in range(0, 500, 5) if reminder.is_due(now)]
    assert said == [5, 35, 95, 195, 295, 395, 495]
    reminder.reset()
    assert not reminder.is_due(1000)
    assert reminder.is_due(1005)
