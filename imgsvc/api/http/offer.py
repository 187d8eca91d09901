"""What the service offers at the moment: its presets and their overlays."""

from dataclasses import dataclass

from imgsvc.domain.presets import Catalogue, Presets
from imgsvc.runtime.owners import Owner


@dataclass(slots=True)
class Offer:
    """`catalogue` is replaced as a whole when the presets file is read again."""

    catalogue: Catalogue

    def presets_of(self, owner: Owner) -> Presets:
        """The presets that an owner's uploads may have."""
        presets = self.catalogue.presets
        if owner.presets is None:
            return presets
        return {name: preset for name, preset in presets.items() if name in owner.presets}
