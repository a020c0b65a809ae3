"""What can be wrong with the stand-in, by the name that ``STAND_IN`` gives it."""

from __future__ import annotations

import os

DEFECTS = {
    # How it starts and ends.
    "exits-0": "ends at once with exit code 0",
    "exits-1": "ends at once with exit code 1 and a message",
    "hangs": "never listens",
    "dies-on-image": "ends when the first picture arrives",
    "dies-on-describe": "ends when it is asked to describe a picture",
    "silent-on-describe": "never answers when it is asked to describe a picture",
    "has-family": "starts a child and a grandchild that ignore SIGTERM",
    # Log, health, list of models.
    "no-start-up-lines": "logs nothing of its start",
    "no-access-log": "logs no request",
    "health-once": "is healthy the first time it is asked only",
    "wrong-max-model-len": "lists twice the context length it has",
    "model-without-owner": "lists its model without owned_by",
    # What it understands.
    "miscounts": "sees one object more than there is",
    "illiterate": "reads signs wrongly",
    "images-swapped": "sees the images of a message in reverse order",
    "image-dropped": "never sees the last of a message's images",
    "ignores-system": "does not obey the system message",
    "ignores-earlier-turns": "sees the last message only",
    "mute-without-image": "answers nothing to a request without an image",
    "mute": "answers nothing",
    "drifts": "changes its answer after the same request came twelve times",
    "offline-differs": "says something else offline than served",
    # Limits and counts.
    "limit-ignored": "accepts any number of images",
    "limit-one-more": "accepts one image more than allowed",
    "limit-one-less": "accepts one image less than allowed",
    "limit-in-last-turn": "counts the images of the last message only",
    "text-counted-twice": "counts the text's prompt tokens twice",
    "resized-otherwise": "resizes pictures to at least 256x256",
    "images-merged": "counts an image that is repeated once",
    "max-tokens-ignored": "answers at full length whatever max_tokens says",
    "max-completion-tokens-ignored": "knows max_tokens only",
    # The protocol.
    "always-length": "says finish_reason length",
    "always-stop": "says finish_reason stop",
    "wrong-total": "counts one token too many in total_tokens",
    "extra-field": "adds a field that nobody knows to a choice",
    "no-refusal": "leaves out message.refusal",
    "no-id": "leaves out id",
    "any-model": "answers for any model",
    "error-without-type": "leaves out the type of an error",
    "broken-after-refusal": "answers 500 to the request after a refused one",
    "no-done": "ends a stream without [DONE]",
    "stream-differs": "leaves the last piece out of a stream",
    "one-chunk": "streams the whole text in one piece",
    "no-usage-chunk": "leaves out the usage chunk that was asked for",
    "role-missing": "streams without ever naming a role",
}


def planted() -> frozenset[str]:
    """The defects of this process; an unknown name must not pass as health."""
    names = frozenset(filter(None, os.environ.get("STAND_IN", "").split(",")))
    unknown = names - DEFECTS.keys()
    if unknown:
        raise ValueError(f"STAND_IN names {sorted(unknown)}; known: {sorted(DEFECTS)}")
    return names
