"""What the service offers at the moment: its presets and their overlays."""

from dataclasses import dataclass

from imgsvc.domain.overlays import Overlays
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

    def overlays_of(self, owner: Owner) -> Overlays:
        """The overlays that variants of an owner's uploads may have: all of them, or those of its presets."""
        overlays = self.catalogue.overlays
        if owner.presets is None:
            return overlays
        variants = (variant for preset in self.presets_of(owner).values() for variant in preset)
        named = {variant.overlay.name for variant in variants if variant.overlay}
        return {name: file for name, file in overlays.items() if name in named}
