"""Tools for tests of applications and plugins, for any test runner.

with local_instance() as url:                  # a whole instance in this process
    handle = serve.run(app)
check_plugin("cache")                          # conformance of a plugin
check_routing_policy(MyPolicy)                 # conformance of a routing policy
FakeClock().run(main())                        # sleeps take no time
GATE = Gate()                                  # blocks handlers until a test opens the gate
"""

from ._clock import FakeClock
from ._cluster_conformance import check_cluster
from ._condition import wait_until
from ._gate import Gate
from ._local_instance import local_instance
from ._plugin_conformance import check_plugin
from ._policy_conformance import check_routing_policy

__all__ = [
    "FakeClock",
    "Gate",
    "check_cluster",
    "check_plugin",
    "check_routing_policy",
    "local_instance",
    "wait_until",
]
