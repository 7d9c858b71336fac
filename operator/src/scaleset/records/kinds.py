"""URL paths of the operator's own kinds."""

from typing import Final

from scaleset.api import names
from scaleset.kube.resources import Resource

SCALE_SETS: Final = Resource(names.GROUP, names.VERSION, names.SCALE_SET_PLURAL)
UPGRADE_POLICIES: Final = Resource(names.GROUP, names.VERSION, names.UPGRADE_POLICY_PLURAL)
GALLERY_IMAGE_VERSIONS: Final = Resource(names.GROUP, names.VERSION, names.GALLERY_IMAGE_VERSION_PLURAL)
