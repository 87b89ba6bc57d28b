"""A cache of answers, switched on for one deployment with `cache={"ttl_s": 5}`."""
