"""Caching layer around calls."""

from __future__ import annotations

from alacarte.types import Call, Layer, Reply, Service

from .questions import answer_of, question_of
from .store import AnswerStore

__all__ = ["cached"]


def cached(store: AnswerStore) -> Layer:
    """Answer calls from a store, and add new answers to the store."""

    def wrap(service: Service) -> Service:
        async def call(request: Call) -> Reply:
            question = question_of(request)
            if question is None:
                return await service(request)
            known = store.find(question)
            if known is not None:
                return Reply((known,))
            reply = await service(request)
            answer = answer_of(request, reply)
            if answer is not None:
                store.keep(question, answer)
            return reply

        return call

    return wrap
