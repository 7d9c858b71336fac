"""Metrics of GalleryImageVersions: published versions and their times."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from scaleset.observability import catalogue
from scaleset.planner.gallery import GalleryVersion


class Images(Collector):
    """The exported versions, by group, as of their last reconcile."""

    def __init__(self) -> None:
        self.leads: Callable[[], bool] = bool
        """Called by the thread of a scrape: only the leader exports versions."""
        self._groups: dict[tuple[str, str], tuple[GalleryVersion, ...]] = {}

    def reconciled(self, group: tuple[str, str], versions: Iterable[GalleryVersion]) -> None:
        """Set the versions of a group, one of each number; an empty group is removed."""
        found = tuple(versions)
        if found:
            self._groups[group] = found
        else:
            self._groups.pop(group, None)

    def collect(self) -> Iterator[Metric]:
        family = catalogue.PUBLISHED.gauges()
        for versions in list(self._groups.values()) if self.leads() else ():
            for version in versions:
                gallery, publisher, offer, sku = version.definition
                image, excluded = f"{publisher}/{offer}/{sku}", "true" if version.excluded else "false"
                family.add_metric((gallery, image, version.version, excluded), version.created)
        yield family
