"""The search finds the page of a feature by the feature's usual name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT
from tests.docs.search_index import SearchIndex

GUIDES = ROOT / "docs" / "how-to"
PAGES = {
    "how-it-works": ["how it works", "life of a request", "life of a replica"],
    "how-to/autoscaling": ["autoscaling", "scale to zero"],
    "how-to/backends-and-endpoints": ["endpoints", "create_backend"],
    "how-to/backpressure-and-retries": [
        "backpressure",
        "overload",
        "queue",
        "queue length",
        "retries",
    ],
    "how-to/batching": ["batching", "dynamic batching"],
    "how-to/canary-releases": ["canary", "traffic splitting", "A/B test", "shadow traffic"],
    "how-to/command-line": ["command line", "CLI"],
    "how-to/concurrency": ["concurrency", "event loop", "threads"],
    "how-to/configuration": ["configuration", "environment variables", "secrets"],
    "how-to/deploying-applications": ["deploy", "shutdown"],
    "how-to/errors": ["errors", "exceptions", "status codes"],
    "how-to/fastapi-and-asgi": ["FastAPI", "ASGI", "Starlette", "middleware"],
    "how-to/handles": ["handles", "model composition", "broadcast", "request id"],
    "how-to/health-checks": ["health check", "liveness"],
    "how-to/http": ["HTTP", "JSON", "upload"],
    "how-to/http-proxies-and-tls": ["TLS", "HTTPS", "proxy", "access log"],
    "how-to/installation": ["install", "installation"],
    "how-to/logging": ["logging", "logs", "traceback"],
    "how-to/migrating-from-ray-serve": ["Ray Serve", "migration", "metrics", "Prometheus"],
    "how-to/model-multiplexing": ["model multiplexing", "multiplexing"],
    "how-to/multiple-applications": ["multiple applications", "route prefix"],
    "how-to/notebooks": ["notebook", "Jupyter"],
    "how-to/performance": ["performance", "latency"],
    "how-to/production": ["production", "Docker", "Kubernetes", "systemd"],
    "how-to/resources-and-placement": [
        *("GPU", "resources", "custom resources", "placement", "runtime_env")
    ],
    "how-to/rolling-updates": ["rolling update", "zero downtime", "graceful shutdown"],
    "how-to/streaming": ["streaming", "server-sent events", "SSE", "EventSource"],
    "how-to/testing": ["testing", "pytest"],
    "how-to/timeouts-and-cancellation": ["timeout", "deadline", "cancellation"],
    "how-to/troubleshooting": ["troubleshooting", "error messages", "out of memory"],
    "how-to/websockets": ["WebSocket", "WebSockets"],
    "tutorial/1-first-deployment": ["getting started", "deployment"],
    "tutorial/5-local-cluster": ["local cluster", "without Ray"],
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    """Build the documentation, and return its search."""
    built = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", ROOT / "docs", built]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return SearchIndex(built)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("query", "page"), [(query, page) for page, queries in PAGES.items() for query in queries]
)
def test_the_feature_s_page_comes_first(search: SearchIndex, query: str, page: str):
    """The usual name of a feature finds the guide of that feature before any other page."""
    assert search.pages(query)[:1] == [page]


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda guide: guide.stem)
def test_each_guide_is_asked_for(guide: Path):
    """No guide is without a query that must find it."""
    assert guide.stem == "index" or f"how-to/{guide.stem}" in PAGES
