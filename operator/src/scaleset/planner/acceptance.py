"""Can the spec be carried out, and what does it mean now?

What the schema cannot see is judged here: a missing policy, no such image, a health signal that automatic upgrades
need, a template that the API server refuses. A refusal leaves the instances as they are, on the newest model that was
accepted and, where the spec contradicts itself (InvalidSpec), at the size that was accepted last; it is never a crash
or a silent default.
"""

from dataclasses import dataclass, replace

from scaleset.api.base import find_condition
from scaleset.api.names import MAX_HOST_NAME
from scaleset.api.placement import ServiceFabric
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner import gallery, health, operating_system, pod_builder, revision_check
from scaleset.planner.facts import Facts
from scaleset.planner.pod_builder import REGION_LABEL, ZONE_LABEL, Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.state import State
from scaleset.planner.step import Step
from scaleset.planner.targets import INVALID, Acceptance, Wanted

NO_HEALTH_SOURCE = (
    "Automatic OS Upgrade is not supported for this ScaleSet because a health probe or health extension was not "
    "specified. "
    "Give a container a readinessProbe, the pod a readiness gate, or set spec.health.probe or "
    "spec.health.source: InstanceState or PodCondition."
)
TWO_HEALTH_SOURCES = (
    "Automatic OS Upgrade is not supported for this ScaleSet because both a health probe and a health extension "
    "were provided. "
    "Remove spec.health.probe or the readinessProbe of the instance container."
)

MAX_IMAGE = 256
"""Longest image reference in a sentence; no reference that works is longer."""
MIN_SERVICE_FABRIC = 5
"""Least number of instances for durability Silver and Gold."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The accepted part of a spec: the facts that include it, the model to store, and the step with its events."""

    facts: Facts
    store: tuple[Revision, ...]
    step: Step


def accept(facts: Facts) -> Accepted:
    """Settle `acceptance`, `wanted` and `eligible`, and which model to store."""
    asked, fallback = revision_check.known(facts), facts.newest
    refused = _refusal(facts, facts.snapshot.model)
    latest = _resolve(facts, asked)
    step = facts.step()
    if refused is None:
        refused = _no_image(facts, asked) if latest is None else _windows(facts, latest)
    if refused is None and latest is not None:
        judged = revision_check.judge(facts, asked, latest)
        asked, refused, step = judged.model, judged.refused, judged.step
    store: tuple[Revision, ...] = ()
    if refused is None:
        unused = _unused_image(facts)
        step = _add_unused_event(facts, step, unused)
        said = (
            "The spec is valid and can be carried out.",
            unused,
            revision_check.warning(step.state, facts.snapshot.model),
        )
        acceptance = Acceptance("Accepted", " ".join(filter(None, said)), accepted=True)
        numbered = revision_check.numbered(facts, asked)
        store = (numbered,) if numbered is not asked else ()
        effective: Revision | None = numbered
    else:
        acceptance = refused
        kept = (
            asked.number
            and refused.reason != revision_check.NOT_STORED
            and not revision_check.other_disks(facts, asked)
        )
        effective = asked if kept else fallback
        step = step.then(_ask_again(facts.after(step), refused))
    facts = facts.after(step)
    acceptance, size = _settle_size(facts, acceptance)
    return _settled(facts, acceptance, effective or asked, effective, store, step.to(size))


def _settled(
    facts: Facts,
    acceptance: Acceptance,
    shown: Revision,
    effective: Revision | None,
    store: tuple[Revision, ...],
    step: Step,
) -> Accepted:
    models, wanted = facts.models, None
    if effective is not None:
        models = {**models, effective.name: effective}
        found = _resolve(facts, effective)
        wanted = Wanted(effective, None, None)
        if found is not None:
            wanted = Wanted(effective, found.version, found.image, found.os_type)
    facts = replace(
        facts,
        state=step.state,
        models=models,
        acceptance=acceptance,
        wanted=wanted,
        eligible=_eligible(facts, shown),
    )
    return Accepted(facts.judged(), store, step)


def _unused_image(facts: Facts) -> str:
    """A sentence if the template gives the instance container an image, as image updaters do."""
    spec = facts.snapshot.spec
    name = spec.instance_container_name
    image = next(c.get("image") for c in spec.template["spec"]["containers"] if c.get("name") == name)
    if not image:
        return ""
    return (
        f"The image {str(image)[:MAX_IMAGE]!a} of container {name} in spec.template is not used: the container "
        "runs the image of the GalleryImageVersion that spec.imageReference chooses. Publish a GalleryImageVersion to "
        "change it."
    )


def _add_unused_event(facts: Facts, step: Step, text: str) -> Step:
    """Adds one event for each unused image."""
    reported = find_condition(facts.reported.conditions, "Accepted")
    known = reported is not None and text in (reported.message or "")
    return step.with_event("ImageNotUsed", text, warning=True) if text and not known else step


def _settle_size(facts: Facts, acceptance: Acceptance) -> tuple[Acceptance, State]:
    """The size is accepted or refused with the rest of the spec; a refused one leaves the last accepted size."""
    state, asked = facts.state, facts.snapshot.spec.replicas
    if not acceptance.refuses_all:
        return acceptance, replace(state, replicas=asked) if state.replicas != asked else state
    if state.replicas is None and facts.snapshot.pods:
        # The status was lost: only the existing instances show which size was accepted.
        state = replace(state, replicas=len(facts.snapshot.pods))
    size = asked if state.replicas is None else state.replicas
    if size != asked:
        text = f"{acceptance.message} Until then the set keeps its size of {size}."
        acceptance = replace(acceptance, message=text)
    return acceptance, state


def _ask_again(facts: Facts, refused: Acceptance) -> Step:
    """Objects applied together arrive one after the other: the policy is looked up before it is reported as missing."""
    reported = find_condition(facts.reported.conditions, "Accepted")
    missing = refused.reason in ("PolicyNotFound", "ImageNotFound")
    if not missing or facts.fresh or (reported is not None and reported.reason == refused.reason):
        return facts.step()
    return facts.need_fresh()


def _refusal(facts: Facts, asked: Revision) -> Acceptance | None:
    snapshot, spec = facts.snapshot, facts.snapshot.spec
    containers = (asked.template.get("spec") or {}).get("containers") or []
    container = next((item for item in containers if item.get("name") == asked.instance_container), None)
    if container is None:
        return _invalid(
            f"spec.instanceContainer is {asked.instance_container!r}, but the template has no container of that name. "
            "Name one of its containers, or leave the field out to mean the first."
        )
    if spec.health.probe is not None and container.get("readinessProbe"):
        return _invalid(TWO_HEALTH_SOURCES)
    if (problem := _misplaced(asked, spec) or _too_long(snapshot.owner, spec)) is not None:
        return _invalid(problem)
    try:
        pod_builder.extension_order(asked.data.get("extensions") or ())
        pod_builder.custom_data_text(spec.custom_data or "")
    except ValueError as error:
        return _invalid(f"{error}.".replace("..", "."))
    if snapshot.policy is None:
        name = spec.upgrade_policy_ref.name if spec.upgrade_policy_ref is not None else ""
        return Acceptance(
            "PolicyNotFound",
            f"UpgradePolicy {snapshot.owner.namespace}/{name} does not exist. Create it, or change "
            f"spec.upgradePolicyRef.name.",
        )
    if snapshot.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade:
        problem = _not_automatic(asked, spec, policy=snapshot.policy)
        if problem is not None:
            return _invalid(problem)
    return None


def _too_long(owner: Identity, spec: ScaleSetSpec) -> str | None:
    """Whether the highest instance has no valid host name."""
    highest = owner.instance(spec.first_id + max(spec.replicas, 1) - 1)
    if len(highest) <= MAX_HOST_NAME:
        return None
    return (
        f"{highest} would be the name of the highest instance, and a host name has at most {MAX_HOST_NAME} characters. "
        "Lower spec.ordinals.start or spec.replicas, or give the ScaleSet a shorter name."
    )


def _misplaced(asked: Revision, spec: ScaleSetSpec) -> str | None:
    """Whether the template places the pods elsewhere than the set does."""
    selector = (asked.template.get("spec") or {}).get("nodeSelector") or {}
    region, zone = selector.get(REGION_LABEL), selector.get(ZONE_LABEL)
    if region is not None and region != (spec.location or region):
        return (
            f"spec.location is {spec.location!r}, but the template's nodeSelector asks for region {region!r}. "
            "Remove one of them."
        )
    if zone is not None and spec.zones:
        return f"The template's nodeSelector asks for zone {zone!r}. Remove it, or remove spec.zones."
    return None


def _not_automatic(asked: Revision, spec: ScaleSetSpec, *, policy: UpgradePolicySpec) -> str | None:
    """Why image upgrades cannot be automatic for this set (Azure's requirements)."""
    fabric = spec.service_fabric
    if fabric is not None:
        problem = _service_fabric(spec, fabric, policy)
        if problem is not None or not fabric.is_stateless:
            return problem
    if spec.health.source is None and not health.has_application_signal(asked):
        return NO_HEALTH_SOURCE
    return None


def _service_fabric(spec: ScaleSetSpec, fabric: ServiceFabric, policy: UpgradePolicySpec) -> str | None:
    level, node_type = fabric.durability_level, fabric.node_type_durability_level
    if level == "Bronze" and not fabric.is_stateless:
        return (
            "Automatic OS Upgrade is not supported for this ScaleSet because its Service Fabric durability level is "
            "Bronze. Set spec.serviceFabric.durabilityLevel to Silver or Gold, or, for a stateless node type, "
            "isStateless to true."
        )
    if level != node_type:
        return (
            f"Durability Mismatch Detected. ScaleSet durability {level} does not match the current node type "
            f"durability level {node_type}. Make the two the same."
        )
    if tuple(map(int, fabric.type_handler_version.split("."))) < (1, 1):
        return (
            f"spec.serviceFabric.typeHandlerVersion is {fabric.type_handler_version}. "
            "Automatic OS Upgrade needs 1.1 or higher."
        )
    if level != "Bronze" and spec.replicas < MIN_SERVICE_FABRIC:
        return f"Durability {level} needs at least {MIN_SERVICE_FABRIC} instances; spec.replicas is {spec.replicas}."
    if policy.mode != "Automatic":
        return f"Service Fabric sets support upgrade mode Automatic only; the policy's mode is {policy.mode}."
    return None


def _windows(facts: Facts, found: gallery.GalleryVersion) -> Acceptance | None:
    """A Windows image that updates itself must not be upgraded by the operator as well. It has no /bin/sh, and runs on
    no other nodes.
    """
    if found.os_type != operating_system.WINDOWS:
        return None
    spec = facts.snapshot.spec
    if (why := operating_system.conflict(spec.template["spec"])) is not None:
        return _invalid(f"Version {found.version} is a Windows image, and {why}: remove that, or set it to windows.")
    if names := [extension.name for extension in spec.extensions if extension.suppress_failures]:
        return _invalid(
            f"Version {found.version} is a Windows image, and suppressFailures needs /bin/sh: "
            f"set it to false for the extension {', '.join(names)}."
        )
    policy, profile = facts.snapshot.policy, facts.snapshot.spec.os_profile
    windows = profile.windows_configuration if profile is not None else None
    automatic = policy is not None and policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade
    if not automatic or windows is None or not windows.enable_automatic_updates:
        return None
    return _invalid(
        "Automatic OS Upgrade of a Windows image needs "
        "spec.osProfile.windowsConfiguration.enableAutomaticUpdates to be false."
    )


def _invalid(message: str) -> Acceptance:
    return Acceptance(INVALID, message)


def _resolve(facts: Facts, model: Revision) -> gallery.GalleryVersion | None:
    reference, definition = model.reference, facts.definition(model)
    catalogue = facts.snapshot.catalogue
    if not reference.moving:
        return gallery.exact(catalogue, definition, reference.version, facts.asker)
    return next(iter(gallery.eligible(catalogue, definition, facts.asker, now=facts.now)), None)


def _eligible(facts: Facts, model: Revision) -> tuple[str, ...]:
    catalogue, now = facts.snapshot.catalogue, facts.now
    return tuple(v.version for v in gallery.eligible(catalogue, facts.definition(model), facts.asker, now=now))


def _as_written(facts: Facts, version: str) -> str:
    """A pinned version as the user spells it: models have it in its usual spelling."""
    written = facts.snapshot.spec.image_reference.version
    return written if gallery.same(written, version) else version


def _no_image(facts: Facts, model: Revision) -> Acceptance:
    definition, reference = facts.definition(model), model.reference
    name = f"{definition.publisher}/{definition.offer}/{definition.sku}"
    known = [v for v in gallery.winners(facts.snapshot.catalogue).values() if v.definition == definition]
    if not reference.moving:
        known = [v for v in known if gallery.same(v.version, reference.version)]
    if not known:
        what = "version" if reference.moving else f"version {_as_written(facts, reference.version)}"
        message = f"No GalleryImageVersion in namespace {definition.gallery} offers a {what} of {name}. Publish one."
        if definition.gallery == facts.snapshot.owner.namespace:
            message += " For a gallery in another namespace set spec.imageReference.galleryNamespace."
        return Acceptance("ImageNotFound", message)
    highest = max(known, key=lambda v: gallery.number(v.version))
    why = gallery.why_not(highest, facts.asker, now=facts.now)
    return Acceptance(
        "ImageNotFound", f"No version of {name} can be used: {highest.version} is the highest, but {why}."
    )
