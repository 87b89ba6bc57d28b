"""Caching layer around calls."""

from __future__ import annotations

from alacarte.types import Call, Layer, Reply, Service

from .questions import answer_of, question_of
from .store import AnswerStore

__all__ = ["cached"]


def cached(store: AnswerStore) -> Layer:
    """Answer calls from a store, and add new answers to the store."""

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            question = question_of(call)
            if question is None:
                return await service(call)
            known = store.find(question)
            if known is not None:
                return Reply((known,))
            reply = await service(call)
            answer = answer_of(call, reply)
            if answer is not None:
                store.keep(question, answer)
            return reply

        return serve

    return wrap
