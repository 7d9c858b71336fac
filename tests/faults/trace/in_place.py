"""What holds for pods that are changed in place, beyond what holds for every replacement."""

from collections.abc import Iterator

from .replay import Life, Moment, Replay, Why
from .rollouts import DEADLINE_SLACK, timeouts


def s1_one_batch(replay: Replay, slack: float) -> Iterator[str]:
    """When a pod is changed, no more instances than a batch are in hand: changed, or made again, and not healthy since
    within their time. A container counts by its id, whatever the pod says of itself.
    """
    for life, now in replay.moves():
        if not life.in_place:
            continue
        in_hand = sorted({life.instance, *_in_hand(replay, life, now)})
        count = replay.most_replicas(life.scale_set, now, timeouts(replay, life.scale_set)[1])
        percent = max(replay.percents(life.scale_set, "maxBatchInstancePercent"))
        if len(in_hand) > max(1, count * percent // 100):
            yield f"{life.name} was changed in place while {in_hand} were not through"


def _in_hand(replay: Replay, taken: Life, now: Moment) -> Iterator[int]:
    shortest, longest = timeouts(replay, taken.scale_set)
    last = {life.instance: life for life in replay.of(taken.scale_set) if life.began.order < now.order}
    for instance, life in last.items():
        if life.going is not None and life.going.order < now.order:
            in_hand = life.by_operator and life.why is not Why.AWAY and now.at - life.going.at < longest
        else:
            ours = life.before is not None and life.before.by_operator and not life.before.left
            in_hand = ours and not life.was_healthy(now) and now.at - life.began.at < shortest - DEADLINE_SLACK
        if in_hand:
            yield instance


def s4_the_model_is_as_it_says(replay: Replay, slack: float) -> Iterator[str]:
    """Pods that bear the name of one model are alike: what differs in more than the image is never changed in place."""
    shapes: dict[tuple[str, tuple[str, ...], str], Life] = {}
    for life in replay.lives:
        if not life.model or life.relabelled:
            continue
        first = shapes.setdefault((life.scale_set, life.owners, life.model), life)
        if life.shape != first.shape:
            looks = f"{life.shape}, and not {first.shape}"
            yield f"{life.name} bears the model {life.model} as {first.name} did, and looks otherwise: {looks}"


def s11_only_where_it_was_asked_for(replay: Replay, slack: float) -> Iterator[str]:
    """A running pod is changed only if a policy of its set ever said so."""
    for life, _ in replay.moves():
        methods = {spec.get("replacementMethod") for spec in replay.policy_specs(life.scale_set)}
        if life.in_place and not methods & {"InPlaceIfPossible", "InPlaceOnly"}:
            yield f"{life.name} was changed in place, which its policy does not ask for"
