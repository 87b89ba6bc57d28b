"""Handwritten digits: a scikit-learn classifier with two replicas behind a preprocessing step.

    python examples/digits/main.py             # serve, ask about 100 images over HTTP, stop
    python examples/digits/main.py --serve     # serve until Ctrl-C
    alacarte run main:app -d examples/digits   # the same from the command line

Send `{"image": [...]}`: 64 numbers, or 8 rows of 8, the higher the darker. Scans differ in scale;
the preprocessing deployment brings them to the one the classifier was trained with.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import urllib.request
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from starlette.requests import Request
from starlette.responses import JSONResponse

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

SIDE = 8
NUM_ASKED = 100
ENOUGH = 0.9


def split() -> tuple[list[int], list[int]]:
    """Return the ids of the images to train with, and of those held out; always the same."""
    ids = list(range(len(load_digits().images)))
    training, held_out = train_test_split(ids, test_size=0.25, random_state=0)
    return training, held_out


def normalised(image: Any) -> np.ndarray:
    """Return an image as 64 numbers between 0 and 1.

    Raises:
        ValueError: It is no such image.
    """
    pixels = np.asarray(image, dtype=np.float64).reshape(-1)
    if pixels.size != SIDE * SIDE:
        raise ValueError(f"an image has {SIDE * SIDE} pixels, this one {pixels.size}")
    pixels = pixels - pixels.min()
    if not np.isfinite(pixels).all() or not pixels.max():
        raise ValueError("an image needs finite numbers that are not all the same")
    return pixels / pixels.max()


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.25})
class Classifier:
    """Classifies the digit of an image. Each replica trains its own copy, in a moment."""

    def __init__(self) -> None:
        digits = load_digits()
        training, _ = split()
        self.model = SVC(gamma="scale")
        self.model.fit([normalised(digits.images[i]) for i in training], digits.target[training])

    def __call__(self, pixels: np.ndarray) -> int:
        return int(self.model.predict([pixels])[0])


@serve.deployment(ray_actor_options={"num_cpus": 0.25})
class Preprocessing:
    """The ingress: from a request's JSON to what the classifier expects."""

    def __init__(self, classifier: DeploymentHandle) -> None:
        self.classifier = classifier

    async def __call__(self, request: Request) -> Any:
        try:
            pixels = normalised((await request.json())["image"])
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"no image: {error}"}, status_code=400)
        return {"digit": await self.classifier.remote(pixels)}


app = Preprocessing.bind(Classifier.bind())


def ask(url: str, image: Any) -> int:
    """Return which digit the application at `url` sees in an image."""
    body = json.dumps({"image": image.tolist()}).encode()
    with urllib.request.urlopen(url, data=body, timeout=30) as response:
        digit: int = json.load(response)["digit"]
    return digit


def check(url: str) -> bool:
    """Classify images that the classifier has never seen, and print the accuracy."""
    digits = load_digits()
    _, held_out = split()
    right = 0
    for asked, i in enumerate(held_out[:NUM_ASKED]):
        digit, truth = ask(url, digits.images[i]), int(digits.target[i])
        right += digit == truth
        if asked < 10 or digit != truth:
            print(f"image {i:4}: {digit}" + ("" if digit == truth else f", but it is a {truth}"))
    accuracy = right / NUM_ASKED
    print(f"{right} of {NUM_ASKED} held-out images right, accuracy {accuracy:.2f}")
    return accuracy >= ENOUGH


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a classifier of handwritten digits.")
    parser.add_argument("--serve", action="store_true", help="keep serving until Ctrl-C")
    parser.add_argument("--port", type=int, help="listen there (default: 8000)")
    options = parser.parse_args()
    if options.port is not None:
        serve.start(http_options={"port": options.port})
    serve.run(app)
    try:
        [proxy] = serve.status().proxies.values()
        print(f"send images to {proxy.url}", flush=True)
        if not options.serve:
            return 0 if check(proxy.url) else 1
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
