"""The bits that ran: the digest of a tag, as the running container shows it.

A tag can be moved. So that a restored or recreated instance runs what it ran before, the digest is kept beside the
version in the build of each healthy instance, and the pod that is made from this build asks for `tag@digest`. The
digest is the `imageID` of the instance container, if that is of the same repository as the image of the version.
Anything else (a bare id, the name of an imported image, a mirror's repository) says nothing about what the registry
would give: then the tag is used.

- A digest makes no instance outdated: it is no part of what two builds are compared by. An upgrade, a restart and a
  new instance use the tag.
- At most ten digests of an image are kept, so that the status stays small however often a tag is moved.
- A digest that a node cannot pull or run (it is gone, or of another architecture) is dropped before its pod is made
  again, so the tag is tried once and an event says so.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from scaleset.api.base import JSON
from scaleset.planner import ranges
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build, Instance, Pod
from scaleset.planner.state import State
from scaleset.planner.step import Step

_BUT_DIGEST = attrgetter(*(field.name for field in fields(Build) if field.name != "digest"))
"""All that a build has but its last field."""
MOST = 10
"""Digests that are kept of one image."""
_DOCKER = "docker.io"


def learn(facts: Facts) -> Step:
    """Record the digests that healthy instances run, and drop those that no node can run."""
    dropped = {n: build for n, build in facts.state.builds.items() if build.digest and _fails(facts, n, build)}
    showing = [i for i in facts.instances.values() if i.pod is not None and i.pod.image_ids]
    found = {i.id: digest for i in showing if (digest := _new(facts, i)) is not None}
    if not dropped and not found:
        return facts.step()
    without = {number: replace(build, digest=None) for number, build in dropped.items()}
    state = replace(facts.state, builds={**facts.state.builds, **without})
    step = facts.step(_kept(state, found) if found else state)
    if not dropped:
        return step
    first = min(dropped)
    text = (
        f"The image that instances {ranges.abridged(dropped)} ran before, {dropped[first].reference}, cannot be run: "
        f"{facts.instances[first].message.rstrip('.')}. They are made again with its tag, which may mean another image."
    )
    return step.with_event("DigestNotPulled", text, warning=True)


def given_up(build: Build, pod: Pod) -> bool:
    """Whether the pod asks for a digest that was dropped, so that it has to be made again with the tag."""
    if build.digest is not None or not build.same_as(pod):
        return False
    return any(image.partition("@")[0] == build.image != image for image in pod.image_errors)


def _fails(facts: Facts, number: int, build: Build) -> bool:
    instance = facts.instances.get(number)
    pod = instance.pod if instance is not None else None
    if instance is None or instance.healthy or pod is None or pod.deleting or not build.same_as(pod):
        return False
    return build.reference in pod.image_errors


def _new(facts: Facts, instance: Instance) -> str | None:
    """The digest that a healthy instance runs, if that is not known yet."""
    pod, build = instance.pod, instance.build
    if pod is None or build is None or not instance.healthy or "@" in build.image:
        return None
    image_id = pod.image_id(_container(facts, build))
    if "@" not in image_id:
        return None
    if build.digest is not None and image_id.endswith(build.digest):
        return None  # Fast path: nearly all instances run what is known.
    digest = digest_of(image_id, build.image)
    return digest if digest is not None and build.same_as(pod) else None


def _container(facts: Facts, build: Build) -> str | None:
    model = facts.models.get(build.model)
    return model.instance_container if model is not None else None


def _kept(state: State, found: Mapping[int, str]) -> State:
    """The state with those digests, as many of each image as are kept."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for build in (*state.builds.values(), *state.previous.values()):
        if build.digest:
            known[build.image].add(build.digest)
    builds = dict(state.builds)
    for number, digest in sorted(found.items()):
        build = builds[number]
        mine = known[build.image]
        if digest in mine or len(mine) < MOST:
            mine.add(digest)
            builds[number] = replace(build, digest=digest)
        elif build.digest:
            builds[number] = replace(build, digest=None)
    return replace(state, builds=builds)


# --- references


def digest_of(image_id: str, image: str) -> str | None:
    """The digest in a container's `imageID`, if it is of the repository of that image."""
    name, at, digest = image_id.rpartition("://")[2].partition("@")
    if not at or not _is_digest(digest):
        return None
    return digest if _repository(name) == _repository(image) else None


def _is_digest(text: str) -> bool:
    algorithm, colon, value = text.partition(":")
    return bool(colon) and algorithm == "sha256" and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _repository(image: str) -> str:
    """The repository in full, without tag and digest: `web:1` is `docker.io/library/web`."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    name = f"{path}{slash}{last.partition(':')[0]}"
    host, _, rest = name.partition("/")
    if not rest or not (set(host) & set(".:") or host == "localhost"):
        host, rest = _DOCKER, name
    return f"{host}/{rest if '/' in rest or host != _DOCKER else f'library/{rest}'}"


# --- in the status


def read(entries: Iterable[Any], build_of: Callable[[Any], Build | None]) -> dict[int, Build]:
    """The builds of instances, with their digests."""
    found: dict[int, Build] = {}
    for entry in entries:
        if (build := build_of(entry)) is None:
            continue
        mine = dict.fromkeys(ranges.parse(entry.instances), build)
        for each in entry.digests or ():
            if _is_digest(each.digest) and "@" not in build.image:
                pinned = replace(build, digest=each.digest)
                mine.update({number: pinned for number in ranges.parse(each.instances) if number in mine})
        found |= mine
    return dict(sorted(found.items()))


def write(builds: Mapping[int, Build], row_of: Callable[[Build], JSON]) -> list[JSON]:
    """One row for all instances with the same build, with the digests that they run."""
    groups: defaultdict[Any, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, build in builds.items():
        groups[_BUT_DIGEST(build)][build.digest or ""].append(number)
    return [_row(row_of(Build(*key)), by_digest) for key, by_digest in groups.items()]


def _row(row: JSON, by_digest: Mapping[str, Collection[int]]) -> JSON:
    everybody = [number for ids in by_digest.values() for number in ids]
    in_order = sorted(by_digest.items(), key=lambda each: min(each[1]))
    digests = [{"digest": digest, "instances": ranges.render(ids)} for digest, ids in in_order if digest]
    return {**row, "instances": ranges.render(everybody), **({"digests": digests} if digests else {})}
