"""Several images in a prompt: how many, in which order, and where among the texts."""

from __future__ import annotations

import pytest

from conformance.asking import (
    ask_all,
    chat,
    check_answers,
    choice_of,
    question_of,
    questions,
    text_of,
)
from conformance.picture_requests import check_refused, picture, turn, words
from fixtures.bank import data_url, generate
from fixtures.bank.arrangements import which_among_repeated, which_of_sizes
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.multi_image

# Widths and heights in pixels that the references understand: the smallest, the largest, and
# both orientations of a long one, so that neighbours differ in tokens, rows and columns.
ALTERNATING = ((56, 56), (224, 224), (60, 200), (224, 112))
_PLACES = 3


def _several(deployment: PlannedDeployment) -> int:
    """How many images a full prompt has here, as far as the bank's questions stay easy."""
    limit = deployment.deployment.images
    if limit < 2:
        pytest.skip(f"the deployment allows {limit} images in a prompt")
    return min(limit, 4)


@pytest.mark.requirement("QVL-IMG-003")
def test_up_to_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Prompts with up to the allowed number of images are answered right."""
    limit = deployment.deployment.images
    items = questions(deployment.profile, "which_image")
    # Prompts that are full, as far as the bank's questions stay easy: a dropped image shows.
    items += questions(deployment.profile, "which_image", images=min(limit, 4), seed=2)
    check_answers(deployment, "which_image", items, ask_all(server, items), evidence)
    (full,) = generate("which_image", 1, images=limit)
    text = text_of(chat(server, full.openai_messages()))
    evidence.record(limit=limit, answer_at_limit=text)


@pytest.mark.smoke
@pytest.mark.requirement("QVL-IMG-004")
def test_beyond_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """One image too many is refused, and the server goes on."""
    limit = deployment.deployment.images
    (within,) = generate("which_image", 1, images=limit)
    (beyond,) = generate("which_image", 1, images=limit + 1)
    check_refused(
        server,
        beyond.openai_messages(),
        f"{limit + 1} images against a limit of {limit}",
        evidence,
        status=range(400, 401),
        naming=rf"\b{limit}\b",
    )
    evidence.record(answer_afterwards=text_of(chat(server, within.openai_messages())))


@pytest.mark.requirement("QVL-IMG-011")
def test_repeated_images(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Where one picture stands several times, the other one keeps its place."""
    count = deployment.profile.understanding.items
    items = which_among_repeated(count, _several(deployment))
    check_answers(deployment, "which_image", items, ask_all(server, items), evidence)


@pytest.mark.requirement("QVL-IMG-012")
def test_alternating_sizes(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of very different sizes in one prompt are told apart in their order."""
    count = deployment.profile.understanding.items
    items = which_of_sizes(count, ALTERNATING[: _several(deployment)])
    check_answers(deployment, "which_image", items, ask_all(server, items), evidence)


@pytest.mark.requirement("QVL-IMG-013")
def test_images_of_several_turns(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of two earlier turns are told apart by a question in a third."""
    _several(deployment)
    items = questions(deployment.profile, "earlier_turn", images=2, seed=4)
    check_answers(deployment, "earlier_turn", items, ask_all(server, items), evidence)


@pytest.mark.requirement("QVL-IMG-014")
def test_place_among_texts(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """Whether an image stands before or after a text reaches the model."""
    if reason := capabilities.missing("logprobs"):
        raise InconclusiveError(f"without log probabilities this cannot be seen: {reason}")
    moved = noise = 0.0
    for item in generate("position", _PLACES, seed=6):
        image, question = picture(data_url(item.pictures[0])), words(question_of(item))
        hint = words("Look at the picture.")
        for before, after in (
            ((image, question), (question, image)),
            ((hint, image, question), (image, hint, question)),
        ):
            # One at a time, so that no batch comes between equal requests.
            first, again, other = (
                _first_token(server, [turn("user", *parts)]) for parts in (before, before, after)
            )
            noise = max(noise, _distance(first, again))
            moved = max(moved, _distance(first, other))
    evidence.record(moved=moved, noise=noise)
    assert moved > 3 * noise, (
        "expected other log probabilities of the first token when the image stands elsewhere "
        f"among the texts, seen a difference of {moved:.4f} at most, beside {noise:.4f} between "
        "equal requests: images are put in one place, wherever they were"
    )


def _first_token(server: Endpoint, messages: list[dict[str, object]]) -> dict[str, float]:
    """The likeliest first tokens of the answer, with their log probabilities."""
    choice = choice_of(chat(server, messages, max_tokens=1, logprobs=True, top_logprobs=5))
    try:
        (entry,) = choice["logprobs"]["content"]
        return {one["token"]: float(one["logprob"]) for one in entry["top_logprobs"]}
    except (KeyError, TypeError, ValueError):
        raise InconclusiveError(
            f"without log probabilities of the one token this cannot be seen: {str(choice)[:300]}"
        ) from None


def _distance(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest difference of a log probability; tokens that only one of them names count too."""
    lowest = min([*one.values(), *other.values()])
    return max(abs(one.get(it, lowest) - other.get(it, lowest)) for it in {*one, *other})
