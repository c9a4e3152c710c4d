"""How much each origin holds, and what that and reading it costs; made once a listing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..storage.errors import ConfigError
from ..telemetry.costs import OriginPrice

if TYPE_CHECKING:
    from ..storage.catalog import Catalog
    from ..storage.config import Config
    from ..storage.prices import Prices

GB = 1e9
MONTH_DAYS = 30
SELF_HOSTED = frozenset({"minio", "seaweedfs", "ceph"})
"""nothing is billed by the byte there"""


class Holdings:
    """Thread-safe.  ``price`` is asked at every transfer: a dictionary look-up while the listing is the same."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        self._lock = threading.Lock()
        self._generation = -1
        self._classes: Mapping[str, Mapping[str, int]] = {}
        self._origin_prices: dict[str, OriginPrice] = {}
        self._prices: Prices | None = None

    @property
    def listed_bytes(self) -> int:
        return sum(sum(classes.values()) for classes in self._by_origin().values())

    def price(self, origin: str) -> OriginPrice:
        """The owner's own prices first, then the provider's list; what neither knows stays unknown."""
        self._by_origin()
        found = self._origin_prices.get(origin)
        if found is None:
            found = self._origin_prices[origin] = self._priced(origin)
        return found

    def _by_origin(self) -> Mapping[str, Mapping[str, int]]:
        with self._lock:
            generation = self._catalog.generation
            if generation != self._generation:
                self._classes = {listing.origin: listing.bytes_by_class() for listing in self._catalog.listings()}
                self._generation = generation
                self._origin_prices.clear()
            return self._classes

    def _priced(self, name: str) -> OriginPrice:
        origin = self._config.origin(name)
        if origin is None:
            return OriginPrice()
        own, classes = self._config.cost, self._classes.get(name, {})
        preset = origin.profile.preset
        row = None if preset in SELF_HOSTED else self._list().of(preset) and self._list().current(preset, "STANDARD")
        egress, request, storage = own.egress_per_gb.get(name), None, own.storage_per_gb_month.get(name)
        if row:
            egress = row.egress_per_gb + row.retrieve_per_gb if egress is None else egress
            request = row.get_per_1k / 1000
        elif preset in SELF_HOSTED:
            egress, request, storage = egress or 0.0, 0.0, storage or 0.0
        if storage is not None:
            month: float | None = sum(classes.values()) / GB * storage
        else:
            month = self._storage(preset, classes)
        return OriginPrice(None if egress is None else egress / GB, request, None if month is None else month / MONTH_DAYS)

    def _storage(self, preset: str, classes: Mapping[str, int]) -> float | None:
        """A month's price of what is there, class by class; None when one of them has no price."""
        rows = [(self._list().current(preset, name), size_bytes) for name, size_bytes in classes.items()]
        if not rows or any(row is None for row, _ in rows):
            return None
        return sum(size_bytes / GB * row.store_per_gb_month for row, size_bytes in rows if row is not None)

    def _list(self) -> Prices:
        if self._prices is None:
            from ..storage.prices import Prices, load_prices

            try:
                self._prices = load_prices(self._config.cost.price_file)
            except ConfigError:  # the shipped file is not there: no prices are known, which the panel says
                self._prices = Prices(self._config.cost.currency, "", ())
        return self._prices
