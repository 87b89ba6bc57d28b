"""The target number of replicas of one deployment, step by step."""

from __future__ import annotations

from typing import Any

from alacarte.types import DeploymentId
from alacarte_autoscaling._load_follower import REPORTS_S, LoadFollower
from alacarte_autoscaling._load_reports import LoadReport
from alacarte_autoscaling.config import AutoscalingConfig

WHO = DeploymentId("app", "D")


def follower(number: int = 1, *, resumed: bool = False, **options: Any) -> LoadFollower:
    options = {"min_replicas": 0, "max_replicas": 10, **options}
    return LoadFollower(WHO, AutoscalingConfig(**options), number, 100.0, resumed=resumed)


def load(queued: int, running: int) -> LoadReport:
    asked = queued + running
    return LoadReport(WHO, queued, running, asked, asked, asked, 0.0)


def test_it_begins_within_the_bounds():
    """A stored number outside of the bounds is corrected."""
    assert follower(50).number == 10
    assert follower(0, min_replicas=2).number == 2


def test_a_cold_deployment_starts_at_once():
    """With queued requests and no running replica, the number rises without policy and delay."""
    found = follower(0, upscale_delay_s=30.0)
    assert not found.cold_start(100.0)
    found.report("p", load(3, 0), 101.0)
    assert found.is_cold
    assert found.cold_start(101.0)
    assert found.number == 1
    found.running = 1
    assert not found.is_cold
    assert not found.cold_start(101.5)


def test_a_cold_start_is_remembered_as_growth():
    """Policies see the times of the last growth and shrinkage, on their own clock."""
    found = follower(0, downscale_delay_s=0.0)
    assert found.context(100.0).last_scale_up_time is None
    found.report("p", load(1, 0), 101.0)
    found.cold_start(101.0)
    found.running = 1
    found.apply(0, 105.0)
    context = found.context(106.0, epoch_s=1000.0)
    assert (context.last_scale_up_time, context.last_scale_down_time) == (1101.0, 1105.0)
    assert (context.current_time, found.number) == (1106.0, 0)


def test_a_decision_waits_for_its_delay():
    """Decisions must exceed the target throughout the delay; any other decision restarts it."""
    found = follower(1, upscale_delay_s=10.0)
    found.running = 1
    found.apply(4, 100.0)
    assert (found.number, found.next_wakeup(100.0)) == (1, 110.0)
    found.apply(1, 105.0)
    found.apply(4, 106.0)
    found.apply(4, 111.0)
    assert found.number == 1
    found.apply(4, 116.0)
    assert found.number == 4


def test_another_configuration_begins_its_delays_anew():
    """After a change of the configuration, delays restart and the new bounds apply."""
    found = follower(1, upscale_delay_s=10.0)
    found.running = 1
    found.apply(4, 100.0)
    config = AutoscalingConfig(min_replicas=2, max_replicas=3, upscale_delay_s=10.0)
    found.configure(config, 1, 109.0)
    assert found.number == 2
    assert found.rests(200.0)
    found.apply(9, 110.0)
    assert found.number == 2
    found.apply(9, 120.0)
    assert found.number == 3


def test_nothing_shrinks_before_the_load_is_known():
    """After a restart of the controller, a still unknown load stops no replicas."""
    found = follower(5, resumed=True, downscale_delay_s=0.0, upscale_delay_s=0.0)
    found.running = 5
    found.apply(1, 101.0)
    assert (found.number, found.next_wakeup(101.0)) == (5, 100.0 + REPORTS_S)
    assert not found.rests(101.0)
    found.apply(6, 102.0)
    assert found.number == 6  # growth is wanted for a load that was heard of
    found.running = 6
    found.apply(1, 100.0 + REPORTS_S)
    assert found.number == 1


def test_a_new_deployment_may_shrink_at_once():
    """The load of a new deployment is known to be zero."""
    found = follower(5, downscale_delay_s=0.0)
    found.running = 5
    found.apply(1, 101.0)
    assert found.number == 1


def test_a_context_tells_the_load_of_all_processes():
    """The context has queued and running calls, and the aggregated load of the window."""
    found = follower(2, look_back_period_s=10.0, aggregation_function="max")
    found.running = 2
    found.report("p", load(1, 2), 101.0)
    found.report("q", load(0, 4), 101.0)
    found.report("p", LoadReport(WHO, 0, 1, 2.5, 3, 1, 1.0), 102.0)
    context = found.context(102.0)
    assert (context.total_queued_requests, context.total_running_requests) == (0, 5)
    assert context.total_num_requests == 7
    assert (context.current_num_replicas, context.target_num_replicas) == (2, 2)


def test_it_rests_where_the_load_stays():
    """No policy is called while the load over the whole window is constant."""
    found = follower(1, look_back_period_s=10.0)
    found.running = 1
    found.report("p", load(0, 1), 100.0)
    assert not found.rests(105.0)
    assert found.rests(110.0)
    found.report("p", load(0, 2), 111.0)
    assert not found.rests(111.0)
