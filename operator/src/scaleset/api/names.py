"""Names visible to other programs: the API group, resource names, labels and annotations."""

from typing import Final

GROUP: Final = "scaleset.dev"
VERSION: Final = "v1beta1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "scaleset-operator"
"""The category with which `kubectl get` lists all three kinds. Not `scaleset`: kubectl takes a category for a list of
kinds, so that `kubectl get scaleset web` would be refused.
"""

SCALE_SET_KIND: Final = "ScaleSet"
SCALE_SET_PLURAL: Final = "scalesets"
SCALE_SET_SHORT: Final = "sset"
UPGRADE_POLICY_KIND: Final = "UpgradePolicy"
UPGRADE_POLICY_PLURAL: Final = "upgradepolicies"
UPGRADE_POLICY_SHORT: Final = "upol"
GALLERY_IMAGE_VERSION_KIND: Final = "GalleryImageVersion"
GALLERY_IMAGE_VERSION_PLURAL: Final = "galleryimageversions"
GALLERY_IMAGE_VERSION_SHORT: Final = "giv"

LABEL_NAME: Final = "scaleset.dev/name"
LABEL_INSTANCE_ID: Final = "scaleset.dev/instance-id"
LABEL_VERSION: Final = "scaleset.dev/image-version"
LABEL_MODEL: Final = "scaleset.dev/model"
LABEL_UPDATE_DOMAIN: Final = "scaleset.dev/update-domain"
LABEL_ZONE: Final = "scaleset.dev/zone"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "scaleset-operator"
LABEL_POD_INDEX: Final = "apps.kubernetes.io/pod-index"
LABEL_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
"""The labels of a StatefulSet's pods that Services of one pod and variables of the downward API refer to."""

ANNOTATION_PREVIOUS: Final = "scaleset.dev/previous"
ANNOTATION_CHANGED: Final = "scaleset.dev/changed-in-place"
ANNOTATION_CUSTOM_DATA: Final = "scaleset.dev/custom-data"
ANNOTATION_CREATED_AT: Final = "scaleset.dev/created-at"
ANNOTATION_IMAGE: Final = "scaleset.dev/image"
"""The image that the operator asked for: admission may have written another one into the container."""
ANNOTATION_RESTARTED: Final = "scaleset.dev/restarted-at"
"""On a pod that a restart made: when that restart began."""

ANNOTATION_START: Final = "scaleset.dev/start-upgrade-at"
ANNOTATION_CANCEL: Final = "scaleset.dev/cancel-upgrade-at"
ANNOTATION_APPLY: Final = "scaleset.dev/apply-model"
ANNOTATION_RESTART: Final = "scaleset.dev/restart-at"
ANNOTATION_RETRY: Final = "scaleset.dev/retry-at"
ANNOTATION_MODEL_ROLLOUT: Final = "scaleset.dev/start-model-rollout-at"
ANNOTATION_ROLLBACK: Final = "scaleset.dev/rollback-at"
REQUESTS: Final = (
    ANNOTATION_START,
    ANNOTATION_CANCEL,
    ANNOTATION_APPLY,
    ANNOTATION_RESTART,
    ANNOTATION_RETRY,
    ANNOTATION_MODEL_ROLLOUT,
    ANNOTATION_ROLLBACK,
)
"""Annotations by which users ask for something."""

LABEL_PREPULL: Final = "scaleset.dev/prepull"
"""On a pod that pulls an image onto a node: the uid of the GalleryImageVersion."""
ANNOTATION_PREPULL_NODE: Final = "scaleset.dev/prepull-node"
"""On the same pod: the uid of the node that it is for."""
ANNOTATION_PREPULL_OF: Final = "scaleset.dev/prepull-of"
"""On the same pod: namespace/name of the GalleryImageVersion."""

LEASE_NAME: Final = "scaleset-operator"
"""The Lease of the active operator."""
ANNOTATION_OPERATOR_VERSION: Final = "scaleset.dev/operator-version"
"""On that Lease: the version of its holder."""

MAX_SCALE_SET_NAME: Final = 59
"""Longest name of a ScaleSet: `<set>-999` is then a valid host name and label value (63 characters)."""
MAX_HOST_NAME: Final = 63
"""Longest name of an instance: it is its host name and a label value."""
MAX_OTHER_NAME: Final = 63
"""Longest name of the other two kinds: fits a label value."""

CONTAINER_CUSTOM_DATA: Final = "custom-data"
"""The init container that runs custom data."""
CONTAINER_EXTENSION: Final = "extension-"
"""Begin of the name of each init container that runs an extension."""
