"""Who has to look again when something changed."""

from collections.abc import Callable

from scaleset.controllers.caches import Caches
from scaleset.controllers.gallery_image_version import SWEEP, group
from scaleset.records.projections import Key
from scaleset.records.versions import definition_key, full

Wake = Callable[[Key], None]


REST_PER_INSTANCE_SECONDS = 50e-6
"""A look at a set takes 5 µs an instance. Ten times as long is waited after an event for others to come, so that what
happens to a large set, several things a pod, takes a tenth of the event loop and not all of it.
"""


class Wakes:
    """Turns changed objects into keys of the three queues; `instances` takes the seconds, too, that a look may wait for
    more events. `caches` is given later: the caches need this first.
    """

    def __init__(
        self, *, scale_sets: Wake, instances: Callable[[Key, float], None], versions: Wake, policies: Wake
    ) -> None:
        self.caches: Caches | None = None
        self._scale_sets = scale_sets
        self._instances = instances
        self._versions = versions
        self._policies = policies

    def instance(self, key: Key) -> None:
        """A pod, claim or revision of that set."""
        size = self.caches.pods.number(key) if self.caches is not None else 0
        self._instances(key, size * REST_PER_INSTANCE_SECONDS)

    def scale_set(self, key: Key) -> None:
        """A ScaleSet: itself, and its policy, which counts its users."""
        self._scale_sets(key)
        seen = self.caches.scale_sets.get(*key) if self.caches is not None else None
        if seen is None:
            for policy in self.caches.policies.all() if self.caches is not None else ():
                if policy.namespace == key[0]:
                    self._policies((policy.namespace, policy.name))
        elif seen.spec is not None and seen.spec.upgrade_policy_ref is not None:
            self._policies((key[0], seen.spec.upgrade_policy_ref.name))
        self._waiting(key[0])

    def _waiting(self, namespace: str) -> None:
        """Sets that wait for others of their policy: one of those may have ended, or gone."""
        for other in self.caches.scale_sets.all() if self.caches is not None else ():
            if other.namespace == namespace and other.status.get("waitingSince"):
                self._scale_sets((other.namespace, other.name))

    def policy(self, key: Key) -> None:
        """An UpgradePolicy: itself, and the sets that refer to it."""
        self._policies(key)
        for seen in self.caches.scale_sets.all() if self.caches is not None else ():
            reference = seen.spec.upgrade_policy_ref if seen.spec is not None else None
            if reference is not None and (seen.namespace, reference.name) == key:
                self._scale_sets((seen.namespace, seen.name))

    def version(self, key: Key) -> None:
        """Versions of an image: themselves, and the sets that take their image from there."""
        self._versions(key)
        self.replicated(key)

    def replicated(self, key: Key) -> None:
        """The sets that take their image from that group of versions."""
        for seen in self.caches.scale_sets.all() if self.caches is not None else ():
            if seen.spec is None:
                continue
            image = seen.spec.image_reference
            if definition_key(image.gallery_namespace or seen.namespace, image.publisher, image.offer) == key:
                self._scale_sets((seen.namespace, seen.name))

    def nodes(self) -> None:
        """A node came, went or changed: versions that want their image on all of them."""
        for seen in self.caches.versions.all() if self.caches is not None else ():
            if full(seen):
                self._versions(group(seen))

    def prepull(self, version_uid: str) -> None:
        """A pod that pulls the image of that version; without one it is nobody's."""
        for seen in self.caches.versions.all() if self.caches is not None else ():
            if seen.uid == version_uid:
                self._versions(group(seen))
                return
        self._versions(SWEEP)
